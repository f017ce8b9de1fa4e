"""IA3: one learned factor for each output of some layers -> the arguments of peft.IA3Config. Knows no model."""

from typing import Any

from finetune.recipe.adapter import AdapterSection

CONFIG = "peft.IA3Config"
MERGES = True


def peft_arguments(section: AdapterSection) -> dict[str, Any]:
    return {
        "target_modules": section.ia3_target_modules,
        "feedforward_modules": section.ia3_feedforward_modules,
        "modules_to_save": section.lora_modules_to_save,
        "init_ia3_weights": True,
    }
