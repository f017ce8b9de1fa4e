"""Figures of rows -> between which values they would lie with other rows of the kind: bootstrap over the rows, the same
draws for both models that are compared. Pure functions of arrays; knows no model and no text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

DRAWS = 2000
SLOW_DRAWS = 200
"""Of figures that are made anew from all texts of a draw."""
MIDDLE = (2.5, 97.5)
"""Percentiles between which 95 of 100 draws lie."""
SEED = 0
Statistic = Callable[[Any], Any]


@dataclass(frozen=True)
class Between:
    """A figure, and what it may well be: None where a single row, or none, allows no draw."""

    value: float
    low: float | None = None
    high: float | None = None

    def as_json(self) -> dict[str, float | None]:
        return {"value": _plain(self.value), "low": _plain(self.low), "high": _plain(self.high)}


def _plain(value: float | None) -> float | None:
    import math

    return value if value is not None and math.isfinite(value) else None


def drawn(rows: int, draws: int) -> Any:
    """Row numbers of each draw, int (draws, rows)."""
    import numpy

    return numpy.random.default_rng(SEED).integers(0, rows, (draws, rows))


def compared(sides: dict[str, Statistic], rows: int, draws: int = DRAWS) -> dict[str, Between]:
    """Each side's figure, and the difference where there are two. A statistic takes row numbers (N,) and gives a
    number."""
    import numpy

    everything = numpy.arange(rows)
    whole = {name: float(statistic(everything)) for name, statistic in sides.items()}
    if len(whole) == 2:
        base, tuned = whole.values()
        whole["difference"] = tuned - base
    if rows < 2:
        return {name: Between(value) for name, value in whole.items()}
    chosen = drawn(rows, draws)
    found = {name: numpy.array([statistic(one) for one in chosen], dtype=float) for name, statistic in sides.items()}
    if len(found) == 2:
        base_D, tuned_D = found.values()
        found["difference"] = tuned_D - base_D
    limits = {name: numpy.percentile(values, MIDDLE) for name, values in found.items()}
    return {name: Between(value, *map(float, limits[name])) for name, value in whole.items()}


def mean_of(values: Sequence[float]) -> Statistic:
    """The mean of each row's value."""
    import numpy

    known = numpy.asarray(values, dtype=float)
    return lambda chosen: known[chosen].mean()


def share_of(parts: Sequence[float], wholes: Sequence[float]) -> Statistic:
    """All parts over all wholes, as a loss over tokens is."""
    import numpy

    above, below = numpy.asarray(parts, dtype=float), numpy.asarray(wholes, dtype=float)
    return lambda chosen: above[chosen].sum() / max(below[chosen].sum(), 1e-12)
