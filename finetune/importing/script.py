"""The calls of a script or notebook -> a draft: which model, adapter, data and trainer belong together.

Knows the libraries' calls by their names; what each argument means is in the tables."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from finetune.errors import Fault, RecipeError
from finetune.importing import converting as to
from finetune.importing.draft import IDLE, LOST, OUTDATED, Draft
from finetune.importing.found import Object, Setting, with_first
from finetune.importing.loop import measuring, read_arguments
from finetune.importing.model_arguments import adapter, read_lora, read_model, read_tokenizer
from finetune.importing.online import answers_together, names_in, read_rewards, settings_of
from finetune.importing.other_rows import refuse_other_rows
from finetune.importing.plain_rows import read_plain
from finetune.importing.precision import precision
from finetune.importing.rules import apply
from finetune.importing.script_after import read_after, read_callbacks, unused
from finetune.importing.script_data import Read
from finetune.importing.script_rows import read_rows
from finetune.importing.trainer_arguments import GONE_FROM_CONFIGURATIONS, TODAY, TRAINER
from finetune.importing.trl_arguments import CONFIGS, METHODS, TRAINERS
from finetune.importing.trl_method import read_method, set_defaults
from finetune.importing.unsloth_arguments import DEFAULTS, MODELS
from finetune.importing.unsloth_calls import read_fast_adapter, read_loading

PLAIN = ("Trainer", "Seq2SeqTrainer")
OTHER_TRAINERS = {"UnslothTrainer": "sft", **TRAINERS}
ARGUMENTS = ("TrainingArguments", "Seq2SeqTrainingArguments", "UnslothTrainingArguments")
KINDS = {"DPO": "dpo", "PatchDPOTrainer": "dpo"}
REFUSED = ("PPOTrainer", "GKDTrainer", "OnlineDPOTrainer", "XPOTrainer", "NashMDTrainer", "PRMTrainer", "BCOTrainer")
MODEL_CLASSES = ("AutoModelForCausalLM", "AutoModelForSequenceClassification", "AutoModelForImageTextToText",
                 "AutoPeftModelForCausalLM")  # fmt: skip
MODEL_CLASS = re.compile(r"[A-Z]\w+(ForCausalLM|ForConditionalGeneration|LMHeadModel)$")
UNSLOTH_ONLY = {"embedding_learning_rate": "embedding_lr", "loraplus_lr_ratio": "loraplus_lr_ratio"}


def is_run(calls: Sequence[Object]) -> bool:
    """Whether there is anything here to make a recipe of."""
    names = {call.name for call in calls}
    wanted = {*PLAIN, *OTHER_TRAINERS, *CONFIGS, *ARGUMENTS, "LoraConfig", "get_peft_model", *REFUSED}
    return bool(names & wanted) or any(_owner(call) in MODELS for call in calls)


def behind(value: Any) -> list[Object]:
    """The calls that a value has gone through, the last one first."""
    found: list[Object] = []
    while isinstance(value, Object) and len(found) < 40:
        found.append(value)
        first = value.get("model", 0)
        value = value.base if isinstance(value.base, Object) else first
    return found


def _is_model(call: Object) -> bool:
    owner = _owner(call)
    return owner in MODEL_CLASSES or bool(MODEL_CLASS.search(owner))


def _owner(call: Object) -> str:
    parts = call.call.split(".")
    return parts[-2] if len(parts) > 1 else ""


def read_script(calls: Sequence[Object], values: Mapping[str, Any], draft: Draft) -> None:
    """A draft of everything that the calls say."""
    refuse_other_rows(calls)
    trainer = next((call for call in calls if call.name in (*PLAIN, *OTHER_TRAINERS)), None)
    config = _config(trainer, calls)
    unsloth = any(call.call.startswith("unsloth.") or _owner(call) in MODELS for call in calls)
    method = OTHER_TRAINERS.get(trainer.name if trainer else "", CONFIGS.get(config.name if config else "", "sft"))
    _others(trainer, config, calls, draft)
    arguments = _trainer_arguments(trainer, draft)
    settings = {**arguments, **(config.arguments if config else {})}
    _twice(arguments, config, draft)
    _outdated(trainer, config, unsloth, draft)
    given = read_arguments(settings.values(), draft, {**METHODS[method], **_unsloth_only()})
    read_method(method, given, draft)
    dtype = _model(trainer, config, calls, draft)
    _adapter(trainer, calls, unsloth, draft)
    rows = Read(calls, values, trainer, given, method)
    read_rows(rows, draft)
    read_plain(rows, draft)
    precision(given, dtype, draft, _unset(config, unsloth))
    measuring(given, draft, bool(draft.test_datasets or draft.value("val_set_size")))
    read_callbacks(trainer, draft)
    read_after(calls, draft)
    _refuse_bare(calls, draft)
    read_rewards(trainer, method, draft)
    _defaults(method, config, {**given, "unsloth": unsloth}, draft)
    answers_together(method, draft)
    for call in (config, trainer):
        if call is not None:
            draft.account_for(call.arguments.values())
    unused(calls, draft)


def _refuse_bare(calls: Sequence[Object], draft: Draft) -> None:
    """RecipeError for a script whose settings all come from its command line."""
    parser = next((call for call in calls if call.name in ("TrlParser", "HfArgumentParser", "H4ArgumentParser")), None)
    if parser is not None and "base_model" not in draft.lines:
        message = f"this script takes its settings from its command line ({parser.name}): import the YAML or the shell"
        raise RecipeError(Fault(f"{message} script that starts it; nothing was written", parser.where))
    told = draft.lines.keys() & {"base_model", "learning_rate", "num_epochs", "max_steps", "lora_r", "sequence_len"}
    if not (told or draft.datasets or draft.missed):
        message = "no setting of this training is in this file or those beside it; nothing was written"
        raise RecipeError(Fault(message, next((call.where for call in calls if call.where), None)))


def _unsloth_only() -> dict[str, Any]:
    from finetune.importing.rules import Carry

    return {name: Carry(key, to.number) for name, key in UNSLOTH_ONLY.items()}


def _config(trainer: Object | None, calls: Sequence[Object]) -> Object | None:
    given = trainer.get("args", 1) if trainer is not None else None
    if isinstance(given, Object) and given.name in (*CONFIGS, *ARGUMENTS):
        return given
    return next((call for call in calls if call.name in (*CONFIGS, *ARGUMENTS)), None)


def _others(trainer: Object | None, config: Object | None, calls: Sequence[Object], draft: Draft) -> None:
    """Further trainings in the file, which are runs of their own."""
    for call in calls:
        if call.name in (*PLAIN, *OTHER_TRAINERS, *REFUSED, *CONFIGS, *ARGUMENTS) and call not in (trainer, config):
            message = "another training of this file: the recipe is of the first"
            if call.name in REFUSED:
                message = "this method has no counterpart"
            shown = f"{call.name}({names_in(list(call.arguments.values()))})"
            draft.say(LOST, call.line, shown, message, "put it into a file of its own and import that")
            draft.accounted |= {(setting.name, setting.where) for setting in call.arguments.values()}


def _trainer_arguments(trainer: Object | None, draft: Draft) -> dict[str, Setting]:
    """Arguments of the trainer that belong to a configuration today; the rest is told or read elsewhere."""
    if trainer is None:
        return {}
    own = {name: setting for name, setting in trainer.arguments.items() if name in TRAINER or name == "**"}
    more = {name: setting for name, setting in trainer.arguments.items() if name not in own}
    if "**" in own:
        draft.unread(own.pop("**"))
    apply(own.values(), TRAINER, draft)
    if "eval_packing" in own:
        more["eval_packing"] = own["eval_packing"]
    for name in ("model", "args", "train_dataset", "ref_model"):
        setting = own.get(name)
        if setting is None:
            continue
        if name == "ref_model" and setting.value is not None:
            draft.tell(IDLE, setting, "the reference is the model as it began")
        elif name == "args" and not isinstance(setting.value, Object):
            draft.unread(setting)
        elif name != "model" or not isinstance(setting.value, str):
            draft.accounted.add((setting.name, setting.where))
    return more


def _twice(arguments: Mapping[str, Setting], config: Object | None, draft: Draft) -> None:
    for name, setting in arguments.items():
        if config is not None and name in config.arguments:
            draft.tell("conflict", setting, f"it is in {config.name} too, and that one counts")


def _outdated(trainer: Object | None, config: Object | None, unsloth: bool, draft: Draft) -> None:
    """What the libraries of today would not take any more."""
    for setting in trainer.arguments.values() if trainer is not None else ():
        if setting.key not in TODAY and "*" not in setting.key and trainer is not None:
            keeps = "; Unsloth still takes it" if unsloth and setting.key != "infinite" else ""
            draft.say(
                OUTDATED, setting.where.line, setting.shown, f"{trainer.name} has no such argument any more{keeps}"
            )
    for setting in config.arguments.values() if config is not None else ():
        if setting.key in GONE_FROM_CONFIGURATIONS and config is not None:
            draft.say(OUTDATED, setting.where.line, setting.shown, f"{config.name} has no such argument any more")


def _unset(config: Object | None, unsloth: bool) -> Any:
    """What is computed in where no flag is written: TRL's own configurations take bfloat16, transformers' 32 bits."""
    return "auto" if unsloth or config is None or config.name in CONFIGS else False


def _model(trainer: Object | None, config: Object | None, calls: Sequence[Object], draft: Draft) -> Setting | None:
    """The model; the setting of its number type."""
    named = trainer.setting("model", 0) if trainer is not None else None
    loads = [call for call in calls if call.name == "from_pretrained"]
    given = [call for call in behind(named.value if named is not None else None) if call.name == "from_pretrained"]
    first = next((call for call in [*given, *loads] if _owner(call) in MODELS), None)
    plain = next((call for call in [*given, *loads] if _is_model(call)), None)
    dtype: Setting | None = None
    if first is not None:
        dtype = read_loading(first, draft)
    elif plain is not None:
        settings = with_first(plain, "pretrained_model_name_or_path")
        read_model(settings, draft)
        dtype = settings.get("dtype") or settings.get("torch_dtype")
        draft.account_for(
            one for one in settings.values() if one not in (settings.get("dtype"), settings.get("torch_dtype"))
        )
    _passed_on(trainer, config, draft)
    if named is not None and isinstance(named.value, str):
        draft.put("base_model", named.value, named)
    tokenizer = next((call for call in loads if _owner(call) in ("AutoTokenizer", "AutoProcessor")), None)
    if tokenizer is not None:
        read_tokenizer(with_first(tokenizer, "pretrained_model_name_or_path"), draft)
    for call in loads:
        if call not in (first, plain, tokenizer):
            _later(call, draft)
    return dtype


def _passed_on(trainer: Object | None, config: Object | None, draft: Draft) -> None:
    """How TRL is to load the model that a trainer or its configuration names."""
    given = trainer.arguments if trainer is not None else {}
    inner = config.arguments.get("model_init_kwargs") if config is not None else None
    for setting in (given.get("model_init_kwargs"), inner):
        if setting is not None and isinstance(setting.value, Mapping):
            items = settings_of(setting.value, setting)
            read_model(items, draft)
            draft.accounted.add((setting.name, setting.where))
            for name in ("dtype", "torch_dtype"):
                if name in items:
                    draft.tell(IDLE, items[name], "`bf16` and `fp16` of the recipe say it")
        elif setting is not None:
            draft.tell(IDLE, setting, "asks for nothing") if not setting.value else draft.unread(setting)
    if "quantization_config" in given:
        read_model({"quantization_config": given["quantization_config"]}, draft)
        draft.accounted.add((given["quantization_config"].name, given["quantization_config"].where))


def _later(call: Object, draft: Draft) -> None:
    owner = _owner(call)
    if owner in (*MODELS, *MODEL_CLASSES, "AutoTokenizer", "PeftModel", "AutoProcessor"):
        for setting in (*call.arguments.values(), *call.positional):
            draft.tell(IDLE, setting, "a second loading, of what was trained: finetune chat RUN_FOLDER")


def _adapter(trainer: Object | None, calls: Sequence[Object], unsloth: bool, draft: Draft) -> None:
    made = behind(trainer.get("model", 0)) if trainer is not None else []
    adapted = [call for call in (*made, *calls) if call.name == "get_peft_model"]
    fast = next((call for call in adapted if _owner(call) in MODELS or call.arguments), None)
    given = trainer.setting("peft_config") if trainer is not None else None
    config = given.value if given is not None else None
    if not isinstance(config, Object) and adapted:
        config = adapted[0].get("peft_config", 1)
    if not isinstance(config, Object):
        config = next((call for call in calls if call.name == "LoraConfig"), None)
    if given is not None and given.value is None:
        draft.tell(IDLE, given, "no adapter from here")
    elif given is not None and isinstance(given.value, Object):
        draft.accounted.add((given.name, given.where))
    if fast is not None and unsloth:
        read_fast_adapter(fast, draft)
    elif isinstance(config, Object) and config.name == "LoraConfig":
        read_lora(config.arguments.values(), draft)
        draft.account_for(config.arguments.values())
    elif isinstance(config, Object):
        near = {"PrefixTuningConfig": "prefix_tuning", "PromptTuningConfig": "prompt_tuning", "IA3Config": "ia3"}
        message = f"write `adapter: {near.get(config.name, 'lora')}` and its keys"
        draft.say(LOST, config.line, f"{config.name}(…)", "this adapter's arguments are not read", message)
    elif given is not None and given.value is not None:
        draft.unread(given)
    if "adapter" not in draft.lines and (draft.value("load_in_4bit") is True or draft.value("load_in_8bit") is True):
        adapter(draft, "TO DO: quantized weights need an adapter, and the file names none")
        draft.say(
            "to do",
            0,
            "adapter",
            "quantized weights need an adapter, and the file names none",
            "check lora_r and lora_alpha",
        )


def _defaults(method: str, config: Object | None, given: Mapping[str, Any], draft: Draft) -> None:
    if config is not None and config.name in ARGUMENTS:
        set_defaults(method, draft, "not written; transformers' default", {"sequence_len": 1024})
    elif given["unsloth"]:
        own = dict(DEFAULTS)
        if {"warmup_steps", "warmup_ratio"} & set(given):
            own.pop("warmup_ratio")
        draft.assume("sequence_len", 2048, "not written; Unsloth's default")
        set_defaults(method, draft, "not written; Unsloth's default", own)
    else:
        set_defaults(method, draft)
