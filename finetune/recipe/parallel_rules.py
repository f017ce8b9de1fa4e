"""What of the keys of several processes may not stand together. Looks at written values only; knows no library and no
machine."""

from collections.abc import Iterator, Mapping
from typing import Any

from finetune.recipe.zero import zero
from finetune.recipe.zero_known import zero_stage

SHARDED_OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "sgd", "adagrad", "rmsprop")
"""Optimizers that look at one number at a time, and so at a part of a weight as at all of it."""
WHOLE_WEIGHTS = (
    ("load_in_8bit", "8-bit weights cannot be cut into parts; load_in_4bit and 16 bits can"),
    ("load_in_torchao", "torchao's weights are not cut into parts here; load_in_4bit: true are"),
    ("model_quantization_config", "weights of that kind are not cut into parts here; load_in_4bit: true are"),
    ("peft_use_dora", "DoRA needs the norm of whole weights"),
    ("unfrozen_parameters", "rows of a weight lie on several GPUs"),
    ("torch_compile", "the compiled model would hold whole weights"),
    ("activation_offloading", "it moves what the layers gather; fsdp_config.activation_checkpointing saves memory"),
    ("liger_cross_entropy", "it is not tested with weights in parts; cut_cross_entropy is"),
    ("liger_fused_linear_cross_entropy", "it needs the whole output layer; cut_cross_entropy does the same"),
    ("device_map", "each process has a part of every layer"),
    ("lr_groups", "it is not tested with weights in parts"),
)
WITH_ZERO = (("resume_changed", "a run of DeepSpeed goes on as it was"),)
WITH_ZERO3 = (
    ("peft_trainable_token_indices", "single rows of a weight lie on several GPUs"),
    ("lora_kernels", "they read a layer's weights outside of the layer, where DeepSpeed does not put them together"),
    ("peft_autocast_adapter_dtype", "weights are put together as one number type; a float32 copy is in the optimizer"),
)
"""Keys that are in the way of weights in parts where they are written and not false."""
BEGINNINGS = ("gaussian", "orthogonal")


def parallel(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(the key to point at, the message) for each."""
    yield from zero(values)
    if isinstance(values.get("deepspeed"), dict):
        yield from _with_zero(values)
    config = values.get("fsdp_config")
    config = config if isinstance(config, dict) else {}
    if values.get("fsdp_version") is None:
        if config:
            yield "fsdp_config", "`fsdp_config` counts only with `fsdp_version: 2`: write it"
        return
    if config.get("activation_checkpointing") and values.get("gradient_checkpointing"):
        yield "fsdp_config", "`activation_checkpointing` and `gradient_checkpointing` do the same. Keep one"
    yield from _with_parts(values)
    yield from _quantized(values, config)


def _with_parts(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What does not go with weights of which each GPU has a part."""
    for key in ("rl", "reward_model"):
        if values.get(key):
            yield (
                key,
                f"`fsdp_version` shares weights out for fine-tuning alone; `{key}` trains with --nproc N without it",
            )
    for key, why in WHOLE_WEIGHTS:
        if values.get(key):
            yield key, f"`{key}` does not go with `fsdp_version: 2`: {why}. Remove one of the two"
    optimizer = values.get("optimizer")
    if isinstance(optimizer, str) and optimizer not in SHARDED_OPTIMIZERS:
        known = ", ".join(SHARDED_OPTIMIZERS)
        yield (
            "optimizer",
            f"`optimizer: {optimizer}` does not go with `fsdp_version: 2`, which cuts weights: use {known}",
        )
    if values.get("adapter") not in (None, "lora", "qlora"):
        yield "adapter", f"`fsdp_version: 2` takes adapter: lora and qlora, or none; not {values['adapter']}"
    yield from _beginning(values)


def _with_zero(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What does not go with DeepSpeed, or is not tested with it."""
    for key in ("rl", "reward_model"):
        if values.get(key):
            yield key, f"`deepspeed` serves fine-tuning alone; `{key}` trains with --nproc N without it"
    for key, why in (*((key, "they are not tested together") for key, _ in WHOLE_WEIGHTS), *WITH_ZERO):
        if values.get(key):
            yield key, f"`{key}` does not go with `deepspeed`: {why}. Remove one of the two"
    optimizer = values.get("optimizer")
    if isinstance(optimizer, str) and optimizer not in SHARDED_OPTIMIZERS:
        known = ", ".join(SHARDED_OPTIMIZERS)
        yield "optimizer", f"`optimizer: {optimizer}` does not go with `deepspeed`, which cuts weights: use {known}"
    if values.get("adapter") not in (None, "lora", "qlora"):
        yield "adapter", f"`deepspeed` takes adapter: lora and qlora, or none; not {values['adapter']}"
    if zero_stage(values["deepspeed"]) == 3:
        yield from _with_zero3(values)


def _with_zero3(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What does not go with weights that DeepSpeed puts together layer by layer."""
    for key, why in WITH_ZERO3:
        if values.get(key):
            yield key, f"`{key}` does not go with ZeRO-3: {why}. Remove it, or write {{stage: 2}}"
    if values.get("gradient_checkpointing") == "unsloth":
        why = "it would move the weights that a layer put together"
        yield "gradient_checkpointing", f"`gradient_checkpointing: unsloth` does not go with ZeRO-3: {why}. Write true"
    written = values.get("gradient_checkpointing_kwargs")
    if values.get("adapter") and isinstance(written, dict) and written.get("use_reentrant") is False:
        yield (
            "gradient_checkpointing_kwargs",
            "`use_reentrant: false` does not go with ZeRO-3 and an adapter: it compares a layer's weights before and "
            "after they are put together. Write true, or leave it out",
        )
    yield from _beginning(values)


def _beginning(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    begin = values.get("peft_init_lora_weights")
    if isinstance(begin, str) and begin not in BEGINNINGS:
        yield "peft_init_lora_weights", f"`{begin}` changes the base model's weights, of which no GPU has the whole"


def _quantized(values: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if values.get("load_in_4bit") is not True:
        return
    if config.get("cpu_ram_efficient_loading"):
        yield (
            "fsdp_config",
            "`cpu_ram_efficient_loading` does not go with `load_in_4bit`, whose weights are small. Keep one",
        )
    given = values.get("bnb_config_kwargs")
    given = given if isinstance(given, dict) else {}
    storage, compute = given.get("bnb_4bit_quant_storage") or "uint8", given.get("bnb_4bit_compute_dtype")
    if storage == "uint8":
        where = "bnb_config_kwargs" if given else "load_in_4bit"
        message = "`fsdp_version: 2` cuts 4-bit weights only where they are stored as the type that is computed in: set"
        yield where, f"{message} `bnb_config_kwargs: {{bnb_4bit_quant_storage: {compute or 'bfloat16'}}}`"
    elif compute and compute != storage:
        message = f"`bnb_4bit_quant_storage: {storage}` and `bnb_4bit_compute_dtype: {compute}` must be one type with"
        yield "bnb_config_kwargs", f"{message} `fsdp_version: 2`, which gathers both together"
