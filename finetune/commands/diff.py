"""`finetune diff`: what differs between two recipes or runs, in force. Trains nothing; prints text or JSON."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.commands.checking import planned_machine, print_faults, resolved

if TYPE_CHECKING:
    from finetune.compare import Change
    from finetune.differ import Difference, Side

HELP = "show what differs between two recipes or runs, in force"
USE = (("finetune diff A B", "two recipes or run folders: the keys, calls and figures that differ in force"),)
LONG = False


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("one", type=Path, metavar="A", help="a recipe, or the folder of a run")
    parser.add_argument("other", type=Path, metavar="B", help="a recipe, or the folder of a run")
    parser.add_argument("--gpu", metavar="GB", help="plan both for one GPU of this size")
    parser.add_argument("--json", action="store_true", help='as JSON; "equal" says whether anything differs')


def run(parsed: argparse.Namespace) -> int:
    from finetune.differ import difference

    one, other = (_side(path, parsed.gpu) for path in (parsed.one, parsed.other))
    found = difference(one, other)
    if parsed.json:
        print(json.dumps(_as_json(one, other, found), indent=2, ensure_ascii=False))
        return 0
    for side in (one, other):
        print(f"# {side.name}: {side.plan.notes[0] if side.plan.notes else side.plan.backend}{_planned(side)}")
    _print(one, other, found)
    return 0


def _side(path: Path, gpu: str | None) -> "Side":
    from finetune.differ import Side, is_run, load_run
    from finetune.recipe.load import load_recipe

    if is_run(path):
        checked, plan = load_run(path)
        if gpu is None:
            return Side(str(path), checked, plan, stored=True)
    else:
        checked = load_recipe(path)
        print_faults(checked.notes)
    return Side(str(path), checked, resolved(checked, planned_machine(gpu)))


def _planned(side: "Side") -> str:
    return " (the plan that was carried out)" if side.stored else ""


def _print(one: "Side", other: "Side", found: "Difference") -> None:
    if found.equal:
        print("\nequal in force: every key has the same value, and the plan is the same")
        return
    names = (one.name, other.name)
    if found.keys:
        rows = [(row.key, *map(_key_cell, row.values, row.origins, names)) for row in found.keys]
        _listed("keys whose value differs", ("key", *names), rows)
    else:
        print("\nevery key has the same value; the plans differ")
    if found.calls:
        rows = [
            (_call_cell(change), *(_argument_cell(value, change) for value in (change.one, change.other)))
            for change in found.calls
        ]
        _listed("planned calls that differ", ("call, argument", *names), rows)
    else:
        print("\nthe plan is the same: what differs changes nothing here")
    figures = [(name, *map(_figure_cell, values)) for name, values in found.figures.items()]
    _listed("what follows", ("figure", *names), figures)


def _key_cell(value: Any, origin: str, file: str) -> str:
    from finetune.compare import ABSENT
    from finetune.readable import value_text

    if sys.stdout.isatty() and origin.startswith(f"{file}:"):
        origin = f"line {origin.removeprefix(f'{file}:')}"  # the file is named above the column
    return "-" if value == ABSENT else f"{value_text(value)}  ({origin})"


def _call_cell(change: "Change") -> str:
    from finetune.readable import call_text

    name = change.target if not sys.stdout.isatty() else call_text(change.target)
    number = f" #{change.number}" if change.number > 1 else ""
    return f"[{change.stage}] {name}{number}" + (f" {change.argument}" if change.argument else "")


def _argument_cell(value: Any, change: "Change") -> str:
    from finetune.compare import ABSENT

    if isinstance(value, str) and value == ABSENT:
        return "-"
    if isinstance(value, dict) and not change.argument:
        return ", ".join(f"{name}={json.dumps(item, ensure_ascii=False)}" for name, item in value.items()) or "called"
    return json.dumps(value, ensure_ascii=False)


def _figure_cell(value: int | None) -> str:
    return "unknown before the run" if value is None else f"{value:,}"


def _listed(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A table on a terminal; elsewhere a line for each difference, whole however long."""
    if not sys.stdout.isatty():
        print(f"\n# {title}")
        for name, mine, theirs in rows:
            print(f"{name}: {mine}" if mine == theirs else f"{name}: {mine} -> {theirs}")
        return
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(escape(column), overflow="fold", ratio=1 if number else None, max_width=None if number else 40)
    for row in rows:
        table.add_row(*map(escape, row))
    Console(highlight=False).print(table)


def _as_json(one: "Side", other: "Side", found: "Difference") -> dict[str, Any]:
    return {
        "equal": found.equal,
        "recipes": [one.name, other.name],
        "backends": [one.plan.backend, other.plan.backend],
        "keys": [{"key": row.key, "values": row.values, "where": row.origins} for row in found.keys],
        "calls": [
            {
                "stage": change.stage,
                "target": change.target,
                "number": change.number,
                "argument": change.argument or None,
                "values": [change.one, change.other],
            }
            for change in found.calls
        ],
        "figures": {name: list(values) for name, values in found.figures.items()},
    }
