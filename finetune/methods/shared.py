"""What all trainers share: the loop, the optimizer, saving, evaluating, memory, callbacks. The recipe's training keys
-> arguments that every TRL configuration has. Knows no method's loss and no data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune import tracking
from finetune.machine import Machine
from finetune.methods import learning, parallel
from finetune.methods.frozen import TRAINER
from finetune.methods.surviving import surviving_calls
from finetune.plan import Call
from finetune.precision import Precision
from finetune.recipe.intervals import measured, measures_what_it_saves, saved
from finetune.recipe.measures import CLASSIFYING, FIGURES, USUAL, bare, generated
from finetune.recipe.method_rules import method_of
from finetune.recipe.method_tables import NO_OFFLOADING
from finetune.recipe.recipe import Recipe
from finetune.recipe.training import TrainingSection
from finetune.recipe.zero_known import zero_stage

LACKED = {"activation_offloading": NO_OFFLOADING}
"""Arguments that not every configuration has -> the methods that lack it, which refuse what asks for it by name."""
RUNTIME = ("model", "args", "train_dataset", "eval_dataset", "processing_class", "callbacks")
"""What every trainer gets at run time."""


@dataclass(frozen=True)
class Setting:
    """What a method needs to know besides the recipe. `checkpointing`: whether the trainer switches it on."""

    precision: Precision
    machine: Machine
    checkpointing: bool
    backend: str = "transformers"


def training_calls(
    recipe: Recipe, setting: Setting, config: str, own: Mapping[str, Any], trainer: Call
) -> tuple[Call, ...]:
    """Trackers, callbacks, the configuration and the trainer. `own`: the method's arguments of `config`, which come
    before those that all share."""
    known = TRAINER[recipe.recipe_version][config]
    method = method_of(recipe.rl, recipe.reward_model)
    chosen = {name: value for name, value in _shared(recipe, setting).items() if method not in LACKED.get(name, ())}
    chosen |= own
    unknown = chosen.keys() - known.keys() - {"output_dir"}
    assert not unknown, f"frozen.py has no row {sorted(unknown)} for {config}, and the recipe's value would be lost"
    rest = {name: value for name, value in known.items() if name not in chosen}
    made = Call(config, chosen | rest, frozen=frozenset(rest))
    before = (*tracking.calls(recipe, recipe.output_dir), *_measuring(recipe, config == "trl.SFTConfig"))
    # The number type comes first: an optimizer of ours is told of the weights themselves.
    finished = (*_number_type(recipe, setting.backend), *learning.set_up_calls(recipe))
    around = (*_callbacks(recipe), *learning.callbacks(recipe), *finished)
    return (*surviving_calls(recipe), *before, *around, made, trainer)


def _number_type(recipe: Recipe, backend: str) -> tuple[Call, ...]:
    if backend != "transformers" or recipe.adapter is None or not recipe.peft_autocast_adapter_dtype:
        return ()
    return (Call("finetune.backends.quantized.train_in_float32", {}, runtime=("trainer",)),)


def _shared(recipe: Recipe, setting: Setting) -> dict[str, Any]:
    checkpointing = setting.checkpointing
    offloads = checkpointing and recipe.gradient_checkpointing == "unsloth" and setting.machine.cuda
    return (
        _loop(recipe)
        | learning.arguments(recipe)
        | {"neftune_noise_alpha": recipe.neftune_noise_alpha}
        | _saving(recipe)
        | _evaluating(recipe)
        | tracking.arguments(recipe)
        | _memory(recipe)
        | parallel.arguments(recipe)
        | {
            "bf16": setting.precision.bf16,
            "fp16": setting.precision.fp16,
            "tf32": recipe.tf32,
            "use_cpu": not setting.machine.cuda,
            "gradient_checkpointing": checkpointing,
            "activation_offloading": recipe.activation_offloading or offloads,
            "gradient_checkpointing_kwargs": _checkpointing_kwargs(recipe) if checkpointing else None,
        }
    )


def _loop(section: TrainingSection) -> dict[str, Any]:
    return {
        "per_device_train_batch_size": section.rows_at_once,
        "gradient_accumulation_steps": section.gradient_accumulation_steps,
        **({"max_steps": section.max_steps} if section.max_steps else {"num_train_epochs": section.num_epochs}),
        "seed": section.seed,
        "data_seed": section.seed if section.data_seed is None else section.data_seed,
        "full_determinism": section.full_determinism,
        "train_sampling_strategy": _sampling(section),
        "dataloader_num_workers": section.dataloader_num_workers,
        "dataloader_prefetch_factor": section.dataloader_prefetch_factor,
        "dataloader_persistent_workers": section.dataloader_persistent_workers,
        "dataloader_drop_last": section.dataloader_drop_last,
        "dataloader_pin_memory": section.dataloader_pin_memory,
        "logging_strategy": "steps",
        "logging_steps": section.logging_steps,
        # A loss that is not a number must be seen, not averaged away.
        "logging_nan_inf_filter": False,
        "include_num_input_tokens_seen": "non_padding",
        "disable_tqdm": True,
    }


def _sampling(section: TrainingSection) -> str:
    if section.curriculum_sampling:
        return "sequential"
    return "group_by_length" if section.group_by_length else "random"


def _saving(recipe: Recipe) -> dict[str, Any]:
    strategy, steps = saved(vars(recipe))
    arguments = {"output_dir": f"{recipe.output_dir}/checkpoints", "save_strategy": strategy or "no"}
    if strategy in (None, "no"):
        return arguments
    # How many are kept is the keeper's to see to.
    return arguments | {"save_only_model": recipe.save_only_model} | ({"save_steps": steps} if steps else {})


def _evaluating(recipe: Recipe) -> dict[str, Any]:
    if not recipe.val_set_size and recipe.test_datasets is None:
        return {"eval_strategy": "no"}
    strategy, steps = measured(vars(recipe))
    best = keeps_best(recipe)
    figured = best or recipe.early_stopping_patience or rewards_answers(recipe)
    return {
        "eval_strategy": strategy,
        "per_device_eval_batch_size": recipe.eval_batch_size or recipe.rows_at_once,
        "load_best_model_at_end": best,
        "metric_for_best_model": f"eval_{best_figure(recipe)}" if figured else None,
        "greater_is_better": greater_is_better(recipe) if figured else None,
    } | ({"eval_steps": steps} if steps else {})


def best_figure(recipe: Recipe) -> str:
    """The figure, without `eval_`, that says which checkpoint is the best. The loss of answers that are rewarded says
    nothing about them."""
    return bare(recipe.metric_for_best_model or ("reward" if rewards_answers(recipe) else "loss"))


def rewards_answers(recipe: Recipe) -> bool:
    return recipe.rl in ("grpo", "gdpo", "rloo")


def greater_is_better(recipe: Recipe) -> bool:
    if recipe.greater_is_better is not None:
        return recipe.greater_is_better
    return FIGURES[best_figure(recipe)]


def _measuring(recipe: Recipe, per_token: bool) -> tuple[Call, ...]:
    has_rows = bool(recipe.val_set_size) or recipe.test_datasets is not None
    samples = None
    if recipe.generate_samples and (has_rows or recipe.sample_steps):
        samples = {"number": recipe.num_generation_samples, "every": recipe.sample_steps}
    if not has_rows and samples is None:
        return ()
    figures = {"per_token": per_token, "answers": _answers(recipe) if has_rows else None, "samples": samples}
    return (Call("finetune.evaluation.measuring.Measuring", figures, runtime=("bench",)),)


def _answers(recipe: Recipe) -> dict[str, Any] | None:
    """Which answers a measurement generates, and how they are scored; None where it generates none."""
    metrics = generated(recipe.eval_causal_lm_metrics or USUAL) if recipe.do_causal_lm_eval else []
    if not metrics and not recipe.eval_table_size:
        return None
    return {
        "metrics": metrics,
        "labels": recipe.eval_labels if CLASSIFYING & set(metrics) else None,
        "max_new_tokens": recipe.eval_max_new_tokens,
        "rows": recipe.eval_generation_rows if metrics else recipe.eval_table_size,
        "batch_size": recipe.eval_batch_size or recipe.rows_at_once,
        "prompt_ratio": recipe.generation_prompt_ratio,
        "table_size": recipe.eval_table_size,
    }


def keeps_best(recipe: Recipe) -> bool:
    """Whether the best checkpoint is what the run ends with: as written, else where early stopping has checkpoints that
    were measured."""
    if recipe.load_best_model_at_end is not None:
        return recipe.load_best_model_at_end
    return bool(recipe.early_stopping_patience) and measures_what_it_saves(vars(recipe))


def _callbacks(recipe: Recipe) -> tuple[Call, ...]:
    calls: list[Call] = []
    if recipe.early_stopping_patience:
        arguments = {"early_stopping_patience": recipe.early_stopping_patience, "early_stopping_threshold": 0.0}
        calls.append(Call("transformers.EarlyStoppingCallback", arguments))
    if recipe.loss_watchdog_threshold:
        limits = {"threshold": recipe.loss_watchdog_threshold, "patience": recipe.loss_watchdog_patience}
        calls.append(Call("finetune.watch.LossWatchdog", limits))
    return tuple(calls)


def _memory(section: TrainingSection) -> dict[str, Any]:
    kernels = {
        "rope": section.liger_rope,
        "rms_norm": section.liger_rms_norm,
        "layer_norm": section.liger_layer_norm,
        "swiglu": section.liger_glu_activation,
        "geglu": section.liger_glu_activation,
        "cross_entropy": section.liger_cross_entropy,
        "fused_linear_cross_entropy": section.liger_fused_linear_cross_entropy,
    }
    return {
        "torch_empty_cache_steps": section.torch_empty_cache_steps,
        "torch_compile": section.torch_compile,
        "torch_compile_backend": section.torch_compile_backend,
        "torch_compile_mode": section.torch_compile_mode,
        "use_liger_kernel": any(kernels.values()),
        "liger_kernel_config": kernels if any(kernels.values()) else None,
    }


def _checkpointing_kwargs(recipe: Recipe) -> dict[str, bool]:
    # PyTorch advises the non-reentrant kind; the other loses gradients of frozen inputs. It compares what is saved,
    # though, which with ZeRO-3 is a part the one time and the whole weight the other: TRL takes the other kind there.
    usual = zero_stage(recipe.deepspeed) == 3 and recipe.adapter is not None
    return {"use_reentrant": (recipe.gradient_checkpointing_kwargs or {}).get("use_reentrant", usual)}
