"""The values that a sweep tries: every combination of a grid, the ends of each range, overrides of the recipe. Pure;
knows no Optuna."""

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from finetune.recipe.data import DatasetEntry
from finetune.recipe.recipe import Recipe
from finetune.recipe.sweep import SweepRange, SweepSection
from finetune.recipe.writing import written

MOST = 10_000
"""Combinations of a grid at most."""
Values = Mapping[str, Any]
"""Recipe key -> the value that a trial gives it."""


def is_whole(key: str, span: SweepRange) -> bool:
    """Whether the range holds whole numbers only: its key takes no others, or its ends are whole and its key takes
    both."""
    name = key.rsplit(".", 1)[-1]
    known = Recipe.model_fields.get(key) or DatasetEntry.model_fields.get(name)
    kinds = str(known.annotation) if known else ""
    ends_whole = all(float(end).is_integer() for end in (span.min, span.max, span.step or 1))
    return "int" in kinds if "float" not in kinds else "int" in kinds and ends_whole


def listed(key: str, given: list[Any] | SweepRange) -> list[Any] | None:
    """Every value of a parameter, or None where a range has too many to list."""
    if isinstance(given, list):
        return given
    if step := given.step or (1 if is_whole(key, given) and not given.log else None):
        count = int((given.max - given.min) / step + 1e-9) + 1
        values = [round(given.min + number * step, 12) for number in range(min(count, MOST + 1))]
        return [int(value) for value in values] if is_whole(key, given) else values
    return None


def grid(sweep: SweepSection) -> list[Values] | None:
    """Every combination, in order; None where there are more than MOST, or some range cannot be listed."""
    choices = [listed(key, given) for key, given in sweep.parameters.items()]
    count = 1
    for values in choices:
        if values is None:
            return None
        count *= len(values)
    if count > MOST:
        return None
    rows = itertools.product(*(values for values in choices if values is not None))
    return [dict(zip(sweep.parameters, row, strict=True)) for row in rows]


def ends(sweep: SweepSection) -> Iterator[Values]:
    """Each parameter alone at each listed value, or at both ends of its range."""
    for key, given in sweep.parameters.items():
        values = given if isinstance(given, list) else [number(key, given, end) for end in (given.min, given.max)]
        yield from ({key: value} for value in values)


def number(key: str, span: SweepRange, value: float) -> float | int:
    return int(value) if is_whole(key, span) else value


def overrides(values: Values) -> list[str]:
    """As they would be written on the command line."""
    return [f"{key}={written(value)}" for key, value in values.items()]


def shown(values: Values) -> str:
    return ", ".join(f"{key}: {short(value)}" for key, value in values.items())


def short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
