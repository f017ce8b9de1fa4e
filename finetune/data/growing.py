"""A chunk while it is made: rows and examples as flat arrays, with the learned tokens marked. Knows lengths; knows no
text."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.data.bad_rows import BadOne
from finetune.data.sources import Found
from finetune.formats.meaning import Row
from finetune.rendering.lengths import IGNORED, Lengths, Lost, is_plain_text, pieces_of

LEARNED = 1 << 31
"""Set in a stored token that is learned; ids are far below."""
Span = tuple[int, int]


@dataclass
class Chunk:
    """What became of a stretch. By row: `numbers`, `files` (a place in `names`), `plain`, `digests`, `examples` (how
    many it gives). By example: `lengths`, `learned`. `tokens`: those of all examples, one after the other. Numbers of
    rows in `lost`, `refused`, `too_long` and `special` count from 0 in this chunk. `ids`: hashes of the rows' `id`."""

    entry: int
    seen: int = 0
    bad: list[BadOne] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    numbers: Any = None
    files: Any = None
    plain: Any = None
    digests: Any = None
    examples: Any = None
    lengths: Any = None
    learned: Any = None
    tokens: Any = None
    ids: Any = None
    lost: dict[int, Lost] = field(default_factory=dict)
    refused: list[tuple[int, str]] = field(default_factory=list)
    too_long: list[tuple[int, str]] = field(default_factory=list)
    special: dict[int, tuple[str, ...]] = field(default_factory=dict)
    besides: dict[int, str] = field(default_factory=dict)
    """Row -> what it says besides its tokens, as JSON."""
    stop_ids: frozenset[int] = frozenset()


class _Labels(Sequence[int]):
    """Labels of an example, spelled out only where its length makes somebody look at them."""

    def __init__(self, tokens: Any) -> None:
        self._tokens = tokens

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, place: Any) -> Any:
        import numpy

        learned = (self._tokens[place] & LEARNED) != 0
        return numpy.where(learned, 0, IGNORED).tolist()

    def __iter__(self) -> Iterator[int]:
        return iter(self[:])


class Growing:
    """A chunk while it is made."""

    def __init__(self, chunk: Chunk, lengths: Lengths) -> None:
        self.chunk, self._lengths, self.checked = chunk, lengths, False
        self._numbers: list[int] = []
        self._files: list[int] = []
        self._plain: list[bool] = []
        self._digests: list[bytes] = []
        self._examples: list[int] = []
        self._learned: list[int] = []
        self._tokens: list[Any] = []
        self._ids: list[bytes] = []

    def passing(self, found: Iterator[Found]) -> Iterator[Found]:
        for name, number, raw in found:
            self.chunk.seen += 1
            given = raw.get("id") if isinstance(raw, Mapping) else None
            if isinstance(given, str | int) and given != "":
                kind = type(given).__name__[0]
                self._ids.append(hashlib.blake2b(f"{kind}{given}".encode("utf-8", "replace"), digest_size=8).digest())
            yield name, number, raw

    def row(self, row: Row) -> int:
        if not self.chunk.names or self.chunk.names[-1] != row.source:
            self.chunk.names.append(row.source)
        self._files.append(len(self.chunk.names) - 1)
        self._numbers.append(row.number)
        self._plain.append(is_plain_text(row.meaning))
        self._examples.append(0)
        self._digests.append(bytes.fromhex(row.digest()))
        return len(self._numbers) - 1

    def lost(self, number: int) -> Lost:
        return self.chunk.lost.setdefault(number, Lost())

    def add(self, number: int, ids: Any, runs: Sequence[Span], plain: bool) -> None:
        import numpy

        tokens = numpy.array(ids, dtype=numpy.uint32)
        for start, end in runs:
            tokens[start:end] |= LEARNED
        lengths, parts = self._lengths, [(0, len(tokens))]
        if not (plain and lengths.text_chunks == "joined"):
            lost = Lost()
            try:
                parts = pieces_of(_Labels(tokens), lengths, plain, lost)
            except ValueError as reason:
                self.chunk.too_long.append((number, f"it has {reason}"))
                return
            if lost != Lost():
                sum_into(self.lost(number), lost)
        for start, end in parts:
            self._tokens.append(tokens[start:end])
            self._learned.append(_learned_within(runs, start, end))
            self._examples[number] += 1

    def put(self, number: int, ids: Sequence[int], runs: Sequence[Span]) -> None:
        """An example that fits."""
        import numpy

        tokens = numpy.array(ids, dtype=numpy.uint32)
        for start, end in runs:
            tokens[start:end] |= LEARNED
        self._tokens.append(tokens)
        self._learned.append(sum(end - start for start, end in runs))
        self._examples[number] += 1

    def finished(self) -> Chunk:
        import numpy

        chunk = self.chunk
        chunk.numbers = numpy.array(self._numbers, dtype=numpy.int64)
        chunk.files = numpy.array(self._files, dtype=numpy.int32)
        chunk.plain = numpy.array(self._plain, dtype=bool)
        chunk.examples = numpy.array(self._examples, dtype=numpy.int32)
        chunk.lengths = numpy.array([len(tokens) for tokens in self._tokens], dtype=numpy.int32)
        chunk.learned = numpy.array(self._learned, dtype=numpy.int32)
        chunk.tokens = numpy.concatenate([numpy.empty(0, dtype=numpy.uint32), *self._tokens])
        chunk.ids = numpy.frombuffer(b"".join(self._ids), dtype=numpy.uint64)
        chunk.digests = numpy.frombuffer(b"".join(self._digests), dtype=">u8").reshape(-1, 4)
        return chunk


def _learned_within(runs: Sequence[Span], start: int, end: int) -> int:
    return sum(max(0, min(last, end) - max(first, start)) for first, last in runs)


def sum_into(total: Lost, lost: Lost) -> None:
    for name, value in vars(lost).items():
        setattr(total, name, getattr(total, name) + value)
