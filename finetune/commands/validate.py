"""`finetune validate`: every fault and warning of recipe files, without touching a model or a GPU."""

import argparse
from pathlib import Path

from finetune.commands.checking import print_faults, recipe_files, resolved
from finetune.errors import RecipeError, Where

HELP = "check recipes (files and folders)"
USE = (("finetune validate recipes/ mine.yaml", "check recipes: every fault with file:line:column"),)
LONG = False


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")


def run(parsed: argparse.Namespace) -> int:
    from finetune.judge import idle_lines
    from finetune.machine import Machine, assumed
    from finetune.recipe.load import load_recipe

    # What changes something on a GPU or without one is no idle line.
    machines = (assumed(), Machine(packages=assumed().packages))
    wrong = 0
    files = recipe_files(parsed.paths)
    for path in files:
        try:
            checked = load_recipe(path)
            for machine in machines:
                resolved(checked, machine)
        except RecipeError as error:
            wrong += 1
            print_faults(error.faults)
            continue
        notes = [*checked.notes, *idle_lines(checked, machines)]
        print_faults(sorted(notes, key=lambda fault: fault.where or Where("")))
        print(f"{path}: valid")
    if len(files) > 1:
        print(f"{len(files) - wrong} of {len(files)} recipes are valid")
    return RecipeError.exit_code if wrong else 0
