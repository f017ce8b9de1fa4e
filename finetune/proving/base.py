"""The tiny base model: from where the architecture and the tokenizer of a recipe's model are known, and the folder with
random weights that stands in for it. Asks no network."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune.errors import ModelError
from finetune.memory.finding import TABLE, config_near
from finetune.proving.families import Family, family_of
from finetune.proving.tokenizer import GENERAL, made_tokenizer, marks_of

SPREAD = 1.6
"""Spread of a tiny layer's outputs for inputs of spread 1; with the usual start, so narrow a model could not tell words
apart by much, and nothing would be learned within seconds."""
USUAL = (1e-3, 0.08)
"""Spread of the weights that libraries draw at random; others are left as they are."""
POSITIONS = 4096
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")


@dataclass(frozen=True)
class Known:
    """A recipe's model as far as it is known without its weights. `config`: config.json; `source`: where it is from;
    `tokenizer`: a folder or hub id from which the real tokenizer can be loaded offline, if there is one; `family`:
    where its name is known; `revision`: of that tokenizer; `quantized`: the kind of the checkpoint's weights, where
    they are quantized."""

    config: Mapping[str, Any]
    source: str
    tokenizer: str | None
    family: Family | None
    revision: str | None = None

    @property
    def quantized(self) -> Mapping[str, Any] | None:
        found = self.config.get("quantization_config")
        return found if isinstance(found, dict) else None

    @property
    def positions(self) -> int:
        inner = self.config.get("text_config")
        found = (inner if isinstance(inner, dict) else self.config).get("max_position_embeddings")
        return found if isinstance(found, int) else POSITIONS


def known_model(base_model: str, revision: str | None, tokenizer: str | None) -> Known:
    """ModelError where nothing on this machine says what the model is."""
    family = family_of(base_model)
    config, source = config_near(base_model, revision)
    if config is None and family is not None:
        config, source = copy.deepcopy(dict(family.config)), f"bundled facts of {family.name}"
    elif config is not None and family is not None and source == TABLE:
        config, source = copy.deepcopy({**family.config, **config}), f"bundled facts of {family.name}"
    if config is None:
        raise ModelError(
            f"the architecture of base_model {base_model} is not known here: {source}. Put its config.json on this "
            f"machine (hf download {base_model} config.json tokenizer.json tokenizer_config.json)"
        )
    own = None if tokenizer else revision
    near = tokenizer_near(tokenizer or base_model, own)
    return Known(config, source, near, family or family_of(tokenizer or ""), own)


def tokenizer_near(name: str, revision: str | None = None) -> str | None:
    """The name, where its tokenizer is in a local folder or in the hub's cache."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return name if any((folder / file).is_file() for file in TOKENIZER_FILES) else None
    if name.count("/") != 1 or ".." in name:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(name, file, revision=revision) for file in TOKENIZER_FILES]
    return name if any(isinstance(path, str) for path in found) else None


def make_base(known: Known, templates: Sequence[str], texts: Iterable[str], folder: Path) -> tuple[str, int]:
    """Write config, random weights and tokenizer into the folder: (where the tokenizer is from, how many weights).

    `templates`: names of the chat templates in use; `texts`: what the tokenizer is to write. ModelError where no such
    model can be made."""
    tokenizer, source = _tokenizer(known, templates, texts)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    weights = _write_model(known.config, len(tokenizer), ids, folder)
    tokenizer.save_pretrained(folder)
    return source, weights


def _tokenizer(known: Known, templates: Sequence[str], texts: Iterable[str]) -> tuple[Any, str]:
    if known.tokenizer is not None:
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(
                known.tokenizer, revision=known.revision or "main", local_files_only=True, trust_remote_code=False
            ), "the model's own"
        except Exception as error:  # tokenizers raises bare Exceptions
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise ModelError(f"the tokenizer of {known.tokenizer} cannot be loaded: {reason}") from error
    if known.family is not None:
        facts, source = known.family.tokenizer, f"made up, with the special tokens of {known.family.name}"
    else:
        marks = [mark for template in templates for mark in marks_of(template)]
        facts = replace(GENERAL, special=tuple(dict.fromkeys((*GENERAL.special, *marks))))
        source = "made up, with the marks of ChatML" + (f" and {', '.join(templates)}" if marks else "")
    return made_tokenizer(facts, texts, known.positions), source


def _write_model(config: Mapping[str, Any], vocabulary: int, ids: Mapping[str, int | None], folder: Path) -> int:
    import torch
    from transformers import AutoModelForCausalLM

    from finetune.proving.shrinking import shrunk

    tiny = shrunk(config, vocabulary, ids)
    torch.manual_seed(0)
    try:
        model = AutoModelForCausalLM.from_config(tiny, dtype=torch.float32)
    except Exception as error:  # models raise whatever a size that does not fit leads to
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(f"no tiny {tiny.model_type} can be made: {reason}") from error
    widen(model)
    model.save_pretrained(folder)
    return sum(weight.numel() for weight in model.parameters())


def widen(model: Any) -> None:
    """Draw random weights from wider spreads, so that the tiny model can learn within seconds."""
    import torch

    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() < 2:
                continue
            spread, mean = float(weight.std()), float(weight.mean())
            if USUAL[0] < spread < USUAL[1] and abs(mean) < spread:
                weight.mul_(SPREAD / weight.shape[-1] ** 0.5 / spread)
        ends = model.get_input_embeddings().weight
        # Libraries begin the pad token's at zero; where it also ends answers, nothing could make it likely.
        empty = (ends == 0).all(-1)
        ends[empty] = SPREAD / ends.shape[-1] ** 0.5 * torch.randn(int(empty.sum()), ends.shape[-1])
