"""Keys that may say `auto`, where memory decides: what they mean while it is not known what would fit. Knows no
machine."""

from typing import Any

from finetune.recipe.recipe import Recipe

BY_MEMORY = ("micro_batch_size", "tokens_per_pass", "gradient_checkpointing", "load_in_4bit")
"""They are chosen as the fastest that fits the GPU."""


def chosen_by_memory(recipe: Recipe) -> tuple[str, ...]:
    """Those of the recipe."""
    return tuple(key for key in BY_MEMORY if getattr(recipe, key) == "auto")


def smallest(recipe: Recipe) -> Recipe:
    """The recipe with each `auto` at what takes least memory: one row at a time, computed again, in 4 bits."""
    values: dict[str, Any] = {
        "micro_batch_size": 1,
        "tokens_per_pass": recipe.sequence_len,
        "gradient_checkpointing": True,
        "load_in_4bit": recipe.adapter is not None,
    }
    wanted = chosen_by_memory(recipe)
    return recipe.model_copy(update={key: values[key] for key in wanted}) if wanted else recipe
