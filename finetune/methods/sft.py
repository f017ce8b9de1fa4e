"""Supervised fine-tuning: the recipe's training keys -> TRL's SFTConfig and SFTTrainer. Labels arrive finished; TRL
prepares nothing. Knows no model."""

from typing import Any

from finetune.machine import Machine
from finetune.plan import Call
from finetune.precision import Precision
from finetune.recipe.data import DataSection
from finetune.recipe.output import OutputSection
from finetune.recipe.recipe import Recipe
from finetune.recipe.training import EvaluationSection, TrainingSection


def train_calls(
    recipe: Recipe, precision: Precision, machine: Machine, gradient_checkpointing: bool
) -> tuple[Call, ...]:
    arguments = (
        _loop(recipe)
        | _optimizer(recipe)
        | _rows(recipe, recipe.micro_batch_size)
        | _saving(recipe)
        | _evaluating(recipe, recipe)
        | _tracking(recipe)
        | {
            "bf16": precision.bf16,
            "fp16": precision.fp16,
            "tf32": recipe.tf32,
            "use_cpu": not machine.cuda,
            "gradient_checkpointing": gradient_checkpointing,
            "gradient_checkpointing_kwargs": _checkpointing_kwargs(recipe) if gradient_checkpointing else None,
        }
    )
    runtime = ("model", "args", "train_dataset", "eval_dataset", "processing_class", "callbacks")
    return (*_tracking_calls(recipe), Call("trl.SFTConfig", arguments), Call("trl.SFTTrainer", {}, runtime=runtime))


def _loop(section: TrainingSection) -> dict[str, Any]:
    return {
        "per_device_train_batch_size": section.micro_batch_size,
        "gradient_accumulation_steps": section.gradient_accumulation_steps,
        **({"max_steps": section.max_steps} if section.max_steps else {"num_train_epochs": section.num_epochs}),
        "seed": section.seed,
        "data_seed": section.seed,
        "train_sampling_strategy": "group_by_length" if section.group_by_length else "random",
        "dataloader_num_workers": section.dataloader_num_workers,
        "dataloader_pin_memory": section.dataloader_pin_memory,
        "logging_strategy": "steps",
        "logging_steps": section.logging_steps,
        # A loss that is not a number must be seen, not averaged away.
        "logging_nan_inf_filter": False,
        "include_num_input_tokens_seen": "non_padding",
        "disable_tqdm": True,
    }


def _optimizer(section: TrainingSection) -> dict[str, Any]:
    return {
        "learning_rate": section.learning_rate,
        "lr_scheduler_type": section.lr_scheduler,
        # transformers reads a value below 1 as a share of all steps.
        "warmup_steps": section.warmup_steps or section.warmup_ratio or 0,
        "optim": section.optimizer,
        "weight_decay": section.weight_decay,
        "max_grad_norm": section.max_grad_norm,
    } | (_adam(section) if "adam" in section.optimizer else {})


def _adam(section: TrainingSection) -> dict[str, Any]:
    return {
        "adam_beta1": section.adam_beta1,
        "adam_beta2": section.adam_beta2,
        "adam_epsilon": section.adam_epsilon,
    }


def _rows(section: DataSection, micro_batch_size: int) -> dict[str, Any]:
    # Packed, the rows of a batch lie behind one another in one row.
    full_length = section.sequence_len * (micro_batch_size if section.sample_packing else 1)
    return {
        "dataset_kwargs": {"skip_prepare_dataset": True},
        # Rows come packed; with "bfd" TRL's collator lays them out as one row with restarting positions.
        "packing": section.sample_packing,
        "packing_strategy": "bfd",
        "eval_packing": section.sample_packing,
        # Unsloth would else lay out plain batches without padding by itself.
        "padding_free": False,
        "max_length": None,
        "pad_to_multiple_of": full_length if section.pad_to_sequence_len else None,
        "loss_type": "nll",
    }


def _saving(recipe: Recipe) -> dict[str, Any]:
    strategy, steps = _interval(recipe.save_strategy, recipe.save_steps, recipe.saves_per_epoch, recipe.num_epochs)
    arguments = {"output_dir": f"{recipe.output_dir}/checkpoints", "save_strategy": strategy or "no"}
    if strategy in (None, "no"):
        return arguments
    return arguments | {"save_total_limit": recipe.save_total_limit or None} | ({"save_steps": steps} if steps else {})


def _evaluating(section: EvaluationSection, training: Recipe) -> dict[str, Any]:
    if not training.val_set_size and training.test_datasets is None:
        return {"eval_strategy": "no"}
    strategy, steps = _interval(section.eval_strategy, section.eval_steps, section.evals_per_epoch, training.num_epochs)
    return {
        "eval_strategy": strategy or "epoch",
        "per_device_eval_batch_size": section.eval_batch_size or training.micro_batch_size,
    } | ({"eval_steps": steps} if steps else {})


def _interval(
    strategy: str | None, steps: int | float | None, per_epoch: int | None, epochs: float
) -> tuple[str | None, int | float | None]:
    """transformers' (strategy, steps); a step count below 1 is a share of all steps."""
    if steps:
        return "steps", steps
    if per_epoch and per_epoch * epochs > 1:
        return ("epoch", None) if per_epoch == 1 else ("steps", 1 / (per_epoch * epochs))
    return ("epoch" if per_epoch else strategy), None


def _tracking(section: OutputSection) -> dict[str, Any]:
    trackers = ["tensorboard"] * section.use_tensorboard + ["wandb"] * bool(section.wandb_project)
    return {"report_to": trackers or "none", "run_name": section.wandb_name if section.wandb_project else None}


def _tracking_calls(section: OutputSection) -> tuple[Call, ...]:
    if not section.wandb_project:
        return ()
    arguments = {"project": section.wandb_project, "entity": section.wandb_entity}
    return (Call("finetune.tracking.name_wandb_project", arguments),)


def _checkpointing_kwargs(section: TrainingSection) -> dict[str, bool]:
    # PyTorch advises the non-reentrant kind; the other loses gradients of frozen inputs.
    return {"use_reentrant": (section.gradient_checkpointing_kwargs or {}).get("use_reentrant", False)}
