"""Prompt tuning: learned embeddings before the row -> the arguments of peft.PromptTuningConfig. Knows no model."""

from typing import Any

from finetune.recipe.adapter import AdapterSection

CONFIG = "peft.PromptTuningConfig"
MERGES = False


def peft_arguments(section: AdapterSection) -> dict[str, Any]:
    text = section.prompt_tuning_init_text
    return {
        "num_virtual_tokens": section.num_virtual_tokens,
        "prompt_tuning_init": "TEXT" if text else "RANDOM",
        "prompt_tuning_init_text": text,
    }
