"""Courses of figures as inline SVG: one chart per figure, a line per run or purpose. Knows no run and no file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 230, 62, 12, 10, 34
POINTS = 240
"""Points of a line, at most; more are thinned to means of neighbours."""
PURPOSES = ("train", "valid")
"""Kinds of lines that need no legend where they stand alone."""
Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """`kind`: a class of the page's style that colours it. `dots`: each point is a measurement of its own."""

    name: str
    points: Sequence[Point]
    kind: str
    dots: bool = False


def chart(title: str, lines: Sequence[Line], unit: str = "", wide: bool = False) -> str:
    """A figure with a caption, a legend where there are several lines, and each value at hand; empty without a number.
    `wide`: by powers of ten, if the values span more than one of them."""
    lines = [Line(line.name, points, line.kind, line.dots) for line in lines if (points := thinned(line.points))]
    if not lines:
        return ""
    every = [point for line in lines for point in line.points]
    values = sorted(y for _, y in every)
    log = wide and values[0] > 0 and values[-1] / values[0] > 20
    across = Scale([x for x, _ in every], LEFT + 4, WIDTH - RIGHT - 6)
    up = Scale(values, HEIGHT - BOTTOM - 4, TOP + 6, log)
    drawn = "".join(_line(line, across, up) for line in lines)
    legend = "".join(f'<span class="key {line.kind}">{escape(line.name)}</span>' for line in lines)
    keys = f'<div class="keys">{legend}</div>' if len(lines) > 1 or lines[0].kind not in PURPOSES else ""
    label = escape(f"{title}: {_spoken(lines)}", quote=True)
    extra = ", ".join([*([unit] if unit else []), *(["log scale"] if log else [])])
    caption = escape(title) + (f' <span class="soft">{escape(extra)}</span>' if extra else "")
    return (
        f'<figure><figcaption>{caption}</figcaption>{keys}<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{label}">{_axes(across, up)}{drawn}</svg></figure>'
    )


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most POINTS of them, in the order of their steps; values that are none are left out."""
    known = sorted((x, y) for x, y in points if math.isfinite(x) and math.isfinite(y))
    if len(known) <= POINTS:
        return known
    size = len(known) / POINTS
    groups = [known[int(number * size) : int((number + 1) * size)] for number in range(POINTS)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups if group]


class Scale:
    """Values -> places on an axis, with round ticks."""

    def __init__(self, values: Sequence[float], start: float, end: float, log: bool = False) -> None:
        self.log = log
        self.least, self.most = self._on(min(values)), self._on(max(values))
        if self.least == self.most:
            room = abs(self.least) / 10 or 0.5
            self.least, self.most = self.least - room, self.most + room
        self.start, self.end = start, end

    def _on(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def place(self, value: float) -> float:
        return self.start + (self._on(value) - self.least) / (self.most - self.least) * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.log:
            powers = range(math.floor(self.least), math.ceil(self.most) + 1)
            few = [10.0**power for power in powers]
            fine = [part * value for value in few for part in (1, 2, 5)] if len(few) < 5 else few
            return [value for value in fine if self.least - 1e-9 <= math.log10(value) <= self.most + 1e-9]
        step = 10 ** math.floor(math.log10((self.most - self.least) / 4))
        while (self.most - self.least) / step > 7:
            step *= 2.5 if f"{step:e}".startswith("2.0") else 2
        first = math.ceil(self.least / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.most / step + 1e-9) + 1)]


def short(value: float) -> str:
    """A number in few characters."""
    if value == 0:
        return "0"
    if math.isfinite(value) and abs(value) >= 10_000:
        return _thousands(value)
    return f"{value:.4g}" if abs(value) >= 0.001 else f"{value:.2g}".replace("e-0", "e-")


def _thousands(value: float) -> str:
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{sign}"
    return f"{value:.3g}"


def _axes(across: Scale, up: Scale) -> str:
    low = HEIGHT - BOTTOM
    parts = [
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up.place(tick):.1f}" y2="{up.place(tick):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{up.place(tick) + 4:.1f}" text-anchor="end">{short(tick)}</text>'
        for tick in up.ticks()
    ]
    parts += [
        f'<text x="{across.place(tick):.1f}" y="{low + 15}" text-anchor="middle">{short(tick)}</text>'
        for tick in across.ticks()
        if tick == int(tick)
    ]
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">step</text>')
    return "".join(parts)


def _line(line: Line, across: Scale, up: Scale) -> str:
    places = [(across.place(x), up.place(y), x, y) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in places)
    seen = "dot" if line.dots or len(places) == 1 else "touch"
    tips = "".join(
        f'<circle class="{seen}" cx="{x:.1f}" cy="{y:.1f}" r="{3 if seen == "dot" else 6}">'
        f"<title>{escape(line.name)}, step {step:g}: {value:.5g}</title></circle>"
        for x, y, step, value in places
    )
    return f'<g class="{line.kind}"><polyline class="line" points="{path}"/>{tips}</g>'


def _spoken(lines: Sequence[Line]) -> str:
    return "; ".join(f"{line.name} from {line.points[0][1]:.4g} to {line.points[-1][1]:.4g}" for line in lines)
