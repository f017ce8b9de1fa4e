"""A stretch of rows -> their tokens, with the learned ones marked, as flat arrays. The work of one process on one
stretch: what it makes hangs on the rows alone, never on how many processes there are. Knows no other stretch."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.data.bad_rows import BadOne
from finetune.data.bare import BareTokenizer, Facts
from finetune.data.encoding import CallEncoder, Encoded, Encoder, difference, encoder_of
from finetune.data.files import ByteRange, DataFile, raw_rows
from finetune.data.sources import Found, Reading, meanings
from finetune.formats.meaning import BadRow, Row, Tokens
from finetune.rendering.labels import settings_of
from finetune.rendering.lengths import IGNORED, Lengths, Lost, is_plain_text, pieces_of
from finetune.rendering.rows import RowTexts, Text, Unlearned
from finetune.rendering.specials import Specials

LEARNED = 1 << 31
"""Set in a stored token that is learned; ids are far below."""
BATCH_ROWS = 64
LONG_TEXT = 2**16
"""Characters of a text by which two ways to tokenize are compared."""
Span = tuple[int, int]


@dataclass(frozen=True)
class Setup:
    """What every process is told once. `readings`: one for each entry of the recipe's data; `labels`: the settings of
    LabelSettings that an entry's group names; `digests`: whether each row's is wanted."""

    facts: Facts
    readings: Sequence[Reading]
    labels: Sequence[Mapping[str, Any]]
    lengths: Lengths
    digests: bool
    exact: bool = False


@dataclass(frozen=True)
class Stretch:
    """Rows of one entry: the lines of a file that begin in a range, or rows that were read already."""

    entry: int
    file: DataFile | None = None
    part: ByteRange | None = None
    rows: Sequence[Found] = ()

    def found(self) -> Iterator[Found]:
        if self.file is None:
            return iter(self.rows)
        file = self.file
        return ((file.name, number, raw) for number, raw in raw_rows(file, self.part))


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
    stop_ids: frozenset[int] = frozenset()


class TokensDiffer(Exception):
    """Two ways to tokenize, of which one was proved to be the other, gave different tokens."""


class Maker:
    """Makes chunks in one process. `tokenizer`: the loaded one itself, where its facts do not say all."""

    def __init__(self, setup: Setup, tokenizer: Any = None) -> None:
        self.setup = setup
        tokenizer = tokenizer or BareTokenizer(setup.facts)
        specials = Specials(tokenizer)
        self.texts = [RowTexts(tokenizer, settings_of(settings), specials) for settings in setup.labels]
        self.encoder: Encoder
        self.encoder, self.why = encoder_of(setup.facts.rules, exact=setup.exact)
        if not isinstance(tokenizer, BareTokenizer):
            self.encoder, self.why = CallEncoder(tokenizer), "it does more than its tokenizer.json says"

    def chunk(self, stretch: Stretch) -> Chunk:
        made = _Growing(Chunk(stretch.entry), self.setup)
        rows: list[Row] = []
        for row in meanings(made.passing(stretch.found()), self.setup.readings[stretch.entry]):
            if isinstance(row, BadOne):
                made.chunk.bad.append(row)
                continue
            rows.append(row)
            if len(rows) == BATCH_ROWS:
                self._add(rows, made)
                rows = []
        self._add(rows, made)
        made.chunk.stop_ids = frozenset(stop for texts in self.texts for stop in texts.stop_ids)
        return made.finished()

    def _add(self, rows: Sequence[Row], made: "_Growing") -> None:
        texts = [self._texts(row, made) for row in rows]
        whole = [text.text for _, several in texts for text in several if isinstance(text, Text) and text.whole]
        if not made.checked and whole:
            made.checked = True
            if wrong := difference([whole[0][:LONG_TEXT]], self.encoder, self.encoder.exact):
                raise TokensDiffer(wrong)
        encoded = iter(self.encoder.encode(whole))
        for row, (number, several) in zip(rows, texts, strict=True):
            for text in several:
                self._add_text(row, number, text, encoded, made)

    def _texts(self, row: Row, made: "_Growing") -> tuple[int, Sequence[Text | Tokens]]:
        number = made.row(row)
        if isinstance(row.meaning, Tokens):
            return number, [row.meaning]
        try:
            texts = self.texts[row.group].texts(row.meaning)
            for text in texts:
                if not text.text.isascii():
                    text.text.encode("utf-8")
        except UnicodeEncodeError as bad:
            made.chunk.refused.append((number, f"half a surrogate pair at character {bad.start}"))
            return number, []
        except BadRow as bad:
            made.chunk.refused.append((number, str(bad)))
            return number, []
        if not texts:
            made.lost(number).too_short += 1
        elif texts[0].special and not texts[0].plain:
            made.chunk.special[number] = texts[0].special
        return number, texts

    def _add_text(
        self, row: Row, number: int, text: Text | Tokens, encoded: Iterator[Encoded], made: "_Growing"
    ) -> None:
        try:
            if isinstance(text, Tokens):
                ids, runs = _of_tokens(text)
            elif text.whole:
                one = next(encoded)
                spans = one.placed(text.text, text.spans)
                ids = one.ids
                masked = one.placed(text.text, text.masked)
                runs = self.texts[row.group].learned(text, spans, ids, (one.starts, one.ends), masked)
            else:
                ids, offsets = self.texts[row.group].encoded(text)
                edges = [start for start, _ in offsets], [end for _, end in offsets]
                runs = self.texts[row.group].learned(text, text.spans, ids, edges, text.masked)
        except Unlearned:
            made.lost(number).unlearned += 1
        except BadRow as bad:
            made.chunk.refused.append((number, str(bad)))
        else:
            made.add(number, ids, runs, is_plain_text(row.meaning))


def _of_tokens(row: Tokens) -> tuple[Any, list[Span]]:
    """BadRow if a label is another token than the one it stands at: the trainer learns the token itself."""
    runs: list[Span] = []
    for place, (token, label) in enumerate(zip(row.input_ids, row.labels, strict=True)):
        if label == IGNORED:
            continue
        if label != token:
            raise BadRow(f"label {place + 1} is {label}, and the token there is {token}: a label is the token or -100")
        if runs and runs[-1][1] == place:
            runs[-1] = (runs[-1][0], place + 1)
        else:
            runs.append((place, place + 1))
    return row.input_ids, runs


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


class _Growing:
    """A chunk while it is made."""

    def __init__(self, chunk: Chunk, setup: Setup) -> None:
        self.chunk, self._setup, self.checked = chunk, setup, False
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
        if self._setup.digests:
            self._digests.append(bytes.fromhex(row.digest()))
        return len(self._numbers) - 1

    def lost(self, number: int) -> Lost:
        return self.chunk.lost.setdefault(number, Lost())

    def add(self, number: int, ids: Any, runs: Sequence[Span], plain: bool) -> None:
        import numpy

        tokens = numpy.array(ids, dtype=numpy.uint32)
        for start, end in runs:
            tokens[start:end] |= LEARNED
        lengths, parts = self._setup.lengths, [(0, len(tokens))]
        if not (plain and lengths.text_chunks == "joined"):
            lost = Lost()
            try:
                parts = pieces_of(_Labels(tokens), lengths, plain, lost)
            except ValueError as reason:
                self.chunk.too_long.append((number, f"it has {reason}"))
                return
            if lost != Lost():
                _sum_into(self.lost(number), lost)
        for start, end in parts:
            self._tokens.append(tokens[start:end])
            self._learned.append(_learned_within(runs, start, end))
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


def _sum_into(total: Lost, lost: Lost) -> None:
    for name, value in vars(lost).items():
        setattr(total, name, getattr(total, name) + value)
