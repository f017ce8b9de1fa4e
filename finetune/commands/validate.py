"""`finetune validate`: every fault and warning of recipe files, without touching a model or a GPU. Decides which ones
pass and the exit code; how findings look to other programs is the business of reporting."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.commands.checking import print_faults, recipe_files, resolved
from finetune.commands.freezing import lock_faults
from finetune.errors import Fault, FinetuneError, RecipeError, Where

if TYPE_CHECKING:
    from finetune.reporting import Report

HELP = "check recipes (files and folders)"
USE = (("finetune validate recipes/ mine.yaml", "check recipes: every fault with file:line:column"),)
LONG = False
# Written out, since importing reporting for its table would cost every command; a test compares the two.
FORMATS = ("text", "json", "github", "sarif")
DOCS = "FINETUNE_DOCS_URL"
"""The variable with the address of the page of the codes, for links in SARIF."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="text (faults to standard error), or all to standard output as json, "
        "github (annotations in a workflow) or sarif (code scanning)",
    )
    parser.add_argument("--strict", action="store_true", help="a recipe with warnings does not pass either")
    parser.add_argument(
        "--snapshot", action="store_true", help="also tokenize the data and compare with the recipe's .snapshot"
    )
    parser.add_argument("--frozen", action="store_true", help="also compare with the recipe's .lock, without its rows")


def run(parsed: argparse.Namespace) -> int:
    if parsed.format == "text":
        return _as_text(parsed)
    from finetune.reporting import Findings, rendered

    reports: list[Report] = []
    general: tuple[Fault, ...] = ()
    try:
        reports += _reports(recipe_files(parsed.paths), parsed)
        code = _exit_code(reports)
    except FinetuneError as error:
        general, code = error.faults, error.exit_code
    here = os.path.realpath(Path.cwd())
    findings = Findings(tuple(reports), general, code, here, _root(here), os.environ.get(DOCS) or "docs/codes.md")
    sys.stdout.write(rendered(parsed.format, findings))
    return code


def _as_text(parsed: argparse.Namespace) -> int:
    reports = []
    files = recipe_files(parsed.paths)
    for report in _reports(files, parsed):
        reports.append(report)
        print_faults(report.faults)
        if report.valid:
            print(f"{report.path}: valid")
        elif not any(fault.severity == "error" for fault in report.faults):
            print(f"{report.path}: not valid, because --strict counts warnings")
    if len(files) > 1:
        print(f"{sum(report.valid for report in reports)} of {len(files)} recipes are valid")
    return _exit_code(reports)


def _reports(files: Sequence[Path], parsed: argparse.Namespace) -> "Iterator[Report]":
    from finetune.reporting import Report

    refused = ("error", "warning") if parsed.strict else ("error",)
    for path in files:
        faults = tuple(_faults(path))
        if parsed.snapshot and not any(fault.severity == "error" for fault in faults):
            faults = (*faults, *_snapshot_faults(path))
        if parsed.frozen and not any(fault.severity == "error" for fault in faults):
            faults = (*faults, *lock_faults(path))
        yield Report(str(path), not any(fault.severity in refused for fault in faults), faults)


def _faults(path: Path) -> list[Fault]:
    """What is wrong with a recipe; if nothing is, what should be said about it."""
    from finetune.judge import judgements
    from finetune.machine import Machine, assumed
    from finetune.recipe.load import load_recipe
    from finetune.sweeping.checking import sweep_faults

    # What changes something on a GPU or without one is no idle line.
    machines = (assumed(), Machine(packages=assumed().packages))
    try:
        checked = load_recipe(path)
        for machine in machines:
            resolved(checked, machine)
        if checked.sweep is not None and (wrong := sweep_faults(path, (), checked)):
            return wrong
    except RecipeError as error:
        return list(error.faults)
    return judgements(checked, machines)


def _snapshot_faults(path: Path) -> list[Fault]:
    """What is trained, compared with the recipe's snapshot: an error with the difference if it is not the same."""
    from finetune.commands.preview import changed

    try:
        difference = changed(path)
    except FinetuneError as error:
        return list(error.faults)
    message = f"what is trained is no longer what the snapshot shows:\n{difference}"
    return [Fault(message, Where(str(path)), code="FT009")] if difference else []


def _exit_code(reports: "Sequence[Report]") -> int:
    return 0 if all(report.valid for report in reports) else RecipeError.exit_code


def _root(here: str) -> str:
    """The folder that annotations are relative to: GitHub's checkout if we stand in it, else where we stand."""
    checkout = os.path.realpath(os.environ.get("GITHUB_WORKSPACE") or here)
    return checkout if Path(here).is_relative_to(checkout) else here
