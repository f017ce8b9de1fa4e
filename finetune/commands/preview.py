"""`finetune preview`: what a recipe's model would be trained on, token by token: in a terminal, as a page, for git."""

import argparse
import os
import sys
from pathlib import Path

from finetune.commands.checking import print_faults, resolved
from finetune.commands.freezing import frozen_options, held
from finetune.errors import UsageError

HELP = "show what is trained, token by token"
USE = (
    ("finetune preview RECIPE [--rows N] [--html FILE]", "what is trained, token by token, and figures of each source"),
    ("finetune preview RECIPE --snapshot", "keep that for git; validate --snapshot compares"),
)
LONG = True
ENDING = ".snapshot"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--rows", type=int, default=3, metavar="N", help="rows of each source that are shown (3)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write one self-contained page")
    parser.add_argument(
        "--snapshot", nargs="?", const="", metavar="FILE", help=f"write a text file for git (RECIPE{ENDING})"
    )
    frozen_options(parser)


def run(parsed: argparse.Namespace) -> int:
    from rich.console import Console

    from finetune.machine import probe
    from finetune.noise import quiet_libraries
    from finetune.preview.page import page
    from finetune.preview.snapshot import snapshot
    from finetune.preview.terminal import show
    from finetune.previewing import report_of
    from finetune.recipe.load import load_recipe

    if parsed.rows < 0:
        raise UsageError(f"--rows {parsed.rows}: write how many rows of each source are shown, 0 or more")
    checked = load_recipe(parsed.recipe, parsed.overrides)
    print_faults(checked.heard(checked.notes))
    hold = held(parsed, checked)
    plan = hold.plan(resolved(hold.checked, probe()))
    quiet_libraries(bars=False)
    console = Console()
    with Console(stderr=True).status("reading and tokenizing"):
        report = report_of(plan, parsed.recipe.name, parsed.rows, hold.judge)
    if parsed.html is not None:
        write(parsed.html, page(report))
    if parsed.snapshot is not None:
        target = Path(parsed.snapshot) if parsed.snapshot else snapshot_of(parsed.recipe)
        write(target, snapshot(report, parsed.rows))
    if parsed.html is None and parsed.snapshot is None:
        show(report, console)
    return 0


def snapshot_of(recipe: Path) -> Path:
    """Where a recipe's snapshot lies."""
    return recipe.with_suffix(ENDING)


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all, and say so. UsageError where it cannot be written."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)  # noqa: PTH105 - the same, with the fault at hand
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    print(f"wrote {path}", file=sys.stderr)


def changed(recipe: Path) -> str:
    """How what is trained differs from the recipe's snapshot, as a diff; empty where it does not.

    UsageError if there is no snapshot; FinetuneError for what would stop a run."""
    from finetune.machine import probe
    from finetune.preview.snapshot import difference, snapshot
    from finetune.previewing import report_of
    from finetune.recipe.load import load_recipe

    kept = snapshot_of(recipe)
    try:
        old = kept.read_text("utf-8")
    except OSError:
        raise UsageError(f"there is no {kept}: write it with `finetune preview {recipe} --snapshot`") from None
    shown = max((int(line.rsplit(" ", 1)[1]) for line in old.splitlines() if line.startswith("shows ")), default=3)
    report = report_of(resolved(load_recipe(recipe), probe()), recipe.name, shown)
    return difference(old, snapshot(report, shown), kept.name)
