"""`finetune import`: a recipe from another tool's configuration, script or notebook. Decides where it goes, that it
passes its own check, and how what has no counterpart is told; what the file means is decided in finetune.importing."""

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.commands import new
from finetune.commands.checking import print_faults, resolved
from finetune.errors import Fault, RecipeError, UsageError

if TYPE_CHECKING:
    from finetune.importing.draft import Draft

HELP = "write a recipe from another tool's file"
USE = (("finetune import sft.yaml [--output recipe.yaml]", "a recipe from LLaMA-Factory, TRL, torchtune, a notebook"),)
LONG = False
METHODS = ("sft", "dpo", "kto", "orpo", "cpo", "reward", "grpo", "rloo")
LATER = "`reward_funcs`: rewards.py cannot be read"
"""The one fault with which a recipe is written: the functions are the user's to write."""
ROUNDS = 40
"""Lines that are left out at most, because they would not stand in a recipe."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="a .yaml, .json, .py, .ipynb, .sh, .md, .txt or .html file"
    )
    parser.add_argument("--output", type=Path, metavar="RECIPE", help="the recipe (default: NAME.recipe.yaml here)")
    parser.add_argument(
        "--method", choices=METHODS, help="what a TRL configuration is for, where its keys do not say it"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how the report is written")
    parser.add_argument("--force", action="store_true", help="replace RECIPE")


def run(parsed: argparse.Namespace) -> int:
    from finetune.importing.reading import read_foreign

    output = parsed.output or Path(f"{parsed.file.stem}.recipe.yaml")
    if output.exists() and parsed.file.exists() and output.samefile(parsed.file):
        raise UsageError(f"--output {output} is the file that is imported; name another")
    new.refuse_place(output, parsed.force)
    draft = read_foreign(parsed.file, parsed.method)
    notes = write(draft, output, parsed.force)
    if parsed.format == "json":
        print(json.dumps(_as_json(draft, output), indent=2, ensure_ascii=False))
        return 0
    _report(draft, output)
    print_faults(notes)
    return 0


def write(draft: "Draft", output: Path, force: bool) -> tuple[Fault, ...]:
    """Write the recipe, less the lines that would not stand; what `validate` says of it. UsageError if none stands."""
    from finetune.importing.writing import recipe_text

    schema = new.schema_of(output.parent)
    target = output.resolve() if output.is_symlink() else output
    partial = target.with_name(f".{target.stem[:80]}.{os.getpid()}{target.suffix}")
    try:
        for _ in range(ROUNDS):
            written = recipe_text(draft, str(output), schema)
            partial.write_text(written.text, encoding="utf-8")
            try:
                notes = checked(partial)
            except RecipeError as error:
                if all(LATER in fault.message for fault in error.faults):
                    _still_free(output, force)
                    partial.replace(target)
                    return tuple(_named(fault, output) for fault in error.faults)
                _leave_out(draft, error, written.places)
                continue
            _still_free(output, force)
            partial.replace(target)
            return tuple(_named(note, output) for note in notes)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
    raise UsageError("nothing was written, since too many lines would not stand in a recipe")


def _still_free(output: Path, force: bool) -> None:
    if os.path.lexists(output) and not force:
        raise UsageError(f"{output} has come to be there meanwhile; nothing was written")


def checked(path: Path) -> list[Fault]:
    """What should be said of a recipe that stands. RecipeError where it does not."""
    from finetune.judge import judgements
    from finetune.machine import Machine, assumed
    from finetune.recipe.load import load_recipe

    found = load_recipe(path)
    machines = (assumed(), Machine(packages=assumed().packages))
    for machine in machines:
        resolved(found, machine)
    return judgements(found, machines)


def _leave_out(draft: "Draft", error: RecipeError, places: Any) -> None:
    """Take out the lines that a check refuses, and tell each. UsageError for a fault of no line that can go."""
    done = False
    for fault in error.faults:
        place = places.get(fault.where.line) if fault.where is not None else None
        if place is not None and draft.leave_out(place, fault.message):
            done = True
    if not done:
        reasons = "; ".join(fault.message for fault in error.faults)
        raise UsageError(f"nothing was written, since the recipe would not pass its own check: {reasons}")


def _named(note: Fault, output: Path) -> Fault:
    return replace(note, where=replace(note.where, file=str(output)) if note.where else None)


def _report(draft: "Draft", output: Path) -> None:
    from finetune.importing.writing import counted, important

    for told in important(draft):
        message = f"{told.shown}: {told.message}" if told.message else f"{told.shown}: no counterpart"
        advice = f" -> {told.advice}" if told.advice else ""
        print(f"{told.where}: {told.kind}: {message}{advice}", file=sys.stderr)
    said = ", ".join(f"{count} {kind}" for kind, count in counted(draft).items())
    print(f"{output}: written from {draft.file} ({draft.tool}). {said}")
    print(f"Read it, then: finetune validate {output}")


def _as_json(draft: "Draft", output: Path) -> dict[str, Any]:
    from finetune.importing.writing import counted

    return {
        "file": draft.file,
        "tool": draft.tool,
        "recipe": str(output),
        "counts": counted(draft),
        "settings": [
            {
                "kind": told.kind,
                "file": told.where.file,
                "line": told.where.line,
                "setting": told.shown,
                "message": told.message,
                "advice": told.advice,
            }
            for told in sorted(draft.told, key=lambda told: (told.where, told.kind))
        ],
    }
