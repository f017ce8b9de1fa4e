"""`finetune sweep RECIPE`: try the values of the recipe's sweep, one run after another. Decides what is said before and
the exit code."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.commands.checking import print_faults
from finetune.errors import Fault, MachineError, RecipeError

if TYPE_CHECKING:
    from finetune.sweeping.running import Sweep
    from finetune.sweeping.space import Values

HELP = "try the values of a recipe's sweep and keep the best"
USE = (("finetune sweep RECIPE [--dry-run]", "try the values of the recipe's `sweep`; the same line goes on"),)
LONG = True
SHOWN = 60
"""Trials that --dry-run lists at most."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--dry-run", action="store_true", help="show the trials and run none")
    parser.add_argument("--overwrite", action="store_true", help="begin anew, without the trials that output_dir holds")


def run(parsed: argparse.Namespace) -> int:
    from finetune.machine import installed
    from finetune.recipe.load import load_recipe
    from finetune.sweeping.checking import sweep_faults
    from finetune.sweeping.running import Sweep, run_sweep

    checked = load_recipe(parsed.recipe, parsed.overrides)
    if checked.sweep is None:
        where = checked.source.where(())
        raise RecipeError(Fault("the recipe has no `sweep` section; docs/sweep.md shows one", where, code="FT005"))
    print_faults([note for note in checked.heard(checked.notes) if note.code != "FT027"])
    faults = sweep_faults(parsed.recipe, parsed.overrides, checked)
    if faults:
        raise RecipeError(*faults)
    if not installed("optuna") and not (parsed.dry_run and checked.sweep.method == "grid"):
        raise MachineError("finetune sweep needs Optuna: pip install 'finetune-recipes[sweep]'")
    folder = Path(os.path.expanduser(checked.recipe.output_dir))  # noqa: PTH111 - Path's raises for ~~
    sweep = Sweep(parsed.recipe, parsed.overrides, checked, folder)
    if parsed.dry_run:
        return _show(sweep)
    from finetune.stopping import raise_on_signals

    raise_on_signals()
    run_sweep(sweep, parsed.overwrite)
    return 0


def _show(sweep: "Sweep") -> int:
    from finetune.sweeping.space import shown

    section = sweep.section
    listed = _drawn(sweep)
    for number, values in enumerate(listed[:SHOWN]):
        print(f"trial {number:03}  {shown(values)}")
    rest = sweep.count - min(len(listed), SHOWN)
    if rest:
        print(f"and {rest} more" + (", drawn by what the first ones come to" if section.method == "tpe" else ""))
    way = "greatest" if section.maximizes else "smallest"
    print(f"{sweep.count} trials ({section.method}), looking for the {way} {section.figure}, into {sweep.folder}")
    return 0


def _drawn(sweep: "Sweep") -> "Sequence[Values]":
    """The trials that are known beforehand."""
    from finetune.sweeping.space import grid
    from finetune.sweeping.study import ask, open_study, startup_trials

    if sweep.section.method == "grid":
        return grid(sweep.section) or []
    study = open_study(sweep.section, None)
    count = sweep.count if sweep.section.method == "random" else min(sweep.count, startup_trials(sweep.section))
    return [ask(study, sweep.section, done)[1] for done in range(min(count, SHOWN))]
