"""What is known of model families besides their sizes: the rest of config.json, and what a tokenizer of theirs must
have. Facts of the published models, in families.json; asks no hub and imports no library."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.memory.known import config_of_name, model_of

FILE = Path(__file__).with_name("families.json")
CHAT = ("instruct", "chat", "-it")
"""Parts of the names of models that were taught to answer."""
_NOT_OF = {"llama": ("sliding_window", "original_max_position_embeddings", "partial_rotary_factor")}
"""Fields that a family's models stored in another architecture do not have."""


@dataclass(frozen=True)
class TokenizerFacts:
    """What a family's tokenizer has besides its words. `special`: tokens that are never text; `words`: added tokens
    that are; `adds_bos`: plain text begins with the begin token; `template`: the name of the chat template it brings,
    none for most base models; `spare`: the model has embeddings to spare."""

    special: tuple[str, ...]
    words: tuple[str, ...] = ()
    bos: str | None = None
    eos: str | None = None
    pad: str | None = None
    unk: str | None = None
    adds_bos: bool = False
    template: str | None = None
    spare: bool = False


@dataclass(frozen=True)
class Family:
    """`name`: the family's; `config`: what config.json of the model says; `tokenizer`: of this variant."""

    name: str
    config: Mapping[str, Any]
    tokenizer: TokenizerFacts


def family_of(base_model: str) -> Family | None:
    """The family of a hub's repository, where its name is known here."""
    sizes = config_of_name(base_model)
    if sizes is None:
        part = model_of(base_model, _text_parts())
        sizes = None if part is None else {"model_type": "gemma3_text", "vocab_size": 262208, **_text_parts()[part]}
    model = model_of(base_model) or model_of(base_model, _text_parts())
    if sizes is None or model is None:
        return None
    name, facts = next((name, facts) for name, facts in _families().items() if model in facts["models"])
    tokenizer: dict[str, Any] = dict(facts["tokenizer"])
    chat = tokenizer.pop("chat", {})
    if any(part in base_model.lower() for part in CHAT):
        tokenizer |= chat
    if "instruct-2507" in base_model.lower():
        tokenizer["template"] = "trl/qwen3_instruct_2507"  # without thoughts, unlike the models before it
    tokenizer |= {key: tuple(value) for key, value in tokenizer.items() if isinstance(value, list)}
    config = {key: value for key, value in facts["config"].items() if key not in _NOT_OF.get(sizes["model_type"], ())}
    return Family(name, {**config, **sizes}, TokenizerFacts(**tokenizer))


@functools.cache
def _families() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return found


def _text_parts() -> dict[str, Any]:
    """Models that read images too, whose part for text is a model of its own."""
    return {name: sizes for facts in _families().values() for name, sizes in facts.get("text_parts", {}).items()}
