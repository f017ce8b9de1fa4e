"""Which number types a run computes in, from bf16, fp16 and the type the model is loaded in. Knows no table."""

from collections.abc import Mapping
from typing import Any

from finetune.importing import converting as to
from finetune.importing.draft import CHANGED, CONFLICT, IDLE, LOST, Draft, NotCarriedError
from finetune.importing.found import Object, Setting, Symbol, Unread, value_text
from finetune.importing.peft_arguments import dtype_name

WHERE_IT_CAN = "is_bf16_supported", "is_bfloat16_supported"
"""Functions that ask whether the GPU can do bfloat16."""


def asks_the_gpu(value: Any) -> bool:
    return isinstance(value, Object | Unread | Symbol) and any(word in source_of(value) for word in WHERE_IT_CAN)


def source_of(value: Any) -> str:
    if isinstance(value, Unread):
        return f"{value.text} {value.why}"
    return value.call if isinstance(value, Object) else value.text


def precision(settings: Mapping[str, Setting], dtype: Setting | None, draft: Draft, unset: Any) -> None:
    """`unset`: what the tool does where neither bf16 nor fp16 is written: `auto`, or False for 32 bits."""
    bf16, fp16 = (_flag(settings.get(name), draft) for name in ("bf16", "fp16"))
    wanted = dtype_name(dtype.value) if dtype is not None else None
    if bf16 is None and fp16 is None:
        _by_model(dtype, wanted, draft, unset)
        return
    if bf16 == "auto" or fp16 == "auto":
        for name in ("bf16", "fp16"):
            if name in settings:
                draft.put(name, "auto", settings[name])
            else:
                draft.assume(name, "auto", "the other one asks the GPU")
    elif bf16 and fp16:
        draft.put("bf16", True, settings["bf16"])
        draft.tell(CONFLICT, settings["fp16"], "bf16 and fp16 are both on; bf16 is kept")
    else:
        _one(settings, bool(bf16), bool(fp16), draft)
    _beside(dtype, wanted, "float16" if fp16 is True and not bf16 else "bfloat16" if bf16 else None, draft)


def _flag(setting: Setting | None, draft: Draft) -> Any:
    if setting is None or setting.value is None:
        if setting is not None:
            draft.tell(IDLE, setting, "as when it is not written")
        return None
    if asks_the_gpu(setting.value):
        return "auto"
    try:
        return to.flag(setting.value)
    except NotCarriedError:
        draft.unread(setting)
        return None


def _one(settings: Mapping[str, Setting], bf16: bool, fp16: bool, draft: Draft) -> None:
    for name, on in (("bf16", bf16), ("fp16", fp16)):
        if name in settings and settings[name].value is not None:
            draft.put(name, on, settings[name])
        elif name == "bf16":
            draft.assume("bf16", on, "fp16 is on" if fp16 else "not written, and off there")


def _by_model(dtype: Setting | None, wanted: str | None, draft: Draft, unset: Any) -> None:
    """No flag: the model's own number type is what is computed in."""
    if dtype is not None and wanted in ("bfloat16", "float16"):
        key = "bf16" if wanted == "bfloat16" else "fp16"
        # Without a flag the weights themselves are 16 bits; here trained weights may stay in 32.
        draft.put(key, True, dtype)
        if key == "fp16":
            draft.assume("bf16", False, "the model is loaded in float16")
        return
    if dtype is not None:
        _told_dtype(dtype, wanted, draft)
    if wanted == "float32" or unset is False:
        draft.assume("bf16", False, "not written: 32 bits are computed in there")
    else:
        draft.assume("bf16", "auto", "not written: bfloat16 where the GPU can")
        draft.assume("fp16", "auto", "not written: float16 where it cannot")


def _told_dtype(dtype: Setting, wanted: str | None, draft: Draft) -> None:
    if dtype.value in (None, "auto") or wanted == "float32" or asks_the_gpu(dtype.value):
        draft.tell(IDLE, dtype, "`bf16` and `fp16` of the recipe say it")
    elif isinstance(dtype.value, Unread | Object):
        draft.unread(dtype)
    else:
        draft.tell(LOST, dtype, f"{value_text(dtype.value)} is no number type that can be trained in here")


def _beside(dtype: Setting | None, wanted: str | None, computed: str | None, draft: Draft) -> None:
    """A number type of the model beside flags that say another."""
    if dtype is None:
        return
    if wanted in ("bfloat16", "float16") and computed is not None and wanted != computed:
        message = f"the model is loaded in {wanted} and computed in {computed}; here it is {computed} for both"
        draft.tell(CONFLICT, dtype, message)
    elif wanted == "float32" and computed is not None:
        draft.tell(CHANGED, dtype, f"`bf16`/`fp16` of the recipe load frozen weights in {computed} too")
    else:
        _told_dtype(dtype, wanted, draft) if wanted is None else draft.tell(IDLE, dtype, "`bf16`/`fp16` say it")
