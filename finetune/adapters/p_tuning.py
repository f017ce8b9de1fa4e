"""P-tuning: a small network writes the embeddings before the row -> the arguments of peft.PromptEncoderConfig."""

from typing import Any

from finetune.recipe.adapter import AdapterSection

CONFIG = "peft.PromptEncoderConfig"
MERGES = False


def peft_arguments(section: AdapterSection) -> dict[str, Any]:
    return {
        "num_virtual_tokens": section.num_virtual_tokens,
        "encoder_reparameterization_type": section.prompt_encoder_type.upper(),
        "encoder_hidden_size": section.prompt_encoder_hidden_size,
        "encoder_num_layers": section.prompt_encoder_layers,
        "encoder_dropout": section.prompt_encoder_dropout,
    }
