"""How a model, its quantization and its adapter are asked for with transformers, peft and TRL -> keys of the recipe.

Takes settings and a draft. Unsloth's own calls are read in unsloth_arguments.py."""

from collections.abc import Iterable, Mapping
from typing import Any

from finetune.importing import converting as to
from finetune.importing.draft import CHANGED, IDLE, LOST, Draft
from finetune.importing.found import Object, Setting, known, unread_in
from finetune.importing.peft_arguments import BITS, LORA, LORA_DEFAULTS, peft_targets
from finetune.importing.rules import Carry, Idle, Lost, Read, Rule, Table, apply, converted

_LOADS = Idle("how the files are fetched and loaded")
MODEL: Table = {
    "pretrained_model_name_or_path": Read("`base_model`"),
    "model_name_or_path": Read("`base_model`"),
    "revision": Carry("revision_of_model", to.text, off=(None, "main")),
    "model_revision": Carry("revision_of_model", to.text, off=(None, "main")),
    "trust_remote_code": Carry("trust_remote_code", to.flag, off=(None, False)),
    "torch_dtype": Read("`bf16` and `fp16`, with the flags of training"),
    "dtype": Read("`bf16` and `fp16`, with the flags of training"),
    "attn_implementation": Carry("attn_implementation", to.attention),
    "use_flash_attention_2": Read("`attn_implementation: flash_attention_2`"),
    "device_map": Read("`device_map` where it is one of the values that training takes"),
    "quantization_config": Read("`load_in_4bit` or `load_in_8bit`, with bnb_config_kwargs"),
    "load_in_4bit": Carry("load_in_4bit", to.flag, off=(None, False)),
    "load_in_8bit": Carry("load_in_8bit", to.flag, off=(None, False)),
    "use_cache": Idle("training keeps no cache of keys and values"),
    "low_cpu_mem_usage": _LOADS,
    "cache_dir": _LOADS,
    "local_files_only": _LOADS,
    "force_download": _LOADS,
    "use_safetensors": _LOADS,
    "offload_folder": _LOADS,
    "max_memory": Lost("the model is not spread over devices by hand"),
    "token": Lost("a recipe holds no secrets", "set HF_TOKEN in the environment", off=(None, False, True)),
    "use_auth_token": Lost("a recipe holds no secrets", "set HF_TOKEN in the environment", off=(None, False, True)),
    "num_labels": Lost("a reward model has one score"),
    "variant": _LOADS,
}
TOKENIZER: Table = {
    "pretrained_model_name_or_path": Read("`tokenizer_config` where it is not the model's own"),
    "use_fast": Idle("the fast tokenizer is used"),
    "trust_remote_code": Carry("trust_remote_code", to.flag, off=(None, False)),
    "padding_side": Idle("on which side rows are padded does not change what is learned"),
    "truncation_side": Idle("rows are cut by excess_length_strategy"),
    "model_max_length": Idle("sequence_len says it"),
    "add_eos_token": Idle("an answer always ends with its end token"),
    "add_bos_token": Idle("the chat template writes the beginning of a text"),
    "revision": Carry("revision_of_model", to.text, off=(None, "main")),
    "token": Lost("a recipe holds no secrets", "set HF_TOKEN in the environment", off=(None, False, True)),
    "cache_dir": _LOADS,
    "legacy": _LOADS,
    "pad_token": Carry("special_tokens.pad_token", to.text),
    "eos_token": Carry("special_tokens.eos_token", to.text),
    "bos_token": Carry("special_tokens.bos_token", to.text),
    "unk_token": Carry("special_tokens.unk_token", to.text),
}
TRL_MODEL: dict[str, Rule] = {
    "model_name_or_path": Read("`base_model`"),
    "model_revision": Carry("revision_of_model", to.text, off=(None, "main")),
    "torch_dtype": Read("`bf16` and `fp16`, with the flags of training"),
    "dtype": Read("`bf16` and `fp16`, with the flags of training"),
    "trust_remote_code": Carry("trust_remote_code", to.flag, off=(None, False)),
    "attn_implementation": Carry("attn_implementation", to.attention),
    "use_flash_attention_2": Read("`attn_implementation: flash_attention_2`"),
    "use_peft": Read("`adapter: lora`, or qlora with load_in_4bit"),
    "lora_r": Carry("lora_r", to.whole),
    "lora_alpha": Carry("lora_alpha", to.whole),
    "lora_dropout": Carry("lora_dropout", to.number),
    "lora_target_modules": Read("`lora_target_modules`; all-linear is every linear layer, which unset means here"),
    "lora_target_parameters": Carry("lora_target_parameters", to.words),
    "lora_modules_to_save": Carry("lora_modules_to_save", to.words),
    "lora_task_type": Idle("the method says it"),
    "use_rslora": Carry("peft_use_rslora", to.flag, off=(None, False)),
    "use_dora": Carry("peft_use_dora", to.flag, off=(None, False)),
    "load_in_4bit": Carry("load_in_4bit", to.flag, off=(None, False)),
    "load_in_8bit": Carry("load_in_8bit", to.flag, off=(None, False)),
    "bnb_4bit_quant_type": Carry("bnb_config_kwargs.bnb_4bit_quant_type", to.text, off=(None, "nf4")),
    "use_bnb_nested_quant": Read("`bnb_config_kwargs.bnb_4bit_use_double_quant`; there it is off unless asked for"),
    "bnb_4bit_quant_storage": Carry("bnb_config_kwargs.bnb_4bit_quant_storage", to.text),
    "tokenizer_name_or_path": Carry("tokenizer_config", to.text),
}
TRL_LORA_DEFAULTS: Mapping[str, Any] = {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.05}
PLACES = ("auto", "balanced", "sequential", "cpu", "cuda", "cuda:0")


def read_model(settings: Mapping[str, Setting], draft: Draft) -> None:
    """AutoModelForCausalLM.from_pretrained; its dtype is read with the flags of training."""
    apply(settings.values(), MODEL, draft)
    for name in ("pretrained_model_name_or_path", "model_name_or_path"):
        if name in settings:
            draft.put("base_model", settings[name].value, settings[name])
    flash = settings.get("use_flash_attention_2")
    if flash is not None and flash.value is True:
        draft.put("attn_implementation", "flash_attention_2", flash)
    elif flash is not None:
        draft.tell(IDLE, flash, "asks for nothing")
    if "device_map" in settings:
        _device_map(settings["device_map"], draft)
    if "quantization_config" in settings:
        draft.accounted.add((settings["quantization_config"].name, settings["quantization_config"].where))
        _quantization(settings["quantization_config"], draft)


def _device_map(setting: Setting, draft: Draft) -> None:
    value = setting.value
    if value is None or value == "auto":
        message = "unset, the model is on the first GPU; spread over several GPUs it would compute on one at a time"
        draft.tell(IDLE, setting, message)
    elif value in PLACES:
        draft.put("device_map", value, setting)
    else:
        draft.tell(IDLE, setting, "each process of a run takes its own GPU")


def _quantization(setting: Setting, draft: Draft) -> None:
    made = setting.value
    if made is None:
        draft.tell(IDLE, setting, "asks for nothing")
    elif not isinstance(made, Object):
        draft.unread(setting)
    elif made.name == "BitsAndBytesConfig":
        read_bits(made.arguments, draft)
    elif made.name == "Mxfp4Config":
        draft.put(
            "model_quantization_config", "Mxfp4Config", Setting("quantization_config", "Mxfp4Config", setting.where)
        )
    else:
        draft.accounted |= {(one.name, one.where) for one in made.arguments.values()}
        draft.tell(LOST, setting, f"weights are not quantized by {made.name} here", "load_in_4bit or load_in_8bit")


def read_bits(settings: Mapping[str, Setting], draft: Draft) -> None:
    apply(settings.values(), BITS, draft)
    if draft.value("load_in_4bit") is not True:
        for name in ("bnb_4bit_quant_type", "bnb_4bit_use_double_quant"):
            if name in settings:
                draft.tell(IDLE, settings[name], "it counts only with load_in_4bit")
        return
    kind, double = settings.get("bnb_4bit_quant_type"), settings.get("bnb_4bit_use_double_quant")
    if kind is not None:
        draft.put("bnb_config_kwargs.bnb_4bit_quant_type", kind.value, kind)
    else:
        draft.assume("bnb_config_kwargs.bnb_4bit_quant_type", "fp4", "not written; transformers' default")
    double_quant(double, draft)


def double_quant(setting: Setting | None, draft: Draft) -> None:
    key = "bnb_config_kwargs.bnb_4bit_use_double_quant"
    if setting is None:
        draft.assume(key, False, "not written; off there unless asked for")
    else:
        draft.put(key, setting.value, setting)


def read_lora(settings: Iterable[Setting], draft: Draft) -> None:
    """peft.LoraConfig, with its defaults."""
    named = {setting.key: setting for setting in settings}
    apply(named.values(), LORA, draft)
    target_modules(named.get("target_modules"), draft)
    loftq(named.get("loftq_config"), draft)
    first = next(iter(named.values()), None)
    adapter(draft, f"line {first.where.line}: LoraConfig" if first is not None else "LoraConfig")
    for key, value in LORA_DEFAULTS.items():
        draft.assume(key, value, "not written; peft's default")


def adapter(draft: Draft, why: str) -> None:
    draft.assume("adapter", "qlora" if draft.value("load_in_4bit") is True else "lora", why)


def loftq(setting: Setting | None, draft: Draft) -> None:
    if setting is None:
        return
    if not setting.value:
        draft.tell(IDLE, setting, "asks for nothing")
    elif unread_in(setting.value) or not isinstance(setting.value, Mapping):
        draft.tell(LOST, setting, "how LoftQ begins is not read", "write `peft: {loftq_config: {loftq_bits: 4}}`")
    else:
        draft.put("peft.loftq_config.loftq_bits", setting.value.get("loftq_bits", 4), setting)


def target_modules(setting: Setting | None, draft: Draft, owner: str = "peft's default") -> None:
    """Which layers get an adapter; unset, peft takes some by itself where here all linear ones do."""
    value = setting.value if setting is not None else None
    if (isinstance(value, str) and value in ("all-linear", "all")) or value == ["all-linear"]:
        assert setting is not None
        draft.put("lora_target_linear", True, setting)
    elif setting is not None and value is not None:
        if names := converted(setting, to.targets, draft):
            draft.put("lora_target_modules", names, setting)
    else:
        names = peft_targets(str(draft.value("base_model", "")))
        if names:
            draft.assume("lora_target_modules", names, f"not written; {owner} for this model, where here all are taken")
        else:
            line = setting.where.line if setting is not None else 0
            message = "not written: peft then takes the layers it has listed for the model; here all linear layers are"
            draft.say(CHANGED, line, "target_modules", message, "list them in lora_target_modules if that is not meant")


def read_tokenizer(settings: Mapping[str, Setting], draft: Draft) -> None:
    apply(settings.values(), TOKENIZER, draft)
    setting = settings.get("pretrained_model_name_or_path")
    if setting is None:
        return
    if not known(setting.value):
        draft.unread(setting)
    elif draft.value("base_model") in (None, setting.value):
        draft.tell(IDLE, setting, "it is the model's own")
    else:
        draft.put("tokenizer_config", setting.value, setting)
