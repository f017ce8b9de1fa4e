"""LLaMA-Factory's adapters and quantized weights -> lines of a draft."""

from collections.abc import Mapping
from typing import Any

from finetune.importing import converting as to
from finetune.importing.draft import IDLE, LOST, Draft
from finetune.importing.found import Setting
from finetune.importing.llamafactory_arguments import LORA_DEFAULTS, TABLE
from finetune.importing.rules import converted

Settings = Mapping[str, Setting]

QUANTIZED_BY_OTHERS = "weights are quantized by bitsandbytes here"


def value(settings: Settings, name: str, default: Any = None) -> Any:
    found = settings[name].value if name in settings else default
    return default if found is None else found


def read_adapter(kind: str, settings: Settings, draft: Draft) -> None:
    target, older = settings.get("lora_target"), settings.get("adapter_name_or_path")
    if kind == "full":
        for name in settings:
            if name.startswith("lora_") or name in ("additional_target", "pissa_init", "pissa_iter"):
                key = getattr(TABLE.get(name), "key", "")
                draft.lines.pop(key, None)
                draft.tell(IDLE, settings[name], "all weights are trained, so it counts for nothing there either")
        return
    names = target.value if target is not None else "all"
    if names in ("all", ["all"], None):
        if target is not None:
            draft.put("lora_target_linear", True, target)
    elif target is not None and (chosen := converted(target, to.words, draft)):
        draft.put("lora_target_modules", chosen, target)
    if older is not None and isinstance(older.value, str) and "," not in older.value:
        draft.put("lora_model_dir", older.value, older)
    elif older is not None and older.value:
        draft.tell(LOST, older, "one adapter can be gone on from", "merge the others first: finetune merge")
    elif older is not None:
        draft.tell(IDLE, older, "asks for nothing")
    if not draft.value("lora_model_dir"):
        _size(draft)
    _pissa(settings, draft)


def _size(draft: Draft) -> None:
    for key, default in LORA_DEFAULTS.items():
        draft.assume(key, default, "not written; LLaMA-Factory's default")
    rank = draft.value("lora_r")
    if isinstance(rank, int):
        draft.assume("lora_alpha", 2 * rank, "not written; there it is twice lora_rank")


def _pissa(settings: Settings, draft: Draft) -> None:
    on, rounds = settings.get("pissa_init"), settings.get("pissa_iter")
    if on is not None and on.value is True:
        count = value(settings, "pissa_iter", 16)
        draft.put("peft_init_lora_weights", "pissa" if count == -1 else f"pissa_niter_{count}", on)
        if rounds is not None:
            draft.tell("carried", rounds, f"`peft_init_lora_weights: {draft.value('peft_init_lora_weights')}`")
        return
    for setting in (on, rounds):
        if setting is not None:
            draft.tell(IDLE, setting, "asks for nothing")


def read_quantization(settings: Settings, draft: Draft) -> None:
    bits, by = settings.get("quantization_bit"), settings.get("quantization_method")
    wanted = bits.value if bits is not None else None
    if (
        bits is not None
        and wanted in (4, 8)
        and str(value(settings, "quantization_method", "bnb")) in ("bnb", "bitsandbytes")
    ):
        draft.put(f"load_in_{wanted}bit", True, bits)
    elif bits is not None and wanted is not None:
        draft.tell(LOST, bits, f"{QUANTIZED_BY_OTHERS}, in 4 or 8 bits", "`load_in_4bit: true`")
    elif bits is not None:
        draft.tell(IDLE, bits, "asks for nothing")
    if by is not None:
        ours = by.value in ("bnb", "bitsandbytes") or wanted is None
        draft.tell(IDLE if ours else LOST, by, QUANTIZED_BY_OTHERS)
    for name, key, usual in (
        ("quantization_type", "bnb_4bit_quant_type", "nf4"),
        ("double_quantization", "bnb_4bit_use_double_quant", True),
    ):
        setting = settings.get(name)
        if setting is not None and draft.value("load_in_4bit") is True and setting.value != usual:
            draft.put(f"bnb_config_kwargs.{key}", setting.value, setting)
        elif setting is not None:
            draft.tell(IDLE, setting, "as when it is not written")
