"""A hub id or folder -> what can be said about the model without loading it: its size, its limit, its chat template.
Reads small JSON files of a folder and the words of a name. Knows no library, no network and no GPU."""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from finetune.errors import ModelError, UsageError

ASSUMED_BILLIONS = 8.0
"""Taken for a model whose size is not known: rather a setting that is too careful than one that does not fit."""
BY_NAME = {"phi-3-mini": 3.8, "phi-3.5-mini": 3.8, "phi-4-mini": 3.8, "phi-4": 14.7, "phi-2": 2.7, "gpt2": 0.12}
"""Models whose names do not tell their size; the first that the name holds counts."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
ADDRESS = re.compile(r"https?://(www\.)?huggingface\.co/(datasets/)?")
# `8B`, `1.8b`, `135M` and `8x7B`, but neither the 4b of `4bit` nor the 3B of `A3B`, which counts active weights only.
_SIZE = re.compile(r"(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?![a-z0-9])")
# The markers by which a tokenizer shows the family of its turns.
_MARKS = {"<|im_start|>": "chatml", "<|start_header_id|>": "llama3"}

Template = Literal["own", "none", "unknown"]


@dataclass(frozen=True)
class Model:
    """`name`: as the recipe writes it. `billions`: parameters, and `size_from` how that is known. `positions`: tokens
    that it can read at most. `template`: whether it brings one; `fitting`: one of ours that its tokenizer knows."""

    name: str
    billions: float = ASSUMED_BILLIONS
    size_from: str = "assumed: its name tells no size"
    positions: int | None = None
    template: Template = "unknown"
    fitting: str | None = None
    four_bit: bool = False

    @property
    def short(self) -> str:
        return self.name.rstrip("/").rsplit("/", 1)[-1] or self.name

    @property
    def size(self) -> str:
        """The size for people: `8 B`, `1.5 B`, `135 M`."""
        return f"{self.billions:.3g} B" if self.billions >= 1 else f"{self.billions * 1000:.3g} M"


def look_at_model(name: str) -> Model:
    """What the name or the folder tells. ModelError for a folder that holds no model, UsageError for no hub id."""
    name = ADDRESS.sub("", name.strip()).rstrip("/") or name.strip()
    try:
        path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path's raises for ~~
        if name and path.is_dir():
            return _of_folder(name, path)
        if path.is_file():
            raise ModelError(f"{name} is a file; name the folder of a model, or a hub id")
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{name[:80]!r} cannot be looked at: {getattr(error, 'strerror', None) or error}") from None
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"there is no folder {name}")
    if not HUB_ID.fullmatch(name):
        raise UsageError(f"{name[:80]!r} is neither a folder nor a hub id such as Qwen/Qwen2.5-1.5B-Instruct")
    return _of_name(name)


def _of_name(name: str) -> Model:
    billions = billions_in(name)
    words = name.lower()
    four_bit = "4bit" in words or "4-bit" in words
    if billions is None:
        return Model(name, four_bit=four_bit)
    return Model(name, billions, "by its name", four_bit=four_bit)


def billions_in(name: str) -> float | None:
    """Billions of parameters as a name tells them: `Qwen1.5-1.8B-Chat` has 1.8."""
    words = name.lower().rsplit("/", 1)[-1]
    found = _SIZE.search(words.replace("_", "-"))
    if found is None:
        return next((size for known, size in BY_NAME.items() if known in words), None)
    experts, number, unit = found.groups()
    billions = int(experts or 1) * float(number) / (1 if unit == "b" else 1000)
    return billions or None


def _of_folder(name: str, folder: Path) -> Model:
    config = _json(folder / "config.json")
    if config is None:
        if (folder / "adapter_config.json").is_file():
            raise ModelError(f"{name} holds an adapter, not a model; name the model that it was trained on")
        raise ModelError(f"{name} holds no readable config.json, so it is no model's folder")
    text = config.get("text_config")
    shape = text if isinstance(text, dict) else config
    counted, named = _counted(shape), billions_in(name)
    size = (counted, "by its config.json") if counted else (named, "by its name") if named else None
    positions = _whole(shape, "max_position_embeddings", "n_positions", "n_ctx")
    template, fitting = _template(folder)
    quantization = config.get("quantization_config")
    four_bit = isinstance(quantization, dict) and quantization.get("load_in_4bit") is True
    billions, size_from = size or (ASSUMED_BILLIONS, "assumed: its config.json tells no size")
    return Model(name, billions, size_from, positions or None, template, fitting, four_bit)


def _counted(config: Mapping[str, Any]) -> float | None:
    """Billions of parameters from a config's shape: attention, feed-forward and the word table."""
    hidden, layers = _whole(config, "hidden_size", "n_embd"), _whole(config, "num_hidden_layers", "n_layer")
    if not hidden or not layers:
        return None
    heads = _whole(config, "num_attention_heads", "n_head") or 1
    shared = (_whole(config, "num_key_value_heads") or heads) / heads
    wide = _whole(config, "intermediate_size", "n_inner") or 4 * hidden
    experts = _whole(config, "num_local_experts", "num_experts", "n_routed_experts") or 1
    if experts > 1:
        wide = _whole(config, "moe_intermediate_size") or wide
    gated = 3 if "intermediate_size" in config else 2
    words = _whole(config, "vocab_size") * hidden * (1 if config.get("tie_word_embeddings", True) else 2)
    attention = hidden * hidden * (2 + 2 * shared)
    count = layers * (attention + gated * hidden * wide * experts) + words
    return count / 1e9 if math.isfinite(count) else None


def _whole(config: Mapping[str, Any], *names: str) -> int:
    """The first of the keys that holds a whole number above zero; else 0."""
    found = (config.get(name) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), 0)


def _template(folder: Path) -> tuple[Template, str | None]:
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return "own", None
    config = _json(folder / "tokenizer_config.json")
    if config is None:
        return "unknown", None
    if config.get("chat_template"):
        return "own", None
    known = str(config.get("added_tokens_decoder", "")) + str(
        (_json(folder / "tokenizer.json") or {}).get("added_tokens")
    )
    return "none", next((template for mark, template in _MARKS.items() if mark in known), None)


def _json(path: Path) -> dict[str, Any] | None:
    """A file's mapping; None where there is none to read."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
