"""Supervised fine-tuning: the recipe's keys of data and speed -> TRL's SFTConfig, and its SFTTrainer or ours, which is
one. Labels arrive finished; nobody prepares anything. Knows no model."""

from typing import Any

from finetune.methods.shared import RUNTIME, Setting, training_calls
from finetune.plan import Call
from finetune.recipe.recipe import Recipe

TOLD_WHERE_ROWS_END = ("auto", "flash_attention_2", "flash_attention_3", "flash_attention_4")
"""Attention that keeps the rows of a batch apart without a mask of tokens by tokens."""


def train_calls(recipe: Recipe, setting: Setting) -> tuple[Call, ...]:
    own = _rows(recipe, recipe.rows_at_once, recipe.eval_sample_packing)
    several = setting.machine.processes > 1 and setting.backend == "transformers"
    padded = "finetune.kernels.sharing.SharingSFTTrainer" if several else "trl.SFTTrainer"
    trainer = Call(padded, {}, runtime=RUNTIME)
    if not lies_flat(recipe, setting.backend):
        return training_calls(recipe, setting, "trl.SFTConfig", own, trainer)
    *before, config, trainer = training_calls(recipe, setting, "trl.SFTConfig", own | _laid_flat(recipe), trainer)
    arguments = {**config.arguments, **_layout(recipe)}
    flat = Call("finetune.kernels.trainer.FlatSFTConfig", arguments, frozen=config.frozen)
    return (*before, flat, Call("finetune.kernels.trainer.FlatSFTTrainer", {}, runtime=RUNTIME))


def lies_flat(recipe: Recipe, backend: str) -> bool:
    """Whether the rows of a batch are laid end to end by us."""
    if backend != "transformers" or recipe.torch_compile or recipe.device_map in ("auto", "balanced", "sequential"):
        return False
    if recipe.adapter not in (None, "lora", "qlora"):
        return False
    if recipe.sample_packing or recipe.batch_flattening is True:
        return True
    return recipe.batch_flattening == "auto" and recipe.attn_implementation in TOLD_WHERE_ROWS_END


def _laid_flat(recipe: Recipe) -> dict[str, Any]:
    laid: dict[str, Any] = {"packing": False, "eval_packing": False, "pad_to_multiple_of": None}
    if not recipe.pad_to_sequence_len:
        # There is no padding; an end token that is the pad token would not be counted.
        laid["include_num_input_tokens_seen"] = "all"
    if recipe.tokens_per_pass:
        # A step is one batch, cut into passes by their tokens.
        rows = recipe.rows_at_once * recipe.gradient_accumulation_steps
        laid |= {"per_device_train_batch_size": rows, "gradient_accumulation_steps": 1}
    return laid


def _layout(recipe: Recipe) -> dict[str, Any]:
    liger = recipe.liger_cross_entropy or recipe.liger_fused_linear_cross_entropy
    full_length = recipe.sequence_len * recipe.rows_at_once
    # Packed rows cannot be padded, nor can passes be cut by their tokens.
    must = recipe.sample_packing or recipe.batch_flattening is True or recipe.tokens_per_pass is not None
    return {
        "flat_or_fail": must,
        "tokens_per_pass": recipe.tokens_per_pass,
        "cut_cross_entropy": not liger if recipe.cut_cross_entropy is None else recipe.cut_cross_entropy,
        "cuda_graphs": recipe.cuda_graphs,
        "fill_batch_to": full_length if recipe.pad_to_sequence_len else None,
    }


def _rows(recipe: Recipe, micro_batch_size: int, eval_packing: bool | None) -> dict[str, Any]:
    flat = recipe.batch_flattening is True and not recipe.sample_packing
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
