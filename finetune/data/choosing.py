"""Which rows of a source are taken, and how often. Decided by numbers and digests alone: knows no file and no row.

What is drawn hangs on content and a seed, never on chance, so two machines draw the same."""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from finetune.errors import DataError

SLICE = re.compile(r"(?P<base>[^\[\]+]+)(\[(?P<start>-?\d+%?)?:(?P<end>-?\d+%?)?\])?")


@dataclass(frozen=True)
class Draw:
    """How many rows of a source are taken, as its entry in the recipe says."""

    max_rows: int | None = None
    weight: float = 1.0
    seed: int = 0
    unit: str = "rows"
    """Of what a fraction in `weight` is one: rows or tokens."""

    @property
    def takes_all(self) -> bool:
        """Whether each row is taken exactly once, so that no digest is needed."""
        return self.max_rows is None and self.weight == 1


def copies(digests: Sequence[str], draw: Draw, tokens: Sequence[int] = ()) -> list[int]:
    """How often each row is taken. Exact: the sum is the weight times the rows (at most max_rows), rounded half up; by
    tokens, of which each row has `tokens`, the rows come as near as they can to that share of them.

    Rows are drawn in the order of a hash of seed and digest; equal rows in the order in which they stand."""
    if draw.takes_all:
        return [1] * len(digests)
    order = sorted(range(len(digests)), key=lambda place: (_rank(digests[place], draw.seed), place))
    taken = order if draw.max_rows is None else order[: draw.max_rows]
    weight = Fraction(str(draw.weight))
    whole, part = divmod(weight, 1)
    once_more = _nearest([tokens[place] for place in taken], part) if draw.unit == "tokens" else _half_up(taken, part)
    found = [0] * len(digests)
    for number, place in enumerate(taken):
        found[place] = int(whole) + (number < once_more)
    return found


def _half_up(taken: Sequence[int], part: Fraction) -> int:
    return math.floor(len(taken) * part + Fraction(1, 2))


def _nearest(tokens: Sequence[int], part: Fraction) -> int:
    """How many of the first rows hold a share of all tokens, as nearly as can be."""
    wanted, have = sum(tokens) * part, 0
    for number, count in enumerate(tokens):
        if abs(have + count - wanted) >= abs(have - wanted) and count:
            return number
        have += count
    return len(tokens)


def _rank(digest: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{digest}".encode()).digest()


@dataclass(frozen=True)
class Cut:
    """The places (from 0) of a source that are read: those in one of the spans, and of them each `shards`-th."""

    spans: tuple[tuple[int, int], ...] | None = None
    shards: int = 1
    shards_idx: int = 0

    def takes(self, place: int) -> bool:
        if self.spans is not None and not any(start <= place < end for start, end in self.spans):
            return False
        return place % self.shards == self.shards_idx

    @property
    def everything(self) -> bool:
        return self.spans is None and self.shards == 1

    @property
    def end(self) -> float:
        """The place from which on nothing is taken."""
        return math.inf if self.spans is None else max((end for _, end in self.spans), default=0)


def base_of(split: str) -> str:
    """The split's name without its slice."""
    return next(_parts(split))["base"]


def needs_count(split: str) -> bool:
    """Whether the slice can only be found by counting the rows: it has a percentage or counts from the end."""
    return any("%" in edge or edge.startswith("-") for part in _parts(split) for edge in _edges(part))


def spans_of(split: str, count: int | None) -> tuple[tuple[int, int], ...] | None:
    """The places that a split such as train[:10%] names among `count` rows; None if it names all. Percentages are
    rounded to the nearest row."""
    parts = list(_parts(split))
    if len(parts) == 1 and "[" not in split:
        return None
    last = 2**63 if count is None else count
    return tuple((_place(part["start"], 0, last), _place(part["end"], last, last)) for part in parts)


def _edges(part: re.Match[str]) -> Iterator[str]:
    yield from (edge for edge in (part["start"], part["end"]) if edge)


def _parts(split: str) -> Iterator[re.Match[str]]:
    for text in split.split("+"):
        part = SLICE.fullmatch(text.strip())
        if part is None:
            raise DataError(f"datasets.split: {split!r} cannot be read; write train, train[:100] or train[10%:20%]")
        yield part


def _place(edge: str | None, default: int, count: int) -> int:
    if edge is None:
        return default
    number = int(edge.rstrip("%"))
    if edge.endswith("%"):
        if abs(number) > 100:
            raise DataError(f"datasets.split: {edge} is more than all rows")
        number = math.floor(Fraction(number * count, 100) + Fraction(1, 2))
    return min(max(number + count if number < 0 else number, 0), count)
