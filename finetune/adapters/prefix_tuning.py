"""Prefix tuning: learned keys and values before the row in every layer -> the arguments of peft.PrefixTuningConfig."""

from typing import Any

from finetune.recipe.adapter import AdapterSection

CONFIG = "peft.PrefixTuningConfig"
MERGES = False


def peft_arguments(section: AdapterSection) -> dict[str, Any]:
    return {
        "num_virtual_tokens": section.num_virtual_tokens,
        "prefix_projection": section.prefix_projection,
        "encoder_hidden_size": section.prompt_encoder_hidden_size,
    }
