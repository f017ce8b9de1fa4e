"""Which checkpoint a run goes on from, and whether recipe and data are still those it was written with. Reads what is
sealed in it; loads nothing into a model."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune import checkpoints
from finetune.checkpoints import Checkpoint
from finetune.compare import compare
from finetune.errors import DataError, Fault, MachineError, RecipeError, RunFolderError
from finetune.grouping import GROUPING, other_engine, other_processes, rows_in_step
from finetune.plan import Plan, perform
from finetune.recipe.base import reach_of
from finetune.recipe.parallel import ParallelSection
from finetune.recipe.recipe import Recipe
from finetune.recipe.surviving import LIBRARIES, SurvivingSection
from finetune.recipe.tracking import TrackingSection
from finetune.rundir import (
    RunDir,
    came_to_nothing,
    checked,
    open_run,
    refuse_if_running,
    reopen_run,
    restart_run,
    status_of,
    stopped_aside,
)

CHECKPOINTS = "checkpoints"
HARMLESS = frozenset(
    """
    output_dir logging_steps save_strategy save_steps saves_per_epoch save_total_limit save_only_model
    dataloader_num_workers dataloader_prefetch_factor dataloader_persistent_workers dataloader_pin_memory
    torch_empty_cache_steps loss_watchdog_threshold loss_watchdog_patience recipe_version
    """.split()
) | {*TrackingSection.model_fields, *SurvivingSection.model_fields, *ParallelSection.model_fields} - {"deepspeed"}
"""Keys that may change between two parts of a run: weights, and the order of rows, do not hang on them."""
WRITTEN_ELSEWHERE = HARMLESS | frozenset(
    """
    auto checkpoint changed variables report_to run_name trigger_file fsdp device_map
    per_device_train_batch_size per_device_eval_batch_size gradient_accumulation_steps
    """.split()
)
"""Arguments that those keys set."""
AFTER = frozenset({"save", "generate"})
"""Stages that come after training."""
LENGTH = ("num_epochs", "max_steps")
CONSTANT = ("constant", "constant_with_warmup")
SHOWN = 120


@dataclass(frozen=True)
class Wish:
    """What the recipe says about going on. `auto`: from the newest checkpoint of the run's own folder, where there is
    one; else from `checkpoint`, if it is named; `changed`: keys that may differ."""

    auto: bool
    checkpoint: str | None
    changed: Sequence[str]

    def find(self, folder: Path) -> Checkpoint | None:
        """The checkpoint to go on from. RunFolderError if one that is named is not whole."""
        if self.auto:
            found, _ = newest_usable(folder / CHECKPOINTS)
            if found is not None:
                return found
        return None if self.checkpoint is None else named(Path(self.checkpoint))


def named(path: Path) -> Checkpoint:
    """The checkpoint of a folder, or the newest one of a run. RunFolderError if there is none."""
    if checkpoints.step_of(path) >= 0:
        return _usable(checkpoints.whole(path))
    found, reasons = newest_usable(path / CHECKPOINTS if (path / CHECKPOINTS).is_dir() else path)
    if found is None:
        reason = f": {reasons[0]}" if reasons else ""
        raise RunFolderError(f"resume_from_checkpoint: there is no whole checkpoint in {path}{reason}")
    return found


@dataclass(frozen=True)
class Opened:
    """A run's folder, and the checkpoint it goes on from. `changed`: keys that count anew from there; `libraries`:
    those of another version now."""

    folder: RunDir
    checkpoint: Checkpoint | None = None
    changed: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        assert self.checkpoint is not None
        facts = {"checkpoint": str(self.checkpoint.path), "step": self.checkpoint.step}
        return facts | {"changed": list(self.changed), "libraries": list(self.libraries)}

    def notes(self, plan: Plan) -> Iterator[str]:
        """What a person should hear before the run goes on."""
        if self.checkpoint is None:
            return
        facts = self.checkpoint.facts
        yield f"goes on after step {self.checkpoint.step} of {facts['of']}, from {self.checkpoint.path}"
        if self.libraries:
            yield f"warning: from here on with other libraries, as resume_changed allows: {'; '.join(self.libraries)}"
        yield from other_processes(self.checkpoint)
        if self.changed:
            yield f"warning: from here on with another {', '.join(self.changed)}, as resume_changed allows"
            return
        for change in compare(Plan.from_json(facts["plan"]), plan):
            if change.stage in ("load", "adapt", "train") and change.argument.split(".")[-1] not in WRITTEN_ELSEWHERE:
                yield (
                    "warning: the machine, or the version of this program, makes another call than before, so weights "
                    f"may differ: {change.target}({change.argument}): {_short(change.one)} -> {_short(change.other)}"
                )


def wish_of(plan: Plan) -> Wish:
    call = plan.one("train", ".Wish")
    assert call is not None
    wish: Wish = perform(call)
    return wish


def opened_run(
    output_dir: str, overwrite: bool, wish: Wish, keys: Mapping[str, Any], libraries: Mapping[str, str]
) -> Opened | None:
    """A new run folder, or that of a stopped run; None where its run is finished already, with this recipe.

    RecipeError if the recipe is not that of the checkpoint, MachineError if the `libraries` are not, RunFolderError if
    the folder cannot be taken."""
    path = checked(output_dir)
    status = status_of(path)
    if status is not None:
        refuse_if_running(path)
        checkpoints.clear_aside(path / CHECKPOINTS)
    aside = stopped_aside(path) if wish.auto and overwrite and status == "finished" else None
    checkpoint = wish.find(aside or path)
    if checkpoint is None:
        if wish.auto and status == "finished" and not overwrite and _same_keys(path, keys):
            return None
        if wish.auto and came_to_nothing(path):
            return Opened(restart_run(output_dir))
        return Opened(open_run(output_dir, overwrite))
    changed = tuple(same_recipe(checkpoint, keys, wish.changed))
    mine = checkpoint.path.resolve().parent == ((aside or path) / CHECKPOINTS).resolve()
    if mine and wish.auto and status == "finished" and aside is None and not changed:
        return None
    others = tuple(same_libraries(checkpoint, libraries, wish.changed))
    if not mine:
        return Opened(open_run(output_dir, overwrite), checkpoint, changed, others)
    folder = reopen_run(output_dir, aside)
    inside = folder.path / CHECKPOINTS / checkpoint.path.name
    return Opened(folder, replace(checkpoint, path=inside), changed, others)


def _same_keys(path: Path, keys: Mapping[str, Any]) -> bool:
    old = RunDir(path).read("origin.json").get("keys", {})
    return all(old.get(key) == keys.get(key) for key in {*old, *keys} - HARMLESS)


def newest_usable(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest one from which a run can go on, and why newer ones are none."""
    reasons: list[str] = []
    for path in reversed(checkpoints.by_step(folder)):
        try:
            return _usable(checkpoints.whole(path)), reasons
        except RunFolderError as error:
            reasons.append(str(error))
    return None, reasons


def _usable(checkpoint: Checkpoint) -> Checkpoint:
    if not checkpoint.facts.get("resumable"):
        raise RunFolderError(
            f"{checkpoint.path} holds the weights alone (save_only_model: true): no run can go on from it"
        )
    return checkpoint


def same_recipe(checkpoint: Checkpoint, keys: Mapping[str, Any], changed: Sequence[str]) -> list[str]:
    """Keys that differ and are allowed to. RecipeError with every difference if one is not; keys that only prepare data
    are left to `same_data`, which looks at what came of them."""
    if wrong := list(other_engine(checkpoint, keys)):
        raise RecipeError(f"{checkpoint.path}: {wrong[0]}. Begin anew, or go on as it was begun")
    old = checkpoint.facts["recipe"]
    different = [key for key in sorted({*old, *keys}) if old.get(key) != keys.get(key) and key not in HARMLESS]
    regrouped = list(rows_in_step(checkpoint, keys))
    # Other rows in a step are another recipe, whichever of the keys or processes it comes from.
    different = [key for key in different if key not in GROUPING] + (list(GROUPING[1:]) if regrouped else [])
    counted = [key for key in different if _stages(key) - AFTER and _stages(key) - AFTER != {"format"}]
    refused = [key for key in counted if key not in changed]
    if refused:
        lines = [
            f"  {line}" for key in counted for line in _lines(key, old.get(key), keys.get(key)) if key not in GROUPING
        ]
        lines += [f"  {line}" for line in regrouped]
        allow = " ".join(f"--resume-changed {key}" for key in counted)
        hints = [_of_length(checkpoint, keys, key) for key in refused if key in LENGTH]
        raise RecipeError(
            Fault(
                f"the recipe is not the one that {checkpoint.path} was written with:\n"
                + "\n".join(lines + hints)
                + f"\nWrite the old values, start anew in another output_dir, or go on with the new ones: {allow}"
            )
        )
    return counted


def same_libraries(checkpoint: Checkpoint, now: Mapping[str, str], changed: Sequence[str]) -> list[str]:
    """Those of another version that are allowed to be. MachineError if one is not."""
    old = checkpoint.facts.get("libraries", now)
    lines = [f"{name}: {old.get(name)} -> {now.get(name)}" for name in {**old, **now} if old.get(name) != now.get(name)]
    if lines and LIBRARIES not in changed:
        raise MachineError(
            f"the libraries are not those that {checkpoint.path} was written with:\n"
            + "".join(f"  {line}\n" for line in lines)
            + "Install the old ones, start anew in another output_dir, or go on with the new ones, whose weights may "
            f"differ in their last bits: --resume-changed {LIBRARIES}"
        )
    return lines


def _stages(key: str) -> frozenset[str]:
    return reach_of(Recipe, key).stages if key in Recipe.model_fields else frozenset({"train"})


def _lines(key: str, old: Any, new: Any) -> Iterator[str]:
    """A line for each value that differs inside a key."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = [(f"{key}.{name}", old.get(name), new.get(name)) for name in {**old, **new}]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(f"{key}.{place}", *both) for place, both in enumerate(zip(old, new, strict=True))]
    else:
        yield f"{key}: {_short(old)} -> {_short(new)}"
        return
    for name, here, there in pairs:
        if here != there:
            yield from _lines(name, here, there)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _of_length(checkpoint: Checkpoint, keys: Mapping[str, Any], key: str) -> str:
    """What a longer or shorter run means for the learning rate."""
    step, of = checkpoint.step, checkpoint.facts["of"]
    if keys.get("lr_scheduler") in CONSTANT and not keys.get("warmup_ratio"):
        return f"  ({key}: with lr_scheduler: {keys['lr_scheduler']}, the result is that of one run of the new length)"
    return (
        f"  ({key}: the learning rate followed the course of a run of {of} steps until step {step}; from there it "
        f"would follow the course of the new length, and so jump. Weights, optimizer and order of rows go on)"
    )


def same_data(checkpoint: Checkpoint, now: Mapping[str, Any], changed: Sequence[str]) -> list[str]:
    """Purposes whose rows differ and are allowed to. DataError if they are not."""
    old = checkpoint.facts["data"]
    different = [purpose for purpose in sorted({*old, *now}) if old.get(purpose) != now.get(purpose)]
    if different and "datasets" not in changed:
        lines = [f"  {purpose}: {_figures(old.get(purpose))} -> {_figures(now.get(purpose))}" for purpose in different]
        raise DataError(
            f"the data is not what {checkpoint.path} was written with:\n"
            + "\n".join(lines)
            + "\nPut the old files back, start anew in another output_dir, or go on with the new rows, whose order is "
            "another from here on: --resume-changed datasets"
        )
    return different


def _figures(facts: Mapping[str, Any] | None) -> str:
    if facts is None:
        return "none"
    return f"{facts['rows']} rows, digest {str(facts['digest'])[:12]}"
