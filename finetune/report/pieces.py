"""Parts that pages of runs are made of: tables, facts, figures, badges, the frame around them. Knows no run."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from finetune.preview.page import STYLE
from finetune.report.curves import short

OWN_STYLE = Path(__file__).with_name("style.css")


def frame(title: str, body: Sequence[str]) -> str:
    """A whole page, which loads nothing."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><style>{STYLE}{OWN_STYLE.read_text("utf-8")}</style></head>\n'
        f"<body>{''.join(body)}</body></html>\n"
    )


def section(title: str, inside: str) -> str:
    """A part with its heading; nothing where there is nothing inside."""
    anchor = "".join(sign if sign.isalnum() else "-" for sign in title.lower())
    return f'<h2 id="{anchor}">{escape(title)}</h2>{inside}' if inside else ""


def contents(body: str) -> str:
    """Links to the parts of a page."""
    found = []
    for piece in body.split('<h2 id="')[1:]:
        anchor, _, rest = piece.partition('">')
        found.append(f'<a href="#{anchor}">{rest.partition("</h2>")[0]}</a>')
    return f"<nav>{''.join(found)}</nav>" if len(found) > 1 else ""


def badge(status: str) -> str:
    return f'<span class="badge {escape(status, quote=True)}">{escape(status)}</span>'


def facts(known: Mapping[str, str]) -> str:
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in known.items() if value)
    return f"<dl>{listed}</dl>" if listed else ""


def tiles(known: Mapping[str, str]) -> str:
    shown = [
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in known.items()
        if value
    ]
    return f'<div class="tiles">{"".join(shown)}</div>' if shown else ""


def folded(title: str, inside: str, is_open: bool = False) -> str:
    return f"<details{' open' * is_open}><summary>{escape(title)}</summary>{inside}</details>"


def text(given: str) -> str:
    return f"<pre>{escape(given)}</pre>"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], kinds: Mapping[int, str] | None = None) -> str:
    """`rows`: cells as HTML. `kinds`: column -> class. On a phone each cell says what it is."""
    kinds = kinds or {}
    if not rows:
        return ""
    marks = [kinds.get(place, "") for place in range(len(heads))]
    sides = ["left" if mark else "" for mark in marks]
    head = "".join(f'<th class="{side}">{escape(name)}</th>' for name, side in zip(heads, sides, strict=True))
    body = ""
    for row in rows:
        cells = enumerate(zip(heads, marks, row, strict=False))
        body += "".join(f'<td class="{mark}"{_says(name, place)}>{cell}</td>' for place, (name, mark, cell) in cells)
        body = f"{body}</tr><tr>"
    return f'<div class="scroll"><table class="grid"><tr class="head">{head}</tr><tr>{body[:-4]}</table></div>'


def _says(head: str, place: int) -> str:
    return f' data-is="{escape(head, quote=True)}"' if place and head else ""


def arrow(first: float | None, last: float | None) -> str:
    """A figure from its beginning to its end."""
    if last is None:
        return ""
    return short(last) if first is None else f"{first:.3g} → {last:.3g}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
