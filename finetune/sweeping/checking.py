"""What is wrong with a sweep before anything runs: keys that no recipe has, values the schema refuses, combinations
that contradict each other. Loads recipes; runs none."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from finetune.errors import Fault, FinetuneError, RecipeError
from finetune.machine import Machine, assumed
from finetune.recipe.evaluation_rules import figures
from finetune.recipe.load import Checked, load_recipe
from finetune.recipe.measures import bare
from finetune.recipe.method_tables import KIND_OF
from finetune.recipe.sweep import SweepSection
from finetune.resolve import resolve
from finetune.sweeping.space import MOST, Values, ends, grid, overrides, shown

CHECKED = 400
"""Combinations of a grid that are checked beforehand; each is checked again before it runs."""
SHOWN = 5
NOT_TRIED = ("output_dir", "recipe_version", "extends", "silence", "sweep")


def sweep_faults(path: Path, given: Sequence[str], checked: Checked) -> list[Fault]:
    """Every fault of the sweep of a recipe that stands by itself. `given`: overrides of the command line."""
    sweep = checked.sweep
    assert sweep is not None
    faults = [Fault(message, checked.source.where(("sweep", *place)), code="FT005") for place, message in _own(checked)]
    if faults:
        return faults
    combinations: Sequence[Values] = (grid(sweep) or []) if sweep.method == "grid" else list(ends(sweep))
    bad = [found for values in combinations[:CHECKED] if (found := fault_of(path, given, values))]
    for values, why in bad[:SHOWN]:
        where = checked.source.where(("sweep", "parameters", next(iter(values))))
        faults.append(Fault(f"`sweep` tries {shown(values)}, which is no recipe: {why}", where, code="FT005"))
    if len(bad) > SHOWN:
        message = f"`sweep` tries {len(bad) - SHOWN} more combinations that are no recipes"
        faults.append(Fault(message, checked.source.where(("sweep", "parameters")), code="FT005"))
    return faults


def fault_of(path: Path, given: Sequence[str], values: Values) -> tuple[Values, str] | None:
    """The values with why the recipe does not stand with them, or None where it does."""
    try:
        recipe = load_recipe(path, [*given, *overrides(values)]).recipe
        for machine in (assumed(), Machine(packages=assumed().packages)):
            resolve(recipe, machine)
    except RecipeError as error:
        return values, error.faults[0].message
    except FinetuneError as error:
        return values, str(error)
    return None


def _own(checked: Checked) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Faults of the section itself: (place in it, message)."""
    sweep, recipe = checked.sweep, checked.recipe
    assert sweep is not None
    for key in sweep.parameters:
        if key in NOT_TRIED:
            yield ("parameters", key), f"`{key}` cannot be tried by a sweep; remove it from sweep.parameters"
    measured = bool(recipe.val_set_size) or recipe.test_datasets is not None or "val_set_size" in sweep.parameters
    if sweep.metric != "train_loss" and not measured:
        message = f"`sweep.metric: {sweep.metric}` is measured on validation rows, but there are none: set"
        yield ("metric",), f"{message} `val_set_size: 0.05`, or write metric: train_loss"
    if KIND_OF.get(str(recipe.rl)) == "prompt" and bare(sweep.metric) in ("loss", "train_loss"):
        message = f"`sweep.metric: {sweep.metric}` says nothing with `rl: {recipe.rl}`, whose loss hovers about zero"
        yield ("metric",), f"{message} however good the answers are: write `metric: eval_reward`"
    yield from ((("metric",), message) for message in _unmeasured(sweep, checked))
    yield from _counted(sweep)


def _unmeasured(sweep: SweepSection, checked: Checked) -> Iterator[str]:
    values = {key: getattr(checked.recipe, key) for key in checked.recipe.model_fields_set}
    if sweep.metric != "train_loss":
        for _, message in figures(values | {"metric_for_best_model": bare(sweep.metric)}):
            yield message.replace(f"`metric_for_best_model: {bare(sweep.metric)}`", f"`sweep.metric: {sweep.metric}`")


def _counted(sweep: SweepSection) -> Iterator[tuple[tuple[Any, ...], str]]:
    if sweep.method != "grid":
        if sweep.trials is None:
            yield ("method",), f"`sweep.method: {sweep.method}` needs to know how many: set `sweep.trials: 20`"
        return
    combinations = grid(sweep)
    if combinations is None:
        message = "`sweep.method: grid` needs lists, or ranges with a step, of at most"
        yield ("method",), f"{message} {MOST:,} combinations: write method: tpe and trials, or fewer values"
    elif sweep.trials not in (None, len(combinations)):
        message = f"a grid tries all of its {len(combinations)} combinations: remove `sweep.trials`"
        yield ("trials",), f"{message}, or write method: random"
    if sweep.pruner == "hyperband":
        yield ("pruner",), "`sweep.pruner: hyperband` draws its own trials and leaves a grid unfinished: write halving"
