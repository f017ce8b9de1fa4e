"""Unsloth's loading and adapters, argument by argument and with its defaults -> lines of a draft."""

from finetune.errors import Fault, RecipeError
from finetune.importing import converting as to
from finetune.importing.draft import IDLE, Draft
from finetune.importing.found import Object, Setting, known, with_first
from finetune.importing.model_arguments import adapter, loftq
from finetune.importing.rules import apply, converted
from finetune.importing.unsloth_arguments import ADAPT, ADAPT_DEFAULTS, LOAD, TARGETS


def read_loading(call: Object, draft: Draft) -> Setting | None:
    """FastLanguageModel.from_pretrained, with its defaults."""
    settings = with_first(call, "model_name")
    together = ("model_name", "max_seq_length", "dtype", "load_in_4bit", "load_in_16bit", "full_finetuning",
                "use_gradient_checkpointing")  # fmt: skip
    apply([one for name, one in settings.items() if name not in together], LOAD, draft)
    if "model_name" in settings:
        draft.put("base_model", settings["model_name"].value, settings["model_name"])
    length, bits, whole = (settings.get(name) for name in ("max_seq_length", "load_in_4bit", "full_finetuning"))
    if length is not None and known(length.value) and length.value is not None:
        draft.put("sequence_len", length.value, length)
    elif length is not None:
        draft.unread(length)
    full = whole is not None and whole.value is True
    eight = any(name in settings and settings[name].value is True for name in ("load_in_8bit", "load_in_16bit"))
    if bits is not None and bits.value is True and full:
        draft.tell("conflict", bits, "full_finetuning trains all weights, which are never quantized then")
    elif bits is not None and isinstance(bits.value, bool):
        draft.put("load_in_4bit", bits.value, bits)
    elif bits is not None:
        draft.unread(bits)
    elif not full and not eight:
        draft.assume("load_in_4bit", True, "not written; Unsloth's default")
    for name, message in (
        ("full_finetuning", "no adapter" if full else "asks for nothing"),
        ("load_in_16bit", "`load_in_4bit: false`"),
    ):
        if name in settings:
            draft.tell("carried" if settings[name].value is True else IDLE, settings[name], message)
    _checkpointing(settings.get("use_gradient_checkpointing"), full, draft)
    if full:
        _checkpointing(None, True, draft)
    return settings.get("dtype")


def _checkpointing(setting: Setting | None, use: bool, draft: Draft) -> None:
    if setting is None:
        if use:
            draft.assume("gradient_checkpointing", "unsloth", "not written; Unsloth's default")
    elif not use:
        draft.tell(IDLE, setting, "get_peft_model says it")
    elif setting.value in ("unsloth", True, False):
        draft.lines.pop("gradient_checkpointing", None)
        draft.put("gradient_checkpointing", setting.value, setting)
    else:
        draft.unread(setting)


def read_fast_adapter(call: Object, draft: Draft) -> None:
    settings = call.arguments
    aware = settings.get("qat_scheme")
    if aware is not None and aware.value is not None:
        message = "this script trains with quantization in mind (QAT), which no recipe can; nothing was written"
        raise RecipeError(Fault(message, aware.where))
    apply(settings.values(), ADAPT, draft)
    target = settings.get("target_modules")
    if target is not None and target.value in ("all-linear", "all", ["all-linear"]):
        draft.put("lora_target_linear", True, target)
    elif target is not None and target.value is not None:
        if names := converted(target, to.targets, draft):
            draft.put("lora_target_modules", names, target)
    else:
        draft.assume("lora_target_modules", TARGETS, "not written; Unsloth's default")
        if target is not None:
            draft.tell(IDLE, target, "as when it is not written")
    length = settings.get("max_seq_length")
    if length is not None and isinstance(length.value, int):
        draft.put("sequence_len", length.value, length)
    elif length is not None:
        draft.unread(length)
    loftq(settings.get("loftq_config"), draft)
    _checkpointing(settings.get("use_gradient_checkpointing"), True, draft)
    adapter(draft, f"line {call.line}: get_peft_model")
    for key, value in ADAPT_DEFAULTS.items():
        draft.assume(key, value, "not written; Unsloth's default")
    draft.account_for(settings.values())
