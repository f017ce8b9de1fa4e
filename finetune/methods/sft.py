"""Supervised fine-tuning: the recipe's keys of data -> TRL's SFTConfig and SFTTrainer. Labels arrive finished; TRL
prepares nothing. Knows no model."""

from typing import Any

from finetune.methods.shared import RUNTIME, Setting, training_calls
from finetune.plan import Call
from finetune.recipe.data import DataSection
from finetune.recipe.recipe import Recipe


def train_calls(recipe: Recipe, setting: Setting) -> tuple[Call, ...]:
    own = _rows(recipe, recipe.micro_batch_size, recipe.eval_sample_packing)
    return training_calls(recipe, setting, "trl.SFTConfig", own, Call("trl.SFTTrainer", {}, runtime=RUNTIME))


def _rows(section: DataSection, micro_batch_size: int, eval_packing: bool | None) -> dict[str, Any]:
    # Packed, the rows of a batch lie behind one another in one row.
    full_length = section.sequence_len * (micro_batch_size if section.sample_packing else 1)
    return {
        "dataset_kwargs": {"skip_prepare_dataset": True},
        # Rows come packed; with "bfd" TRL's collator lays them out as one row with restarting positions.
        "packing": section.sample_packing,
        "packing_strategy": "bfd",
        "eval_packing": section.sample_packing and eval_packing is not False,
        # Unsloth would else lay out plain batches without padding by itself.
        "padding_free": False,
        "max_length": None,
        "pad_to_multiple_of": full_length if section.pad_to_sequence_len else None,
        "loss_type": "nll",
    }
