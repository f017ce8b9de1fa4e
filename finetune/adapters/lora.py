"""LoRA's keys -> the arguments peft and Unsloth share. Knows no model; what it means is in peft's LoraConfig."""

from typing import Any

from finetune.recipe.training import AdapterSection

ALL_LINEAR = "all-linear"
"""peft's word for every linear layer but the output head."""


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
        "init_lora_weights": True,
    }
