"""`finetune explain`: where each key's value comes from and which calls it sets. Trains nothing."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.commands.checking import planned_machine, print_faults, resolved, settled_by_memory

if TYPE_CHECKING:
    from finetune.explain import Explained
    from finetune.plan import Plan

HELP = "show where each key's value comes from and what it sets"
USE = (("finetune explain RECIPE [KEY]", "each key: its value, where that comes from, the calls it sets"),)
LONG = False


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path)
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY or key=value",
        help="a KEY (dotted: datasets.0.path) to explain in detail, before any option; key=value overrides the recipe",
    )
    parser.add_argument("--gpu", metavar="GB", help="explain for one GPU of this size instead of this machine")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(parsed: argparse.Namespace) -> int:
    from finetune.explain import all_explained, as_json, explained, inside, key_facts, on_other_backends, path_of
    from finetune.recipe.load import load_recipe

    keys = [word for word in parsed.overrides if "=" not in word]
    checked = load_recipe(parsed.recipe, [word for word in parsed.overrides if "=" in word])
    machine = planned_machine(parsed.gpu)
    plan = resolved(checked, machine)
    # What is left to memory is shown as it was chosen.
    checked = replace(checked, recipe=settled_by_memory(checked, machine).recipe)
    paths = [path_of(checked.recipe, key) for key in keys]
    print_faults(checked.notes)
    if not paths:
        rows = all_explained(checked, plan, machine)
        if parsed.json:
            _print_json(parsed.recipe, plan, [as_json(row) for row in rows])
        else:
            _overview(parsed.recipe, plan, rows)
        return 0
    shown: list[Any] = []
    for path in paths:
        rows = [explained(checked, plan, machine, inner) for inner in inside(checked.recipe, path)]
        if isinstance(path[-1], str):
            row, facts = explained(checked, plan, machine, path), key_facts(path)
            shown.append(as_json(row) | facts)
            if not parsed.json:
                _detail(row, facts, plan, on_other_backends(checked.recipe, plan, path))
        shown += map(as_json, rows)
        if rows and not parsed.json:
            _listed("", rows)
    if parsed.json:
        _print_json(parsed.recipe, plan, shown)
    return 0


def _print_json(recipe: Path, plan: "Plan", keys: list[Any]) -> None:
    print(json.dumps({"recipe": str(recipe), "backend": plan.backend, "keys": keys}, indent=2, ensure_ascii=False))


def _overview(recipe: Path, plan: "Plan", rows: "list[Explained]") -> None:
    print(f"# {recipe} on {plan.notes[0]}")
    _listed("written", [row for row in rows if row.written], str(recipe))
    _listed("defaults", [row for row in rows if not row.written])


def _listed(title: str, rows: "list[Explained]", file: str = "") -> None:
    """A table on a terminal; elsewhere a line for each key, whole however long, as one would write it in a recipe."""
    if sys.stdout.isatty():
        _table(title, rows, file)
        return
    if title:
        print(f"\n# {title}")
    from finetune.readable import value_text

    for row in rows:
        reached = "; ".join(_reached(row, short=False))
        print(f"{f'{row.name}: {value_text(row.value)}':<40} # {row.where} -> {reached}")


def _reached(row: "Explained", short: bool) -> list[str]:
    from finetune.readable import reach_texts

    return [f"nothing here: {row.idle}"] if row.idle else reach_texts(row.changes, row.value, short)


def _table(title: str, rows: "list[Explained]", file: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from finetune.readable import value_text

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("key", overflow="fold", max_width=28)
    table.add_column("value", overflow="fold", max_width=18)
    origins = any(row.written for row in rows)
    if origins:
        table.add_column("from", overflow="fold", max_width=22)
    table.add_column("sets", overflow="fold")
    for row in rows:
        cells = [row.name, value_text(row.value)]
        if origins:
            # The recipe itself is named above the table.
            place = row.where.removeprefix(f"{file}:") if file else row.where
            cells.append(f"line {place}" if place.isdigit() else place)
        cells.append("\n".join(_reached(row, short=True)))
        table.add_row(*map(escape, cells), style="dim" if row.idle else None)
    Console(highlight=False).print(table)


def _detail(row: "Explained", facts: dict[str, str], plan: "Plan", others: dict[str, str]) -> None:
    from finetune.readable import value_text

    print(f"{row.name}: {value_text(row.value)}")
    says = {"from": row.where, **facts}
    if row.idle:
        says["sets"] = f"nothing here: {row.idle}"
    elif row.refused:
        says["other values"] = f"refused: {row.refused}"
    for name, text in says.items():
        print(f"  {name:<14} {_wrapped(text, 17)}")
    before = None
    for change in row.changes:
        call = f"[{change.stage}] {change.target}" + (f" #{change.number}" if change.number > 1 else "")
        if call != before:
            print(f"  {'sets' if before is None else '':<14} {call}{_made(change)}")
        before = call
        if change.argument:
            print(f"  {'':<14}     {change.argument} = {_now(change.one)}")
    for backend, text in others.items():
        print(f"  {f'on {backend}':<14} {_wrapped(text, 17)}")
    print(f"  {'here':<14} {_wrapped(plan.notes[0], 17)}\n")


def _made(change: Any) -> str:
    from finetune.compare import ABSENT

    return "" if change.argument or change.one != ABSENT else "  (not called now)"


def _now(value: Any) -> str:
    from finetune.compare import ABSENT, RUNTIME

    if value == ABSENT:
        return "(not passed now)"
    return str(value) if value == RUNTIME else json.dumps(value, ensure_ascii=False)


def _wrapped(text: str, indent: int) -> str:
    """Folded to the width of a terminal; whole elsewhere."""
    if not sys.stdout.isatty():
        return text
    import shutil
    import textwrap

    width = max(shutil.get_terminal_size().columns - indent, 40)
    return f"\n{'':{indent}}".join(textwrap.wrap(text, width) or [""])
