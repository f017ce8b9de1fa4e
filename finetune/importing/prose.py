"""A text that tells of a training without its code: names of a model and of data, and settings between backticks.

Reads only what is written as code or in quotes; what it takes is always told, since a text may mean it otherwise."""

import re
from collections.abc import Sequence
from typing import Any

from finetune.errors import Where
from finetune.importing.draft import CHANGED, Draft
from finetune.importing.found import Object, Setting
from finetune.importing.loop import read_arguments
from finetune.importing.rules import Carry, apply_one
from finetune.importing.script_after import read_after
from finetune.importing.training_arguments import TABLE
from finetune.importing.trl_method import set_defaults
from finetune.importing.unsloth_arguments import DEFAULTS
from finetune.recipe.source import plain

PAIR = re.compile(r"`([a-z_]\w*)\s*=\s*([^`\n]+?)`|\b([a-z_]\w{4,})=([\w.+-]+)")
MODEL = re.compile(
    r"[`\"'“]+([\w.-]+/[\w.-]*(?:\d[bB]\b|[lL]lama|[qQ]wen|[pP]hi-|[gG]emma|[mM]istral)[\w.-]*?)[,.]?[`\"'”]+"
)
QUANTIZED = re.compile(r"\*\*4-bit quantization\*\*|\b4-bit\b", re.I)
LORA = re.compile(r"\bLoRA\b")
LOADING = {"max_seq_length": "sequence_len", "load_in_4bit": "load_in_4bit"}


def read_prose(text: str, calls: Sequence[Object], draft: Draft) -> bool:
    """Whether there was anything to take."""
    draft.tool = "a text, without the code of a training"
    settings = _settings(text, draft.file)
    models = {found[1]: text.count("\n", 0, found.start()) + 1 for found in MODEL.finditer(text)}
    if not settings and not models and not any(call.name == "generate" for call in calls):
        return False
    if models:
        name, line = next(iter(models.items()))
        draft.put(
            "base_model",
            name,
            Setting("model", name, Where(draft.file, line, 1)),
            "the first model that the text names",
        )
    for key, ours in LOADING.items():
        if key in settings:
            apply_one(settings.pop(key), Carry(ours), draft)
    read_arguments([one for one in settings.values() if one.key in TABLE], draft)
    _told(text, draft)
    read_after(calls, draft)
    draft.assume("sequence_len", 2048, "the text does not say it; Unsloth's default")
    set_defaults("text", draft, "the text does not say it; Unsloth's default", DEFAULTS)
    return True


def _settings(text: str, file: str) -> dict[str, Setting]:
    known = {*TABLE, *LOADING} - {"use_cache"}  # of generating
    found: dict[str, Setting] = {}
    for match in PAIR.finditer(text):
        name, value = (match[1], match[2]) if match[1] else (match[3], match[4])
        if name in known and name not in found:
            read: Any = {"True": True, "False": False, "None": None}.get(value, plain(value))
            found[name] = Setting(name, read, Where(file, text.count("\n", 0, match.start()) + 1, 1))
    return found


def _told(text: str, draft: Draft) -> None:
    """What a text says in words: an adapter, and 4-bit weights."""
    lora, four = LORA.search(text), QUANTIZED.search(text)
    if four and draft.value("load_in_4bit") is None:
        draft.assume("load_in_4bit", True, "the text tells of 4-bit weights")
    if draft.value("load_in_4bit") is True:
        draft.assume("adapter", "qlora", "the text tells of LoRA on 4-bit weights")
    elif lora:
        draft.assume("adapter", "lora", "the text tells of LoRA")
    if "adapter" in draft.lines:
        for key, value in {"lora_r": 16, "lora_alpha": 16, "lora_dropout": 0.0}.items():
            draft.assume(key, value, "the text does not say it; Unsloth's default")
    if "train_on_responses_only" in text or "responses only" in text:
        draft.assume("train_on_inputs", False, "the text tells of learning responses only")
    message = "there is no code of a training here, so that most lines are defaults"
    draft.say(CHANGED, 0, "the text", message, "compare with the notebook that it tells of")
