"""LoRA's keys -> the arguments peft and Unsloth share. Knows no model; what it means is in peft's LoraConfig."""

from typing import Any

from finetune.recipe.adapter import AdapterSection

CONFIG = "peft.LoraConfig"
MERGES = True
ALL_LINEAR = "all-linear"
"""peft's word for every linear layer but the output head."""


CHANGES_BASE = ("pissa", "olora")
"""Ways to begin that also change the base model's weights."""


def changes_base(section: AdapterSection) -> bool:
    """Whether the adapter belongs to changed weights, and must be rewritten before it fits the base model's own."""
    return section.adapter in ("lora", "qlora") and str(section.peft_init_lora_weights).startswith(CHANGES_BASE)


def target_modules(section: AdapterSection) -> list[str] | str:
    if section.lora_target_linear or section.lora_target_modules is None:
        return ALL_LINEAR
    return section.lora_target_modules


def arguments(section: AdapterSection) -> dict[str, Any]:
    """Arguments that mean the same to peft.LoraConfig and to Unsloth's get_peft_model."""
    return {
        "r": section.lora_r,
        "lora_alpha": section.lora_alpha,
        "lora_dropout": section.lora_dropout,
        "target_modules": target_modules(section),
        "bias": "none",
        "use_rslora": section.peft_use_rslora,
        "init_lora_weights": section.peft_init_lora_weights,
        "modules_to_save": section.lora_modules_to_save,
        "target_parameters": section.lora_target_parameters,
        "layers_to_transform": section.peft_layers_to_transform,
        "layers_pattern": section.peft_layers_pattern,
        "ensure_weight_tying": section.peft_ensure_weight_tying,
    }


def peft_arguments(section: AdapterSection) -> dict[str, Any]:
    """Arguments of peft.LoraConfig, those included that Unsloth does not have."""
    return arguments(section) | {
        "use_dora": section.peft_use_dora,
        "fan_in_fan_out": section.lora_fan_in_fan_out,
        "rank_pattern": section.lora_rank_pattern or {},
        "alpha_pattern": section.lora_alpha_pattern or {},
        "layer_replication": section.peft_layer_replication,
        "trainable_token_indices": section.peft_trainable_token_indices,
    }
