"""Two Plans -> their differences, call by call and argument by argument. Knows no recipe and no library."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any

from finetune.plan import STAGES, Call, Plan

ABSENT = "(absent)"
"""Stands for the value of an argument that one of two Plans does not have."""
RUNTIME = "<made while running>"


@dataclass(frozen=True)
class Change:
    """One difference. `argument`: dotted where it lies inside another; empty: the call itself, which is there or not,
    or goes to another target. `number`: which of a stage's calls to the same target, from 1."""

    stage: str
    target: str
    argument: str
    one: Any
    other: Any
    number: int = 1

    @property
    def place(self) -> tuple[str, str, int, str]:
        return self.stage, self.target, self.number, self.argument


@dataclass(frozen=True)
class _Numbered:
    call: Call
    number: int


Pair = tuple[list[_Numbered], list[_Numbered]]


def compare(one: Plan, other: Plan) -> Iterator[Change]:
    """Every difference of the calls, in the order in which they are made."""
    for stage in STAGES:
        if one.texts[stage] == other.texts[stage]:
            continue
        before, after = _numbered(one.calls[stage]), _numbered(other.calls[stage])
        # Calls that are the same to the letter go first, so that one that is new is not taken for its neighbour.
        for same, mine, theirs in _aligned(before, after, lambda call: json.dumps(call.as_json(), sort_keys=True)):
            for _, here, there in [] if same else _aligned(mine, theirs, lambda call: call.target):
                yield from _paired(stage, here, there)


def _numbered(calls: Sequence[Call]) -> list[_Numbered]:
    targets = [call.target for call in calls]
    return [_Numbered(call, targets[: place + 1].count(call.target)) for place, call in enumerate(calls)]


def _aligned(
    one: list[_Numbered], other: list[_Numbered], text: Callable[[Call], str]
) -> Iterator[tuple[bool, list[_Numbered], list[_Numbered]]]:
    """Stretches of calls that stand for one another, and whether their texts are the same."""
    mine, theirs = ([text(item.call) for item in calls] for calls in (one, other))
    for tag, start, end, first, last in SequenceMatcher(None, mine, theirs, False).get_opcodes():
        yield tag == "equal", one[start:end], other[first:last]


def _paired(stage: str, one: list[_Numbered], other: list[_Numbered]) -> Iterator[Change]:
    for here, there in zip_longest(one, other):
        if here and there and here.call.target == there.call.target:
            for argument, mine, theirs in _arguments(_values(here.call), _values(there.call)):
                yield Change(stage, here.call.target, argument, mine, theirs, here.number)
        elif here and there and _name(here.call) == _name(there.call):
            yield Change(stage, here.call.target, "", here.call.target, there.call.target, here.number)
        else:
            if here:
                yield Change(stage, here.call.target, "", _values(here.call), ABSENT, here.number)
            if there:
                yield Change(stage, there.call.target, "", ABSENT, _values(there.call), there.number)


def _name(call: Call) -> str:
    return call.target.rsplit(".", 1)[-1]


def _values(call: Call) -> dict[str, Any]:
    return dict(call.arguments) | dict.fromkeys(call.runtime, RUNTIME)


def _arguments(one: Mapping[str, Any], other: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, Any, Any]]:
    for name in [*one, *(name for name in other if name not in one)]:
        here, there = one.get(name, ABSENT), other.get(name, ABSENT)
        # Mappings without a common key say two things; only then is the whole of them the difference.
        if isinstance(here, dict) and isinstance(there, dict) and here.keys() & there.keys() - {""}:
            yield from _arguments(here, there, f"{inside}{name}.")
        elif here != there or type(here) is not type(there):
            yield f"{inside}{name}", here, there
