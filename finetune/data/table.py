"""All rows that were read, as columns of numbers: where each came from, what it says (its digest) and which tokens it
has. Collects chunks and writes their tokens to one file; holds no text and no token in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from finetune.data.bad_rows import BadOne
from finetune.data.growing import Chunk
from finetune.rendering.lengths import Lost

ROW_COLUMNS = ("numbers", "plain", "examples", "digests")
EXAMPLE_COLUMNS = ("lengths", "learned")


@dataclass
class Said:
    """What one entry's rows gave rise to: how many were read, which could not be, and hashes of their own `id`."""

    seen: int = 0
    bad: list[BadOne] = field(default_factory=list)
    ids: list[Any] = field(default_factory=list)
    examples: int = 0
    tokens: int = 0
    first: int = 0
    last: int = 0
    """Its rows in the table, from and to (not included)."""


@dataclass
class Table:
    """Columns by row: `numbers`, `names` (a place in `sources`), `plain`, `examples` (how many it gives), `digests`; by
    example: `lengths`, `learned` and `starts` (its first token in the file of tokens). `first_example`: of each row."""

    sources: list[str]
    numbers: Any
    names: Any
    plain: Any
    examples: Any
    digests: Any
    lengths: Any
    learned: Any
    starts: Any
    first_example: Any
    lost: dict[int, Lost]
    refused: dict[int, str]
    too_long: dict[int, str]
    special: dict[int, tuple[str, ...]]
    besides: dict[int, str]
    said: dict[int, Said]
    stop_ids: tuple[int, ...]

    def bad_one(self, row: int, why: str) -> BadOne:
        return BadOne(self.sources[self.names[row]], int(self.numbers[row]), why)


class Collector:
    """Takes chunks in order and gives the table."""

    def __init__(self, tokens: IO[bytes], enough: Sequence[Mapping[str, int | None] | None]) -> None:
        self._tokens = tokens
        self._columns: dict[str, list[Any]] = {name: [] for name in (*ROW_COLUMNS, *EXAMPLE_COLUMNS, "names")}
        self._sources: dict[str, int] = {}
        self._said = {number: Said() for number in range(len(enough))}
        self._enough = enough
        self._by_row: tuple[dict[int, Any], ...] = ({}, {}, {}, {}, {})
        self._stop_ids: set[int] = set()
        self.rows = self.count = 0
        """How many rows and tokens there are so far."""

    def add(self, chunk: Chunk) -> None:
        import numpy

        if self.has_enough(chunk.entry):
            return
        for name in (*ROW_COLUMNS, *EXAMPLE_COLUMNS):
            self._columns[name].append(getattr(chunk, name))
        places = [self._sources.setdefault(name, len(self._sources)) for name in chunk.names]
        self._columns["names"].append(numpy.array(places, dtype=numpy.int32)[chunk.files])
        self._tokens.write(memoryview(chunk.tokens))
        by_row: tuple[dict[int, Any], ...] = (
            chunk.lost,
            dict(chunk.refused),
            dict(chunk.too_long),
            chunk.special,
            chunk.besides,
        )
        for total, found in zip(self._by_row, by_row, strict=True):
            total.update({self.rows + row: what for row, what in found.items()})
        said = self._said[chunk.entry]
        said.first = said.first if said.last else self.rows
        self.rows += len(chunk.numbers)
        self.count += len(chunk.tokens)
        said.seen, said.last = said.seen + chunk.seen, self.rows
        said.bad += chunk.bad
        said.ids.append(chunk.ids)
        said.examples += len(chunk.lengths)
        said.tokens += len(chunk.tokens)
        self._stop_ids |= chunk.stop_ids

    def has_enough(self, entry: int) -> bool:
        """Whether a streamed entry has given what it is to give; what it still gives is not taken, so that nothing
        hangs on how far ahead it was read."""
        wanted, said = self._enough[entry], self._said[entry]
        if wanted is None:
            return False
        have = {"max_rows": said.last - said.first, "examples": said.examples, "tokens": said.tokens}
        return any(limit is not None and have[name] >= limit for name, limit in wanted.items())

    def table(self) -> Table:
        import numpy

        empty = {"digests": numpy.empty((0, 4), dtype=">u8"), "plain": numpy.empty(0, dtype=bool)}
        whole = {
            name: numpy.concatenate([empty.get(name, numpy.empty(0, dtype=numpy.int32)), *parts])
            for name, parts in self._columns.items()
        }
        self._columns.clear()
        lost, refused, too_long, special, besides = self._by_row
        ends = numpy.cumsum(whole["lengths"], dtype=numpy.int64)
        lasts = numpy.cumsum(whole["examples"], dtype=numpy.int64)
        return Table(
            sources=list(self._sources),
            starts=ends - whole["lengths"],
            first_example=lasts - whole["examples"],
            lost=lost,
            refused=refused,
            too_long=too_long,
            special=special,
            besides=besides,
            said=self._said,
            stop_ids=tuple(sorted(self._stop_ids)),
            **whole,
        )


def examples_of(table: Table, rows: Any) -> Any:
    """The examples of rows, in order; a row that stands there twice gives them twice."""
    import numpy

    counts = table.examples[rows]
    firsts = table.first_example[rows]
    steps = numpy.arange(counts.sum()) - numpy.repeat(numpy.cumsum(counts) - counts, counts)
    return numpy.repeat(firsts, counts) + steps


def twice(ids: list[Any]) -> tuple[int, int]:
    """(how many of some hashes were there before, the place of the first of them)."""
    import numpy

    whole = numpy.concatenate([numpy.empty(0, dtype=numpy.uint64), *ids])
    _, firsts = numpy.unique(whole, return_index=True)
    again = numpy.ones(len(whole), dtype=bool)
    again[firsts] = False
    places = numpy.flatnonzero(again)
    return len(places), int(places[0]) if len(places) else -1
