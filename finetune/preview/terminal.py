"""A preview in the terminal: what is learned in green, what is not in grey, special tokens in colour, ends marked."""

from typing import Any

from finetune.preview.looks import Piece, ShownRow, histogram
from finetune.preview.report import Purpose, Report

END = "◀"
LEVELS = " ▁▂▃▄▅▆▇█"
LEARNED, SKIPPED = "green", "bright_black"


def show(report: Report, console: Any) -> None:
    """Print the report: how to read it, rows, then figures."""
    from rich.text import Text

    legend = Text("learned ", style=LEARNED)
    legend.append("not learned ", style=SKIPPED).append("special learned ", style="bold black on green")
    legend.append("special not learned", style="bold black on bright_black").append(f"  {END} a learned stretch ends")
    console.print(legend)
    for name, purpose in report.purposes.items():
        for row in purpose.shown:
            share = row.learned / row.tokens if row.tokens else 0
            console.rule(
                f"{name}: {row.source} row {row.number}, {row.tokens} tokens, {row.learned} learned ({share:.0%})",
                align="left",
                style="dim",
            )
            console.print(row_text(row), soft_wrap=True)
    for name, purpose in report.purposes.items():
        console.print(_figures(name, purpose))
    for name, value in report.facts.items():
        console.print(f"{name}: {value}", highlight=False)


def row_text(row: ShownRow) -> Any:
    from rich.text import Text

    text = Text()
    for piece in row.pieces:
        text.append(visible(piece), style=_style(piece))
        if piece.ends:
            text.append(END, style="bold yellow")
    return text


def visible(piece: Piece) -> str:
    """A line's end shown as one; a special token that is a line's end by itself never is."""
    return piece.text.replace("\r", "␍").replace("\n", "⏎\n")


def _style(piece: Piece) -> str:
    colour = LEARNED if piece.learned else SKIPPED
    return f"bold black on {colour}" if piece.special else colour


def _figures(name: str, purpose: Purpose) -> Any:
    from rich.table import Table

    table = Table(title=f"{name}: {purpose.rows:,} rows, {purpose.tokens:,} tokens", title_justify="left")
    for column in (
        "source",
        "rows",
        "tokens",
        "learned",
        "dropped",
        "cut",
        "tokens a row",
        "learned stretches end with",
    ):
        table.add_column(column, justify="left" if column in ("source", "learned stretches end with") else "right")
    for source, figure in purpose.figures.items():
        ends = ", ".join(f"{token!r} {count:,}" for token, count in figure.common_ends())
        table.add_row(
            source,
            f"{figure.rows:,}",
            f"{figure.tokens:,}",
            f"{figure.share:.0%}",
            f"{figure.dropped:,}",
            f"{figure.cut:,}",
            f"{sparkline(figure.lengths)} to {max(figure.lengths, default=0):,}",
            ends,
        )
    return table


def sparkline(lengths: list[int]) -> str:
    """The histogram of lengths in one line."""
    bars = histogram(lengths, 12)
    most = max((bar.rows for bar in bars), default=0)
    return "".join(LEVELS[-(-bar.rows * (len(LEVELS) - 1) // most)] for bar in bars) if most else ""
