"""peft's LoraConfig and transformers' BitsAndBytesConfig -> keys. Tables, and which layers peft takes by itself.

For peft 0.21.2. A test holds the tables against the installed signatures."""

from collections.abc import Mapping
from typing import Any

from finetune.importing import converting as to
from finetune.importing.draft import NotCarriedError
from finetune.importing.found import Symbol
from finetune.importing.rules import Carry, Idle, Lost, Only, Read, Rule, Table

VERSION = "0.21.2"
_OTHER = Lost("this kind of LoRA is not supported", off=(None, False, {}))


def _init(value: Any) -> Any:
    if value in (True, False, "gaussian", "olora", "pissa", "orthogonal"):
        return value
    if isinstance(value, str) and value.startswith("pissa_niter_"):
        return value
    raise NotCarriedError(f"an adapter cannot begin as {value!r} here")


LORA: Table = {
    "r": Carry("lora_r", to.whole),
    "lora_alpha": Carry("lora_alpha", to.whole),
    "lora_dropout": Carry("lora_dropout", to.number),
    "target_modules": Read("`lora_target_modules`; all-linear is every linear layer, which is what unset means here"),
    "exclude_modules": Lost("no layer is left out by name", "list those that are meant in lora_target_modules"),
    "bias": Only(("none", None), "biases stay as they are"),
    "task_type": Idle("the method says it"),
    "inference_mode": Idle("it is trained"),
    "use_rslora": Carry("peft_use_rslora", to.flag, off=(None, False)),
    "use_dora": Carry("peft_use_dora", to.flag, off=(None, False)),
    "modules_to_save": Carry("lora_modules_to_save", to.words, off=(None, [])),
    "init_lora_weights": Carry("peft_init_lora_weights", _init, off=(None, True)),
    "fan_in_fan_out": Carry("lora_fan_in_fan_out", to.flag, off=(None, False)),
    "layers_to_transform": Carry(
        "peft_layers_to_transform", lambda value: [value] if isinstance(value, int) else value
    ),
    "layers_pattern": Carry("peft_layers_pattern", to.words),
    "rank_pattern": Carry("lora_rank_pattern", off=(None, {})),
    "alpha_pattern": Carry("lora_alpha_pattern", off=(None, {})),
    "layer_replication": Carry("peft_layer_replication"),
    "trainable_token_indices": Carry("peft_trainable_token_indices"),
    "target_parameters": Carry("lora_target_parameters"),
    "ensure_weight_tying": Carry("peft_ensure_weight_tying", to.flag, off=(None, False)),
    "loftq_config": Read("`peft: {loftq_config: …}`"),
    "lora_bias": Lost("the adapter has no bias"),
    "peft_type": Idle("LoraConfig says it"),
    "base_model_name_or_path": Idle("base_model says it"),
    "revision": Idle("of a saved adapter"),
    "auto_mapping": Idle("how peft saves"),
    "peft_version": Idle("how peft saves"),
    "runtime_config": Idle("how peft computes"),
    "megatron_config": _OTHER,
    "megatron_core": Idle("of megatron_config"),
    "qalora_group_size": Idle("of use_qalora"),
    **dict.fromkeys(
        "eva_config corda_config lora_ga_config velora_config alora_invocation_tokens use_qalora monteclora_config "
        "use_bdlora arrow_config kasa_config".split(),
        _OTHER,
    ),
}
LORA_DEFAULTS: Mapping[str, Any] = {"lora_r": 8, "lora_alpha": 8, "lora_dropout": 0.0}


def dtype_name(value: Any) -> str | None:
    """`bfloat16`, `float16` or `float32` of what stands for one; None for any other."""
    text = value.text if isinstance(value, Symbol) else value
    if not isinstance(text, str):
        return None
    name = text.rsplit(".", 1)[-1]
    name = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32", "float": "float32"}.get(
        name, name
    )
    return name if name in ("bfloat16", "float16", "float32") else None


def _dtype(value: Any) -> str:
    name = dtype_name(value)
    if name is None:
        raise NotCarriedError(f"{to_text(value)} is no number type that is known here")
    return name


def to_text(value: Any) -> str:
    return value.text if isinstance(value, Symbol) else repr(value)


_STORED = "bnb_config_kwargs."
BITS: dict[str, Rule] = {
    "load_in_4bit": Carry("load_in_4bit", to.flag, off=(None, False)),
    "load_in_8bit": Carry("load_in_8bit", to.flag, off=(None, False)),
    "bnb_4bit_quant_type": Read("`bnb_config_kwargs.bnb_4bit_quant_type`; transformers' own default is fp4, here nf4"),
    "bnb_4bit_use_double_quant": Read(
        "`bnb_config_kwargs.bnb_4bit_use_double_quant`; there it is off unless asked for"
    ),
    "bnb_4bit_compute_dtype": Carry(f"{_STORED}bnb_4bit_compute_dtype", _dtype),
    "bnb_4bit_quant_storage": Carry(
        f"{_STORED}bnb_4bit_quant_storage",
        lambda value: "uint8" if to_text(value).endswith("uint8") else _dtype(value),
    ),
    "llm_int8_threshold": Only((6.0, None), "the threshold is 6"),
    "llm_int8_enable_fp32_cpu_offload": Lost("no weights are left on the CPU"),
    "llm_int8_skip_modules": Lost("every linear layer but the output head is quantized"),
    "llm_int8_has_fp16_weight": Lost("8-bit weights are frozen"),
}
PEFT_OWN: Mapping[str, list[str]] = {
    **{name: ["q_proj", "v_proj"] for name in "llama mistral qwen gemma smollm vicuna zephyr yi-".split()},
    "gpt2": ["c_attn"],
    "pythia": ["query_key_value"],
    "falcon3": ["q_proj", "v_proj"],
    "falcon": ["query_key_value"],
}
"""Part of a model's name -> the layers that peft adapts where target_modules is not written."""


def peft_targets(model: str) -> list[str] | None:
    short = model.rsplit("/", 1)[-1].lower()
    return next((names for part, names in PEFT_OWN.items() if part in short), None)
