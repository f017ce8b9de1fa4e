"""A sweep as one self-contained HTML page: how the trials went, what each key did to the figure, every trial in a
table. Loads nothing from anywhere."""

import math
from collections.abc import Sequence
from html import escape

from finetune.preview.page import STYLE
from finetune.sweeping.results import Results, Row, in_order
from finetune.sweeping.space import short

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 250, 58, 14, 12, 38
OWN_STYLE = """
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(21rem, 1fr)); gap: 1rem } figure { margin: 0;
  border: 1px solid var(--line); border-radius: 8px; background: var(--card); padding: .6rem .6rem .2rem }
figure svg { width: 100%; height: auto } figcaption { font-weight: 600; padding: 0 .3rem .3rem }
text { font: 11px system-ui, sans-serif; fill: var(--soft) } .axis { stroke: var(--line) }
.dot { fill: #3b82c4; fill-opacity: .75 } .lost { fill: none; stroke: var(--soft) } .won { fill: var(--bar);
  stroke: var(--ink); stroke-width: 1 } .sofar { fill: none; stroke: var(--bar); stroke-width: 1.5 }
.course { fill: none; stroke: #3b82c4; stroke-opacity: .45 } .wins { fill: none; stroke: var(--bar); stroke-width: 2.5 }
tr.best td { font-weight: 650; color: var(--bar) } td.left { max-width: 28rem; overflow-wrap: anywhere }
"""
Point = tuple[float, float, Row]


def page(found: Results) -> str:
    title = f"Sweep of {found.recipe}"
    best = next((row for row in found.rows if row.number == found.best), None)
    facts = {
        "method": found.sweep.method,
        "figure": f"{found.sweep.figure} ({'the greater' if found.sweep.maximizes else 'the smaller'} the better)",
        "trials": ", ".join(f"{count} {state}" for state, count in _states(found).items()),
        "best": "none" if best is None else f"trial {best.number:03}: {found.sweep.figure} {best.value:.5g}",
    }
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    plots = [_history(found), _courses(found), *(_effect(found, key) for key in found.sweep.parameters)]
    figures = "".join(f"<figure><figcaption>{escape(name)}</figcaption>{svg}</figure>" for name, svg in plots if svg)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}{OWN_STYLE}</style>'
        f"</head>\n<body><h1>{escape(title)}</h1><dl>{listed}</dl>"
        f'<div class="plots">{figures}</div><h2>Trials, the best first</h2>{_table(found)}</body></html>\n'
    )


def _states(found: Results) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in found.rows:
        counts[row.state] = counts.get(row.state, 0) + 1
    return counts


class _Scale:
    """Values -> places on one axis; by powers of ten where they span more than two of them."""

    def __init__(self, values: Sequence[float], start: float, end: float, log: bool | None = None) -> None:
        least, most = min(values), max(values)
        wide = least > 0 and most / least > 100
        self.log = (wide if log is None else log) and least > 0
        self.least, self.most = self._on(least), self._on(most)
        if self.least == self.most:
            self.least, self.most = self.least - 0.5, self.most + 0.5
        self.start, self.end = start, end

    def _on(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def place(self, value: float) -> float:
        share = (self._on(value) - self.least) / (self.most - self.least)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        span = self.most - self.least
        powers = range(math.ceil(self.least - 1e-9), math.floor(self.most + 1e-9) + 1)
        if self.log and len(powers) > 1:
            return [10.0**power for power in powers]
        places = [self.least + span * part / 4 for part in range(5)]
        return [10**place if self.log else place for place in places]


def _axes(x: _Scale, y: _Scale, name: str, labels: Sequence[tuple[float, str]]) -> str:
    parts = [
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.place(tick):.1f}" y2="{y.place(tick):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y.place(tick) + 4:.1f}" text-anchor="end">{tick:.3g}</text>'
        for tick in y.ticks()
    ]
    low = HEIGHT - BOTTOM
    parts += [
        f'<text x="{x.place(place):.1f}" y="{low + 16}" text-anchor="middle">{escape(text)}</text>'
        for place, text in labels
    ]
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">{escape(name)}</text>')
    return "".join(parts)


def _svg(inside: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{inside}</svg>'


def _dots(found: Results, points: Sequence[Point]) -> str:
    return "".join(
        f'<circle class="{"won" if row.number == found.best else "dot"}" cx="{x:.1f}" cy="{y:.1f}" '
        f'r="{5.5 if row.number == found.best else 4}"><title>{escape(_tip(found, row))}</title></circle>'
        for x, y, row in sorted(points, key=lambda point: point[2].number == found.best)
    )


def _tip(found: Results, row: Row) -> str:
    tried = "\n".join(f"{key}: {short(value)}" for key, value in row.values.items())
    return f"trial {row.number:03}\n{found.sweep.figure} {row.value:.5g}\n{tried}"


def _across(values: Sequence[float], log: bool | None = None) -> _Scale:
    return _Scale(values, LEFT + 10, WIDTH - RIGHT - 10, log)


def _up(values: Sequence[float]) -> _Scale:
    return _Scale(values, HEIGHT - BOTTOM - 6, TOP + 4)


def _history(found: Results) -> tuple[str, str]:
    rows = [row for row in found.rows if row.value is not None]
    if not rows:
        return "", ""
    x, y = _across([row.number for row in found.rows]), _up([row.value for row in rows if row.value is not None])
    points = [(x.place(row.number), y.place(row.value), row) for row in rows if row.value is not None]
    line, pick = "", max if found.sweep.maximizes else min
    so_far: list[float] = []
    for across, _, row in points:
        so_far.append(pick([*so_far[-1:], row.value or 0.0]))
        line += f"{'H' if line else 'M'}{across:.1f}" + (f"V{y.place(so_far[-1]):.1f}" if len(so_far) > 1 else "")
        line += f" {y.place(so_far[0]):.1f}" if len(so_far) == 1 else ""
    step = max(1, len(found.rows) // 8)
    labels = [(row.number, f"{row.number}") for row in found.rows[::step]]
    return "Trial by trial, and the best so far", _svg(
        _axes(x, y, "trial", labels) + f'<path class="sofar" d="{line}"/>' + _dots(found, points)
    )


def _courses(found: Results) -> tuple[str, str]:
    rows = [row for row in found.rows if len(row.course) > 1]
    if not rows:
        return "", ""
    x = _across([step for row in rows for step in row.course], log=False)
    y = _up([value for row in rows for value in row.course.values()])
    lines = ""
    for row in sorted(rows, key=lambda row: row.number == found.best):
        places = " ".join(f"{x.place(step):.1f},{y.place(value):.1f}" for step, value in sorted(row.course.items()))
        kind = "wins" if row.number == found.best else "course"
        lines += f'<polyline class="{kind}" points="{places}"><title>trial {row.number:03}</title></polyline>'
    labels = [(tick, f"{tick:.0f}") for tick in x.ticks()]
    return "While they trained", _svg(_axes(x, y, "step", labels) + lines)


def _effect(found: Results, key: str) -> tuple[str, str]:
    """The figure over the values of one key; values that are no numbers stand beside one another."""
    rows = [row for row in found.rows if row.value is not None and key in row.values]
    if not rows:
        return "", ""
    tried = [row.values[key] for row in rows]
    plain = all(isinstance(value, int | float) and not isinstance(value, bool) for value in tried)
    given = found.sweep.parameters[key]
    if plain and len(set(tried)) > 1:
        x = _across([float(value) for value in tried], None if isinstance(given, list) else given.log)
        places = [float(value) for value in tried]
        few = sorted(set(tried)) if isinstance(given, list) and len(set(tried)) <= 6 else x.ticks()
        labels = [(float(tick), f"{tick:.3g}") for tick in few]
    else:
        names = list(dict.fromkeys(short(value) for value in tried))
        x = _across([0, max(1, len(names) - 1)])
        places = [float(names.index(short(value))) for value in tried]
        labels = [(float(number), name[:18]) for number, name in enumerate(names)]
    y = _up([row.value for row in rows if row.value is not None])
    points = [(x.place(place), y.place(row.value or 0.0), row) for place, row in zip(places, rows, strict=True)]
    return key, _svg(_axes(x, y, key, labels) + _dots(found, points))


def _table(found: Results) -> str:
    names = ["trial", found.sweep.figure, *found.sweep.parameters, "state", "seconds"]
    head = "".join(f"<th{' class=left' * (name == 'state')}>{escape(name)}</th>" for name in names)
    body = ""
    for row in in_order(found):
        value = "" if row.value is None else f"{row.value:.5g}"
        tried = [short(row.values[key]) if key in row.values else "" for key in found.sweep.parameters]
        cells = "".join(f"<td>{escape(text)}</td>" for text in [f"{row.number:03}", value, *tried])
        state = escape(row.state + (f": {row.reason}" if row.reason else ""))
        best = ' class="best"' if row.number == found.best else ""
        body += f'<tr{best}>{cells}<td class="left">{state}</td><td>{row.seconds:.0f}</td></tr>'
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'
