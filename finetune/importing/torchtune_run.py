"""torchtune's optimizer, its course, the length of a run, measuring and tracking -> lines of a draft."""

from collections.abc import Mapping

from finetune.importing import converting as to
from finetune.importing.draft import CHANGED, IDLE, LOST, Draft
from finetune.importing.loop import Settings
from finetune.importing.peft_arguments import dtype_name
from finetune.importing.rules import apply, converted
from finetune.importing.torchtune_arguments import (
    OPTIMIZER,
    OPTIMIZERS,
    SCHEDULER,
    SCHEDULERS,
    TOP,
    named,
)
from finetune.importing.trl_method import LONGEST


def read_optimizer(settings: Settings, draft: Draft) -> None:
    component = settings.get("_component_")
    apply(settings.values(), {**OPTIMIZER, "_component_": TOP["profiler"]}, draft)
    if component is None:
        return
    name, defaults = OPTIMIZERS.get(str(component.value), ("", {}))
    fused = settings.get("fused")
    if name == "adamw_torch" and fused is not None and fused.value is True:
        name = "adamw_torch_fused"
    if fused is not None:
        draft.tell("carried" if fused.value is True else IDLE, fused, f"`optimizer: {name}`")
    if name:
        draft.put("optimizer", name, component)
    else:
        draft.tell(LOST, component, "this optimizer has no counterpart", "adamw_torch_fused is taken")
    for key, value in (defaults or {"learning_rate": 1e-3, "weight_decay": 0.0}).items():
        draft.assume(key, value, f"not written; {named(str(component.value))}'s default")
    betas = settings.get("betas")
    if betas is not None and isinstance(betas.value, list) and len(betas.value) == 2:
        for key, value in zip(("adam_beta1", "adam_beta2"), betas.value, strict=True):
            draft.put(key, value, betas)


def read_schedule(settings: Settings, draft: Draft) -> None:
    component = settings.get("_component_")
    if component is None:
        draft.assume("lr_scheduler", "constant", "no lr_scheduler: the learning rate stays as it is")
        return
    name = SCHEDULERS.get(named(str(component.value)))
    if name:
        draft.put("lr_scheduler", name, component)
    else:
        draft.tell(LOST, component, "this course of the learning rate has no counterpart", "cosine is taken")
        draft.assume("lr_scheduler", "cosine", "lr_scheduler has no counterpart")
    apply([one for one in settings.values() if one.key != "_component_"], SCHEDULER, draft)


def read_length(settings: Settings, draft: Draft) -> None:
    """Without max_seq_len nothing is cut."""
    top = settings.get("max_seq_len")
    if top is not None and top.value is not None:
        draft.put("sequence_len", top.value, top)
    elif top is not None:
        draft.tell(IDLE, top, "asks for nothing")
    if "sequence_len" not in draft.lines:
        message = f"rows of any length are trained on there; here sequence_len is {LONGEST} until it is raised"
        draft.say(CHANGED, 0, "max_seq_len", message, "set sequence_len to the longest row")
        draft.assume("sequence_len", LONGEST, "TO DO: there rows are not cut; raise it to the longest row")
    draft.assume("excess_length_strategy", "truncate", "longer rows are cut there")


def read_run(settings: Settings, draft: Draft) -> None:
    epochs, most = settings.get("epochs"), settings.get("max_steps_per_epoch")
    count = epochs.value if epochs is not None else 1
    if epochs is not None:
        draft.put("num_epochs", count, epochs)
    if most is not None and isinstance(most.value, int) and isinstance(count, int):
        draft.put("max_steps", most.value * count, most, "so many steps of each epoch; here the run's steps in one go")
        draft.lines.pop("num_epochs", None)
    elif most is not None:
        draft.tell(IDLE, most, "an epoch is whole, as here")
    if "shuffle" in settings:
        setting = settings["shuffle"]
        if setting.value is False:
            draft.put("curriculum_sampling", True, setting)
        else:
            draft.tell(IDLE, setting, "rows come in random order, as here")
    if "compile" in settings:
        setting = settings["compile"]
        value = any(setting.value.values()) if isinstance(setting.value, Mapping) else setting.value
        draft.put("torch_compile", bool(value), setting)
    dtype = settings.get("dtype")
    if dtype is not None:
        bf16 = dtype_name(dtype.value) == "bfloat16"
        whole = bf16 and "adapter" not in draft.lines
        note = (
            "all is 16 bits there; trained weights may stay in 32 bits here, which takes more memory" if whole else ""
        )
        draft.put("bf16", bf16, dtype, note)
    _measured(settings, draft)
    every = settings.get("save_every_n_epochs")
    if every is not None and every.value != 1:
        draft.tell(
            LOST, every, "checkpoints are written each epoch, or every save_steps", "saves_per_epoch, save_steps"
        )
    elif every is not None:
        draft.tell(IDLE, every, "each epoch, as when it is not written")


def _measured(settings: Settings, draft: Draft) -> None:
    rows = settings.get("batch_size_val")
    there = bool(draft.test_datasets)
    if rows is not None and there:
        if (count := converted(rows, to.whole, draft)) is not None:
            draft.put("eval_batch_size", count, rows)
    elif rows is not None:
        draft.tell(IDLE, rows, "there are no validation rows")
    steps = settings.get("run_val_every_n_steps")
    if not there and "eval_steps" in draft.lines and steps is not None:
        del draft.lines["eval_steps"]
        draft.tell(LOST, steps, "there are no validation rows", "add `val_set_size: 0.05`")


def read_logger(settings: Settings, draft: Draft) -> None:
    component = settings.get("_component_")
    name = named(str(component.value)) if component is not None else ""
    keys = {"project": "wandb_project", "entity": "wandb_entity", "name": "wandb_name", "group": ""}
    if component is not None:
        on = {"WandBLogger": "use_wandb", "TensorBoardLogger": "use_tensorboard", "CometLogger": "use_comet"}.get(name)
        if on:
            draft.put(on, True, component)
        else:
            draft.tell(IDLE, component, "metrics are in the run folder")
    for key, setting in settings.items():
        ours = keys.get(key, "") if name == "WandBLogger" else "comet_project_name" if key == "project" else ""
        if ours and setting.value:
            draft.put(ours, setting.value, setting)
        elif key != "_component_":
            draft.tell(IDLE, setting, "of the tracker")


def set_defaults(draft: Draft) -> None:
    if "max_grad_norm" not in draft.lines:
        draft.assume("max_grad_norm", 0, "clip_grad_norm is not set: gradients are not shortened")
    if "save_steps" not in draft.lines:
        draft.assume("save_strategy", "epoch", "a checkpoint after each epoch, as there")
    for key, value in {"gradient_checkpointing": False, "gradient_accumulation_steps": 1, "logging_steps": 1}.items():
        draft.assume(key, value, "not written; torchtune's default")
