"""A preview as text for git: digests of all rows and a few rows in full, so that a review sees what a change of data,
template or library does to what is trained. Knows no terminal and no page."""

import difflib

from finetune.preview.looks import ShownRow
from finetune.preview.report import Purpose, Report

HEAD = "# What is trained, as of this file. Written by `finetune preview --snapshot`; checked by `validate --snapshot`."


def snapshot(report: Report, shown: int) -> str:
    """Lines that stay the same as long as every token and label does; `shown`: rows of each source in full."""
    stops = report.facts.get("generation stops at", "")
    lines = [HEAD, f"shows {shown}", f"template sha256 {report.template}", f"generation stops at {stops}"]
    for name, purpose in report.purposes.items():
        lines += ["", f"## {name}", *_figures(purpose)]
        for row in purpose.shown:
            lines += ["", f"### {row.source} row {row.number}", *_row(row)]
    return "\n".join(lines) + "\n"


def _figures(purpose: Purpose) -> list[str]:
    lines = [f"rows {purpose.rows}  tokens {purpose.tokens}  learned {purpose.learned}  sha256 {purpose.digest}"]
    for source, figure in purpose.figures.items():
        lines.append(f"{source}: rows {figure.rows}  tokens {figure.tokens}  learned {figure.learned}")
        lines += [f"  ends {count} x {token!r}" for token, count in figure.common_ends()]
    return lines


def _row(row: ShownRow) -> list[str]:
    """One line for each stretch that is learned (+) or not (-), broken where the text is."""
    stretches: list[tuple[bool, str]] = []
    for piece in row.pieces:
        if stretches and stretches[-1][0] == piece.learned and not stretches[-1][1].endswith("\n"):
            stretches[-1] = (piece.learned, stretches[-1][1] + piece.text)
        else:
            stretches.append((piece.learned, piece.text))
    return [f"{'+' if learned else '-'} {text!r}" for learned, text in stretches]


def difference(old: str, new: str, name: str) -> str:
    """A unified diff, empty where nothing changed."""
    return "".join(
        difflib.unified_diff(
            old.splitlines(keepends=True), new.splitlines(keepends=True), f"{name} (kept)", f"{name} (now)", n=1
        )
    )
