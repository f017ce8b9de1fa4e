"""What several commands do first: say faults, resolve a recipe, list recipe files. Judges nothing itself."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.errors import Fault, RecipeError, UsageError

if TYPE_CHECKING:
    from finetune.machine import Machine
    from finetune.memory.choosing import Settled
    from finetune.plan import Plan
    from finetune.recipe.load import Checked


def print_faults(faults: Sequence[Fault]) -> None:
    for fault in faults:
        print(fault, file=sys.stderr)


def resolved(checked: "Checked", machine: "Machine") -> "Plan":
    """The Plan, with values in the place of what is left to memory. RecipeError with a refused key at its line."""
    from dataclasses import replace

    from finetune.recipe.auto import chosen_by_memory
    from finetune.resolve import Refused, resolve

    try:
        if not chosen_by_memory(checked.recipe):
            return resolve(checked.recipe, machine)
        made = settled_by_memory(checked, machine)
        plan = resolve(made.recipe, machine)
        return replace(plan, notes=(*plan.notes, *made.notes))
    except Refused as refused:
        raise RecipeError(
            *(Fault(message, checked.source.where((key,)), code="FT008") for key, message in refused.findings)
        ) from None


def settled_by_memory(checked: "Checked", machine: "Machine") -> "Settled":
    """The recipe with the fastest values that fit, where it leaves them to memory."""
    from finetune.memory.choosing import settled
    from finetune.resolve import resolve

    return settled(checked.recipe, machine, resolve)


def recipe_files(paths: Sequence[Path]) -> list[Path]:
    """The files named, and every .yaml and .yml below a folder named. UsageError for a folder without any."""
    files: list[Path] = []
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
            found = sorted({*path.rglob("*.yaml"), *path.rglob("*.yml")})
            if not found:
                raise UsageError(f"{path}: there is no .yaml or .yml file in this folder")
            files += found
        else:
            files.append(path)
    return files


def gpu_count(given: str | None) -> int:
    """Processes that --nproc asks for; `all`: one for each GPU. UsageError for what is no number."""
    if given is None:
        return 1
    if given == "all":
        from finetune.machine import probe

        return max(1, len(probe().gpus))
    if not given.isdigit() or not 1 <= int(given) <= 1024:
        raise UsageError(f"--nproc {given}: write how many processes (1 to 1024), or all")
    return int(given)


def planned_machine(gpu: str | None, processes: int = 1) -> "Machine":
    """This machine, or one with GPUs of a size (`24`, `24GB`) or a name (`H100`), one for each process. UsageError for
    any other."""
    from dataclasses import replace

    from finetune.machine import probe
    from finetune.memory.gpus import machine_with

    if gpu is None:
        return replace(probe(), processes=processes)
    one = machine_with(gpu)
    return replace(one, gpus=one.gpus * processes, processes=processes)
