"""A preview in the terminal: what is learned in green, what is not in grey, special tokens in colour, ends marked."""

from typing import Any

from finetune.preview import looks
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
    console.print(legend, soft_wrap=True)
    for name, purpose in report.purposes.items():
        for row in purpose.shown:
            share = row.learned / row.tokens if row.tokens else 0
            head = (
                f"{name}: {row.source} row {row.number}, {row.tokens:,} tokens, {row.learned:,} learned ({share:.0%})"
            )
            console.print(Text(head, style="bold"), soft_wrap=True)
            console.print(row_text(row), soft_wrap=True)
    for name, purpose in report.purposes.items():
        console.print(_figures(name, purpose), soft_wrap=True)
    for name, value in report.facts.items():
        console.print(f"{name}: {value}", highlight=False, markup=False, soft_wrap=True)


def row_text(row: ShownRow) -> Any:
    from rich.text import Text

    text = Text()
    for piece in row.pieces:
        text.append(visible(piece), style=_style(piece))
        if piece.ends:
            text.append(END, style="bold yellow")
    return text


def visible(piece: Piece) -> str:
    """A line's end shown as one, and what no screen shows."""
    return looks.visible(piece.text).translate(looks.LINE_ENDS)


def _style(piece: Piece) -> str:
    colour = LEARNED if piece.learned else SKIPPED
    return f"bold black on {colour}" if piece.special else colour


def _figures(name: str, purpose: Purpose) -> Any:
    """One block a source: a table would cut what matters on a narrow screen."""
    from rich.text import Text

    text = Text(f"{name}: {purpose.rows:,} rows, {purpose.tokens:,} tokens\n", style="bold")
    for source, figure in purpose.figures.items():
        ends = ", ".join(f"{token!r} {count:,} times" for token, count in figure.common_ends())
        lost = f", {figure.dropped:,} dropped, {figure.cut:,} cut" if figure.dropped or figure.cut else ""
        lost += f", {figure.unlearned:,} left out, with nothing to learn by their own flags" if figure.unlearned else ""
        lines = (
            f"  {source}: {figure.rows:,} rows, {figure.tokens:,} tokens, {figure.share:.0%} learned{lost}",
            f"    tokens a row  {sparkline(figure.lengths)}  0 to {max(figure.lengths, default=0):,}",
            f"    learned stretches end with  {ends}",
        )
        text.append("\n".join(lines) + "\n", style="not bold")
    return text


def sparkline(lengths: list[int]) -> str:
    """The histogram of lengths in one line."""
    bars = histogram(lengths, 12)
    most = max((bar.rows for bar in bars), default=0)
    return "".join(LEVELS[-(-bar.rows * (len(LEVELS) - 1) // most)] for bar in bars) if most else ""
