"""A preview as one self-contained HTML page, for a pull request or a colleague. Loads nothing from anywhere."""

from collections.abc import Sequence
from html import escape

from finetune.preview.looks import Bar, Piece, ShownRow, SourceFigures, histogram, visible
from finetune.preview.report import Purpose, Report

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d7dce1; --card: #f6f8fa; --page: #fff;
  --learned: #c9f0d3; --learned-ink: #0b4a22; --special: #7c3aed; --end: #b45309; --bar: #2f9e57; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa4af; --line: #343b43; --card: #1a1f25;
  --page: #101418; --learned: #12482a; --learned-ink: #c4f2d3; --special: #c4a6ff; --end: #f2b764; --bar: #3fb56c; } }
* { box-sizing: border-box } body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 4rem; color: var(--ink);
  background: var(--page); font: 15px/1.55 system-ui, sans-serif }
h1 { font-size: 1.45rem; margin: 0 0 .25rem } h2 { font-size: 1.1rem; margin: 2.25rem 0 .5rem }
.soft { color: var(--soft) } code, .row { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
.legend { display: flex; flex-wrap: wrap; gap: .4rem 1.25rem; margin: 1rem 0; padding: .6rem .9rem;
  background: var(--card); border: 1px solid var(--line); border-radius: 8px }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
th { font-weight: 600; color: var(--soft) } th:first-child, td:first-child, .left { text-align: left }
details { border: 1px solid var(--line); border-radius: 8px; margin: .6rem 0; background: var(--card) }
summary { cursor: pointer; padding: .5rem .8rem; overflow-wrap: anywhere }
.row { white-space: pre-wrap; unicode-bidi: plaintext; overflow-wrap: anywhere; padding: .4rem .9rem .9rem;
  font-size: 13px; line-height: 1.75 }
.t { color: var(--soft); border-radius: 3px; box-shadow: inset -1px 0 0 var(--line) }
.l { color: var(--learned-ink); background: var(--learned) } .s { color: var(--special); font-weight: 650;
  unicode-bidi: isolate; direction: ltr }
.e::after { content: "\\25C0"; color: var(--end); font-size: .8em; padding-left: 1px }
.nl { opacity: .55 } svg { display: block; width: 15rem; height: 3rem } .bar { fill: var(--bar) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.25rem; margin: .75rem 0 }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
@media (max-width: 44rem) { th { display: none } tr { display: grid; grid-template-columns: 1fr 1fr 1fr;
  padding: .6rem 0; border-bottom: 1px solid var(--line) } td { border: 0; padding: .15rem 0; text-align: left }
  td:first-child, .wide { grid-column: 1 / -1; overflow-wrap: anywhere } td:first-child { font-weight: 600 }
  td[data-is]::before { content: attr(data-is) " "; color: var(--soft) } svg { width: 100% } body { padding: 1rem }
  dl { grid-template-columns: 1fr } dd { margin-bottom: .4rem } }
"""


HEADS = (
    "source",
    "rows",
    "tokens",
    "learned",
    "dropped",
    "cut",
    "silent",
    "tokens a row",
    "learned stretches end with",
)


def page(report: Report) -> str:
    """The whole page."""
    title = f"What {report.recipe} trains"
    parts = [_head(title, report)]
    for name, purpose in report.purposes.items():
        parts.append(f"<h2>{escape(name.capitalize())}: sources</h2>{_table(purpose)}")
    for name, purpose in report.purposes.items():
        parts.append(f"<h2>{escape(name.capitalize())}: rows</h2>")
        parts += [shown_row(row, number == 0) for number, row in enumerate(purpose.shown)]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _head(title: str, report: Report) -> str:
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in report.facts.items())
    silent = "<span>silent: rows left out, since their own flags let nothing be learned</span>"
    return f"<h1>{escape(title)}</h1><dl>{facts}</dl>{legend(silent)}"


def legend(more: str = "") -> str:
    """What the colours of tokens say."""
    return (
        '<div class="legend"><span><span class="t l">learned</span> the model is taught to write this</span>'
        '<span><span class="t">not learned</span> it only reads this</span>'
        '<span><span class="t s">&lt;special&gt;</span> a special token</span>'
        '<span><span class="t l s e">&lt;end&gt;</span> the last token of a learned stretch: where answers stop</span>'
        f"{more}</div>"
    )


def _table(purpose: Purpose) -> str:
    head = "".join(f'<th class="{"left" if text in HEADS[-2:] else ""}">{text}</th>' for text in HEADS)
    rows = "".join(_source(name, figure) for name, figure in purpose.figures.items())
    if len(purpose.figures) > 1:
        rows += _source("all", purpose.together())
    return f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>'


def _source(name: str, figure: SourceFigures) -> str:
    ends = "<br>".join(f"<code>{escape(repr(token))}</code> {count:,}" for token, count in figure.common_ends())
    counts = (figure.dropped, figure.cut, figure.unlearned)
    cells = (f"{figure.rows:,}", f"{figure.tokens:,}", f"{figure.share:.1%}", *(f"{count:,}" for count in counts))
    middle = "".join(f'<td data-is="{name}">{cell}</td>' for name, cell in zip(HEADS[1:], cells, strict=False))
    last = "".join(
        f'<td class="left wide" data-is="{name}">{cell}</td>'
        for name, cell in zip(HEADS[-2:], (_bars(figure), ends or "none"), strict=True)
    )
    return f"<tr><td>{escape(name)}</td>{middle}{last}</tr>"


def _bars(figure: SourceFigures) -> str:
    return drawn_bars(histogram(figure.lengths), max(figure.lengths, default=0))


def drawn_bars(bars: Sequence[Bar], longest: int) -> str:
    """Rows by their number of tokens."""
    most = max((bar.rows for bar in bars), default=1)
    width = 240 / max(len(bars), 1)
    drawn = "".join(
        f'<rect class="bar" x="{number * width:.1f}" y="{44 - 42 * bar.rows / most:.1f}" width="{width - 1:.1f}" '
        f'height="{42 * bar.rows / most + 1:.1f}"><title>{bar.low} to {bar.high - 1} tokens: {bar.rows:,} rows</title>'
        "</rect>"
        for number, bar in enumerate(bars)
    )
    label = f"rows by length, 0 to {longest:,} tokens"
    return (
        f'<svg viewBox="0 0 240 46" preserveAspectRatio="none" role="img" aria-label="{label}">{drawn}</svg>'
        f'<span class="soft">0 to {longest:,}</span>'
    )


def shown_row(row: ShownRow, is_open: bool) -> str:
    share = row.learned / row.tokens if row.tokens else 0
    head = (
        f"{escape(row.source)} <b>row {row.number}</b> "
        f'<span class="soft">{row.tokens:,} tokens, {row.learned:,} learned ({share:.0%})</span>'
    )
    pieces = "".join(_piece(piece) for piece in row.pieces)
    opened = " open" if is_open else ""
    return f'<details{opened}><summary>{head}</summary><div class="row">{pieces}</div></details>'


def _piece(piece: Piece) -> str:
    classes = ["t", *["l"] * piece.learned, *["s"] * piece.special, *["e"] * piece.ends]
    text = escape(visible(piece.text))
    text = text.replace("\r", '<span class="nl">␍</span>').replace("\n", '<span class="nl">⏎</span>\n')
    ids = " ".join(map(str, piece.ids))
    return f'<span class="{" ".join(classes)}" title="{ids}">{text}</span>'
