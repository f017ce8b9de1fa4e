"""Rows -> examples: tokens and labels, decided here once. Knows the recipe's lengths and what is learned; knows no
trainer and no padding."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.data.bad_rows import BadOne, BadRows
from finetune.errors import DataError, ModelError
from finetune.formats.meaning import BadRow, Row, Tokens
from finetune.rendering.labels import settings_of
from finetune.rendering.lengths import IGNORED, Joiner, Lengths, Losses, Lost, is_plain_text, pieces_of, refuse_losses
from finetune.rendering.rows import RowTexts, Unlearned
from finetune.rendering.specials import Specials
from finetune.rendering.texts import Text

BATCH_ROWS = 1000


@dataclass(frozen=True)
class Example:
    """Token ids and labels of one row, equally long; a label is the token itself or -100. `source` and `row`: where it
    came from; of texts that were joined, the last."""

    input_ids: list[int]
    labels: list[int]
    source: str = ""
    row: int = 0


@dataclass
class Counted:
    """What became of one purpose's rows. Tokens are those of the kept examples; `lost_tokens` are learned ones of rows
    that were dropped or cut. `sources`: the same for each source."""

    rows: int = 0
    kept: int = 0
    dropped: int = 0
    truncated: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    lost_tokens: int = 0
    sources: dict[str, Lost] = field(default_factory=dict)
    special: dict[str, dict[int, tuple[str, ...]]] = field(default_factory=dict)
    """Source -> row -> special-token texts that its content holds."""

    @property
    def trained_share(self) -> float:
        return self.trained_tokens / self.tokens if self.tokens else 0.0

    def sum_up(self, examples: list[Example]) -> None:
        self.kept = len(examples)
        self.dropped = sum(lost.dropped for lost in self.sources.values())
        self.truncated = sum(lost.truncated for lost in self.sources.values())
        self.lost_tokens = sum(lost.trained_tokens for lost in self.sources.values())
        self.tokens = sum(len(example.input_ids) for example in examples)
        self.trained_tokens = sum(label != IGNORED for example in examples for label in example.labels)


@dataclass(frozen=True)
class Tokenized:
    examples: list[Example]
    counted: Counted
    stop_ids: tuple[int, ...] = ()
    """Tokens that end an answer: the template's turn end and the tokenizer's own end of sequence."""
    skipped: list[BadOne] = field(default_factory=list)


@dataclass
class _Work:
    """What tokenize_rows carries from batch to batch."""

    tokenizer: Any
    lengths: Lengths
    texts: Sequence[RowTexts]
    losses: Losses
    bad: BadRows
    too_long: BadRows = field(default_factory=BadRows)
    special: dict[str, dict[int, tuple[str, ...]]] = field(default_factory=dict)
    """Source -> row -> the special-token texts in its content."""
    unwritten: Row | None = None
    """The last row with letters that the tokenizer cannot write."""

    def texts_of(self, row: Row) -> RowTexts:
        return self.texts[row.group if row.group < len(self.texts) else 0]

    def encoded(self, texts: list[str]) -> Mapping[str, Any]:
        how = {"add_special_tokens": False, "return_offsets_mapping": True, "verbose": False}
        found: Mapping[str, Any] = self.tokenizer(texts, **how) if texts else {}
        return found

    def look_for_unknown(self, row: Row, ids: Sequence[int]) -> None:
        """Once for each row, whose texts come one after the other."""
        unknown = self.texts_of(row).unknown
        if unknown is not None and row is not self.unwritten and unknown in ids:
            self.losses.of(row.source).unknown += 1
            self.unwritten = row

    def refuse(self, row: Row, why: str) -> None:
        self.bad.rows.append(BadOne(row.source, row.number, why))


def tokenize_rows(
    *,
    rows: Sequence[Row],
    tokenizer: Any,
    lengths: Mapping[str, Any],
    labels: Sequence[Mapping[str, Any]],
    on_bad_row: str = "error",
) -> Tokenized:
    """Examples in the rows' order. `lengths`: those of Lengths; `labels`: those of
    LabelSettings for each entry of the recipe's data, in order. DataError for rows the template refuses or that teach
    nothing, unless bad rows are skipped; for rows that are too long under `error`; if too many or all are lost."""
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError("this tokenizer gives no character offsets (it is a slow one), so labels cannot be placed")
    specials = Specials(tokenizer)
    texts = [RowTexts(tokenizer, settings_of(settings), specials) for settings in labels]
    work = _Work(tokenizer, Lengths(**lengths), texts, Losses(), BadRows(on_bad_row))
    examples = list(_examples(rows, work))
    for bad in work.bad.settle():
        work.losses.of(bad.source).skipped += 1
    work.too_long.settle()
    counted = Counted(len(rows), sources=work.losses.sources)
    counted.sum_up(examples)
    if not examples:
        raise nothing_left(counted, work.lengths)
    refuse_losses(counted.sources, work.lengths.max_dropped_share)
    counted.special = work.special
    stop_ids = tuple(sorted({stop for text in texts for stop in text.stop_ids}))
    return Tokenized(examples, counted, stop_ids, work.bad.rows)


def _examples(rows: Sequence[Row], work: _Work) -> Iterator[Example]:
    joiner = Joiner(work.lengths.sequence_len)
    for start in range(0, len(rows), BATCH_ROWS):
        batch = rows[start : start + BATCH_ROWS]
        for row in batch:
            work.losses.of(row.source).rows += 1
        for row, example in _tokenized(batch, work):
            if work.lengths.text_chunks == "joined" and is_plain_text(row.meaning):
                for part in joiner.add(example.input_ids, example.labels):
                    yield Example(*part, row.source, row.number)
            else:
                yield from _fitted(example, row, work)
    yield from (Example(*part) for part in joiner.rest())


def nothing_left(counted: Counted, lengths: Lengths, purpose: str = "") -> DataError:
    """`purpose`: what the rows are for, where that needs saying."""
    sources = ", ".join(sorted(counted.sources))
    left = f"none of the {counted.rows} {purpose + ' ' * bool(purpose)}rows of {sources} is left"
    if sum(lost.unlearned for lost in counted.sources.values()) > counted.dropped:
        return DataError(
            f"{left}: by their own flags, and by roles_to_train, nothing in them is learned. Name the roles whose "
            "turns are, for example roles_to_train: [assistant]"
        )
    if sum(lost.skipped for lost in counted.sources.values()) > counted.dropped / 2:
        return DataError(f"{left}: they are bad, and on_bad_row: skip leaves such rows out. Set error to see why")
    if sum(lost.too_short for lost in counted.sources.values()) > counted.dropped / 2:
        return DataError(f"{left}: they are empty, or shorter than min_sample_len: {lengths.min_sample_len}")
    if lengths.kept_free:
        whole = lengths.sequence_len + lengths.kept_free
        return DataError(
            f"{left}: no question fits into the {lengths.sequence_len} tokens that trl.max_completion_length: "
            f"{lengths.kept_free} leaves of sequence_len: {whole}. Raise the one, or lower the other"
        )
    cut = "" if lengths.excess_length_strategy != "drop" else ", or set excess_length_strategy: truncate"
    tokens, many = (
        sum(getattr(lost, name) for lost in counted.sources.values()) for name in ("long_tokens", "too_long")
    )
    average = f", with {tokens / many:,.0f} tokens a row on average" if tokens else ""
    return DataError(f"{left}: no answer fits into sequence_len: {lengths.sequence_len}{average}. Raise it{cut}")


def _tokenized(batch: Sequence[Row], work: _Work) -> Iterator[tuple[Row, Example]]:
    made: list[tuple[Row, Text | Example]] = []
    for row in batch:
        try:
            if isinstance(row.meaning, Tokens):
                made.append((row, Example(list(row.meaning.input_ids), list(row.meaning.labels))))
                continue
            texts_of_row = work.texts_of(row).texts(row.meaning)
            lost = work.losses.of(row.source)
            lost.too_short += not texts_of_row
            lost.note(texts_of_row[0].noted if texts_of_row else ())
            for text in texts_of_row:
                text.text.encode("utf-8")
                made.append((row, text))
                if text.special and not text.plain:
                    work.special.setdefault(row.source, {}).setdefault(row.number, text.special)
        except UnicodeEncodeError as bad:
            work.refuse(row, f"half a surrogate pair at character {bad.start}")
        except BadRow as bad:
            work.refuse(row, str(bad))
    whole = [thing.text for _, thing in made if isinstance(thing, Text) and thing.whole]
    encoded = work.encoded(whole)
    tokens = zip(encoded.get("input_ids", ()), encoded.get("offset_mapping", ()), strict=True)
    for row, thing in made:
        if isinstance(thing, Example):
            yield row, thing
            continue
        texts = work.texts_of(row)
        ids, offsets = next(tokens) if thing.whole else texts.encoded(thing)
        work.look_for_unknown(row, ids)
        try:
            labels = texts.labels(thing, ids, offsets)
        except Unlearned:
            work.losses.of(row.source).unlearned += 1
            continue
        except BadRow as bad:
            work.refuse(row, str(bad))
            continue
        yield row, Example(ids, labels)


def _fitted(example: Example, row: Row, work: _Work) -> Iterator[Example]:
    """The example, or what is left of it if it is longer than sequence_len."""
    plain = is_plain_text(row.meaning)
    try:
        parts = pieces_of(example.labels, work.lengths, plain, work.losses.of(row.source))
    except ValueError as reason:
        work.too_long.rows.append(BadOne(row.source, row.number, f"it has {reason}"))
        return
    for start, end in parts:
        yield Example(example.input_ids[start:end], example.labels[start:end], row.source, row.number)
