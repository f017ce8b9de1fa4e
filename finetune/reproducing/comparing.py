"""Two runs' folders -> how far their figures and weights are apart. Knows no recipe and decides no verdict."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

OF_TIME = re.compile(r".*(seconds|second|runtime|_time|_memory|memory_.*|_gib)|num_workers")
"""Figures that hang on the machine and the day."""
FIRST = ("loss", "grad_norm", "learning_rate", "eval_loss")
TINY = 1e-12


@dataclass(frozen=True)
class Figure:
    """One figure over all lines of metrics. `compared`: how often both runs have it; `equal`: to the last bit; `apart`:
    the largest relative difference, at `step`: `one` and `other`. `missing`: how often one run has it and the other
    not."""

    name: str
    compared: int
    equal: int
    apart: float = 0.0
    step: int | None = None
    one: Any = None
    other: Any = None
    missing: int = 0

    @property
    def is_equal(self) -> bool:
        return self.equal == self.compared and not self.missing

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def figures(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]], until: int | None) -> list[Figure]:
    """Of the lines of two metrics.jsonl. `until`: the last step that counts, where the first run was stopped there; its
    closing figures are of that stop."""
    before, after = _by_name(one, until), _by_name(other, until)
    names = [*(name for name in FIRST if name in before or name in after)]
    names += [name for name in {**before, **after} if name not in names]
    return [_figure(name, before.get(name, {}), after.get(name, {})) for name in names]


def _by_name(lines: Sequence[Mapping[str, Any]], until: int | None) -> dict[str, dict[tuple[int, int], Any]]:
    """Name -> (step, how often it stood at that step before) -> value."""
    found: dict[str, dict[tuple[int, int], Any]] = {}
    for line in lines:
        step = int(line.get("step", 0))
        if until is not None and (step > until or "train_loss" in line):
            continue
        for name, value in line.items():
            if name in ("step", "epoch") or OF_TIME.fullmatch(name):
                continue
            values = found.setdefault(name, {})
            values[step, sum(place[0] == step for place in values)] = value
    return found


def _figure(name: str, before: Mapping[Any, Any], after: Mapping[Any, Any]) -> Figure:
    both = sorted(before.keys() & after.keys())
    equal, worst = 0, (0.0, None, None, None)
    for place in both:
        one, other = before[place], after[place]
        apart = distance(one, other)
        equal += _same(one, other)
        if apart > worst[0]:
            worst = (apart, place[0], one, other)
    return Figure(name, len(both), equal, *worst, missing=len(before.keys() ^ after.keys()))


def distance(one: Any, other: Any) -> float:
    """Relative, of two numbers; infinite for what cannot be compared and is not the same."""
    if _same(one, other):
        return 0.0
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in (one, other)):
        return math.inf
    return float(abs(one - other) / max(abs(one), abs(other), TINY))


def _same(one: Any, other: Any) -> bool:
    """What is no number (NaN) in both runs is the same in both."""
    neither = all(isinstance(value, float) and math.isnan(value) for value in (one, other))
    return bool(neither or one == other)


@dataclass(frozen=True)
class Weights:
    """Of what was saved. `tensors`, how many are `equal` to the last bit, and `apart`: the norm of the difference over
    that of the first run's, all tensors together. `missing`: names that only one run has, or with another shape."""

    tensors: int
    equal: int
    apart: float
    missing: int = 0

    @property
    def is_equal(self) -> bool:
        return self.equal == self.tensors and not self.missing


def weights(one: Path, other: Path) -> Weights:
    """Of two folders with .safetensors files."""
    before, after = _tensors(one), _tensors(other)
    equal, square, whole, missing = 0, 0.0, 0.0, len(before.keys() ^ after.keys())
    for name in sorted(before.keys() & after.keys()):
        here, there = _read(before[name], name), _read(after[name], name)
        if here.shape != there.shape:
            missing += 1
            continue
        if here.dtype == there.dtype and bool((here == there).all()):
            equal += 1
        difference = (here.double() - there.double()).norm().item()
        square, whole = square + difference**2, whole + here.double().norm().item() ** 2
    return Weights(len(before.keys() & after.keys()), equal, math.sqrt(square / max(whole, TINY)), missing)


def _tensors(folder: Path) -> dict[str, Path]:
    return dict(_names(folder))


def _names(folder: Path) -> Iterator[tuple[str, Path]]:
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            yield from ((name, path) for name in file.keys())  # noqa: SIM118 - it is no mapping


def _read(path: Path, name: str) -> Any:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name)
