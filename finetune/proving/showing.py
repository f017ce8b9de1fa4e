"""Reports of proofs for people and for programs: a table on a terminal, plain lines elsewhere, JSON, JUnit,
and GitHub's annotations. Judges nothing."""

import json
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finetune import __version__
from finetune.proving.junit import as_junit
from finetune.proving.lines import FAILED, PASSED, Report
from finetune.proving.replaced import Replacement
from finetune.reporting import command

STYLES = {PASSED: "green", FAILED: "bold red"}
SHOWN = 60
WHOLE = ("json", "junit")
"""Forms that are one text at the end."""


class Shown:
    """Where the reports go, each as soon as it is there."""

    def __init__(self, form: str, count: int) -> None:
        self.form, self.count = form, count
        self.console = Console(highlight=False)

    def report(self, report: Report) -> None:
        if self.form in WHOLE:
            return
        if self.form == "github":
            self.console.print(f"::group::{report.path}", markup=False, soft_wrap=True)
        self._facts(report)
        if self.console.is_terminal and self.form == "text":
            self._table(report)
        else:
            for line in report.lines:
                self.console.print(f"  {line.state:8}{line.check:24}{line.said}", markup=False, soft_wrap=True)
        self.console.print(verdict(report), markup=False, soft_wrap=True)
        if self.form == "github":
            self.console.print("::endgroup::", markup=False)
            for line in (*report.failed, *report.warned):
                place, kind = {"file": report.path}, "error" if line.state == FAILED else "warning"
                text = command(kind, f"{line.check}: {line.said}", "finetune prove", place)
                self.console.print(text, markup=False, soft_wrap=True)

    def _facts(self, report: Report) -> None:
        self.console.print(report.path, markup=False, soft_wrap=True)
        for name, fact in report.facts.items():
            self.console.print(f"  {name}: {fact}", markup=False, soft_wrap=True)
        for one in report.replaced:
            self.console.print(f"  replaced: {told(one)}", markup=False, soft_wrap=True)

    def _table(self, report: Report) -> None:
        table = Table(show_header=False, title_justify="left")
        for line in report.lines:
            style = STYLES.get(line.state, "yellow")
            table.add_row(f"[{style}]{line.state}[/]", escape(line.check), escape(line.said))
        self.console.print(table)

    def end(self, reports: Sequence[Report]) -> str:
        """What comes after the last report."""
        if self.form == "json":
            made = {"version": __version__, "recipes": [report.as_json() for report in reports]}
            return json.dumps(made, indent=2) + "\n"
        if self.form == "junit":
            return as_junit(reports)
        if len(reports) < 2:
            return ""
        return f"{sum(report.passed for report in reports)} of {len(reports)} recipes are proved\n"


def verdict(report: Report) -> str:
    skipped = sum(line.state == "skipped" for line in report.lines)
    against = ", ".join(dict.fromkeys(line.check for line in report.failed or report.warned))
    word = "proved" if report.passed else f"NOT proved ({against})"
    apply = "checks do" if skipped > 1 else "check does"
    beside = f", {skipped} {apply} not apply" if skipped else ""
    if count := len(report.warned):
        beside += f", {count} warning" + "s" * (count > 1) + ", which --strict counts" * report.strict
    return f"{report.path}: {word} in {report.seconds:.0f} s{beside}"


def told(one: Replacement) -> str:
    """A replacement in words."""
    old, new = (json.dumps(value, ensure_ascii=False, default=str)[:SHOWN] for value in (one.old, one.new))
    if one.new is None:
        return f"{one.key}: {old} is left out: {one.why}"
    return f"{one.key}: {old} -> {new}: {one.why}" if one.old is not None else f"{one.key}: {new}: {one.why}"
