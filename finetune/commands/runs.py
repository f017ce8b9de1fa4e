"""`finetune runs`: a table of the runs in a folder."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.errors import UsageError

if TYPE_CHECKING:
    from finetune.report.reading import Run

HELP = "a table of the runs in a folder"
USE = (("finetune runs [DIR] [--format json]", "a table of the runs in a folder"),)
LONG = False


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", default=Path(), metavar="DIR")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument(
        "--depth", type=int, default=5, metavar="N", help="folders within folders that are looked into (5)"
    )


def run(parsed: argparse.Namespace) -> int:
    from finetune.report.reading import runs_in

    if not parsed.folder.is_dir():
        raise UsageError(f"{parsed.folder} is not a folder")
    if parsed.depth < 0:
        raise UsageError(f"--depth {parsed.depth}: write 0 or more")
    found = sorted((_facts(one, parsed.folder) for one in runs_in(parsed.folder, parsed.depth)), key=_order)
    if parsed.format == "json":
        json.dump(found, sys.stdout, indent=2, ensure_ascii=False)
        print()
    elif found:
        _show(found)
    else:
        print(f"there is no run in {parsed.folder}")
    return 0


def _order(facts: dict[str, Any]) -> tuple[str, str]:
    return facts["began"] or "", facts["run"]


def _facts(run: "Run", folder: Path) -> dict[str, Any]:
    """What a row says; None for what the run does not say, or not yet."""
    losses = [value for _, value in run.course("loss")] or [value for _, value in run.course("train_loss")]
    measured = [value for _, value in run.course("eval_loss")]
    return {
        "run": str(run.path.relative_to(folder)) if run.path != folder else str(run.path),
        "recipe": run.recipe or None,
        "status": run.status,
        "began": run.began or None,
        "steps": run.steps,
        "loss": losses[-1] if losses else None,
        "eval_loss": measured[-1] if measured else None,
        "seconds": run.seconds,
        "bytes": run.bytes(),
        "why": run.marker.get("why"),
        "damaged": run.damaged or None,
    }


def _show(found: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from finetune.report.curves import short
    from finetune.report.pieces import duration, size

    table = Table()
    for name in ("run", "recipe", "status"):
        table.add_column(name, overflow="fold")
    for name in ("steps", "loss", "eval loss", "time", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        figures = [
            "" if one["steps"] is None else f"{one['steps']:,}",
            *("" if one[name] is None else short(one[name]) for name in ("loss", "eval_loss")),
            duration(one["seconds"]),
            size(one["bytes"]),
        ]
        table.add_row(*(escape(one[name] or "") for name in ("run", "recipe", "status")), *figures)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(120, 60 + max(len(one["run"]) for one in found)))
    console.print(table)
