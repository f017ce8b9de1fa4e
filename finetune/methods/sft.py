"""Supervised fine-tuning: the recipe's keys of data -> TRL's SFTConfig and SFTTrainer. Labels arrive finished; TRL
prepares nothing. Knows no model."""

from typing import Any

from finetune.methods.shared import RUNTIME, Setting, training_calls
from finetune.plan import Call
from finetune.recipe.recipe import Recipe


def train_calls(recipe: Recipe, setting: Setting) -> tuple[Call, ...]:
    own = _rows(recipe, recipe.micro_batch_size, recipe.eval_sample_packing)
    return training_calls(recipe, setting, "trl.SFTConfig", own, Call("trl.SFTTrainer", {}, runtime=RUNTIME))


def _rows(recipe: Recipe, micro_batch_size: int, eval_packing: bool | None) -> dict[str, Any]:
    flat = not recipe.sample_packing and flattens(recipe)
    # Packed, the rows of a batch lie behind one another in one row.
    full_length = recipe.sequence_len * (micro_batch_size if recipe.sample_packing or flat else 1)
    return {
        "dataset_kwargs": {"skip_prepare_dataset": True},
        # Rows come packed; with "bfd" TRL's collator lays them out as one row with restarting positions.
        "packing": recipe.sample_packing,
        "packing_strategy": "bfd",
        "eval_packing": recipe.sample_packing and eval_packing is not False,
        # Unsloth would else lay out plain batches without padding by itself.
        "padding_free": flat,
        "max_length": None,
        "pad_to_multiple_of": full_length if recipe.pad_to_sequence_len else None,
        "loss_type": "nll",
    }


def flattens(recipe: Recipe) -> bool:
    """Whether plain batches are laid out without padding."""
    if recipe.batch_flattening == "auto":
        return recipe.attn_implementation in ("flash_attention_2", "flash_attention_3")
    return recipe.batch_flattening
