"""`finetune recipes`: the shipped recipes, and a copy of one to begin with. What is copied is decided in
finetune/recipe/shipped.py."""

import argparse
import shlex
from pathlib import Path

HELP = "list the shipped recipes, or copy one with its data"
USE = (("finetune recipes [NAME] [--to DIR]", "the shipped recipes, or a copy of one to train and to change"),)
LONG = False


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="the recipe to copy (default: list them)")
    parser.add_argument(
        "--to", type=Path, default=Path(), metavar="DIR", help="where recipes/ is written (default: here)"
    )
    parser.add_argument("--force", action="store_true", help="replace files that are there and differ")


def run(parsed: argparse.Namespace) -> int:
    from finetune.recipe.copying import copy
    from finetune.schema import schema_text

    if parsed.name is None:
        _list()
        return 0
    made = copy(parsed.name, parsed.to, schema_text(), parsed.force)
    others = f", with {made.files - 1} files that it reads ({made.bytes / 1e6:.1f} MB)" if made.files > 1 else ""
    print(f"{made.recipe}: written{others}")
    print(f"Read it, then: finetune {shlex.quote(str(made.recipe))}")
    return 0


def _list() -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from finetune.recipe.shipped import purpose, recipes

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, path in recipes().items():
        table.add_row(name, escape(purpose(path)))
    console = Console(highlight=False)
    console.print(table)
    console.print(
        "\n`finetune recipes NAME` writes one below recipes/, with the data and the model that it ships with."
    )
