"""Rows -> examples: tokens and labels, decided here once. Knows the recipe's lengths and what is learned; knows no
trainer and no padding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.errors import DataError, Fault, ModelError, Where
from finetune.formats.meaning import BadRow, Conversation, Row, Segments
from finetune.rendering.conversation import Span, TurnEnd, find_turn_end, render_spans

IGNORED = -100
"""Label of a token that the loss skips: torch cross_entropy's ignore_index."""
BATCH_ROWS = 1000
FAULTS_SHOWN = 10


@dataclass(frozen=True)
class Example:
    """Token ids and labels of one row, equally long; a label is the token itself or -100."""

    input_ids: list[int]
    labels: list[int]


@dataclass
class Counted:
    """What became of one purpose's rows. Tokens are those of the kept examples."""

    rows: int = 0
    kept: int = 0
    dropped: int = 0
    truncated: int = 0
    tokens: int = 0
    trained_tokens: int = 0

    @property
    def trained_share(self) -> float:
        return self.trained_tokens / self.tokens if self.tokens else 0.0


@dataclass(frozen=True)
class Tokenized:
    examples: list[Example]
    counted: Counted
    stop_ids: tuple[int, ...] = ()
    """Tokens that end an answer: the template's turn end and the tokenizer's own end of sequence."""


@dataclass
class _Work:
    """What tokenize_rows carries from batch to batch."""

    tokenizer: Any
    sequence_len: int
    strategy: str
    train_on_inputs: bool
    counted: Counted
    faults: list[Fault] = field(default_factory=list)
    turn_end: TurnEnd | None = None
    special_ids: frozenset[int] = frozenset()


def tokenize_rows(
    *,
    rows: Sequence[Row],
    tokenizer: Any,
    sequence_len: int,
    excess_length_strategy: str,
    train_on_inputs: bool,
) -> Tokenized:
    """Examples in the rows' order. DataError for rows the template refuses, that teach nothing, that are too long under
    `error`, or if none is left."""
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError("this tokenizer gives no character offsets (it is a slow one), so labels cannot be placed")
    counted = Counted(rows=len(rows))
    work = _Work(tokenizer, sequence_len, excess_length_strategy, train_on_inputs, counted)
    work.special_ids = frozenset(tokenizer.all_special_ids) | frozenset(tokenizer.added_tokens_decoder)
    if any(isinstance(row.meaning, Conversation) for row in rows):
        work.turn_end = find_turn_end(tokenizer)
    examples: list[Example] = []
    for start in range(0, len(rows), BATCH_ROWS):
        batch = rows[start : start + BATCH_ROWS]
        for row, example in _tokenized(batch, work):
            kept = _fitted(example, row, work)
            if kept is not None:
                examples.append(kept)
    if work.faults:
        more = len(work.faults) - FAULTS_SHOWN
        last = [Fault(f"{more} more rows are bad too")] if more > 0 else []
        raise DataError(*work.faults[:FAULTS_SHOWN], *last)
    if not examples:
        sources = ", ".join(sorted({row.source for row in rows}))
        cut = "" if excess_length_strategy == "truncate" else ", or set excess_length_strategy: truncate"
        raise DataError(
            f"none of the {len(rows)} rows of {sources} is left: no answer fits into sequence_len: {sequence_len}. "
            f"Raise it{cut}"
        )
    counted.kept = len(examples)
    counted.tokens = sum(len(example.input_ids) for example in examples)
    counted.trained_tokens = sum(label != IGNORED for example in examples for label in example.labels)
    ends = {tokenizer.eos_token_id} | ({work.turn_end.token_id} if work.turn_end else set())
    return Tokenized(examples, counted, tuple(sorted(ends)))


def _tokenized(batch: Sequence[Row], work: _Work) -> Iterator[tuple[Row, Example]]:
    texts: list[tuple[Row, str, list[Span]]] = []
    for row in batch:
        try:
            text, spans = text_and_spans(row.meaning, work.tokenizer, work.turn_end)
            text.encode("utf-8")
            texts.append((row, text, spans))
        except UnicodeEncodeError as bad:
            work.faults.append(
                Fault(f"row {row.number}: half a surrogate pair at character {bad.start}", Where(row.source))
            )
        except BadRow as bad:
            work.faults.append(Fault(f"row {row.number}: {bad}", Where(row.source)))
    if not texts:
        return
    encoded = work.tokenizer(
        [text for _, text, _ in texts], add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    for (row, _, spans), ids, offsets in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        labels = list(ids) if work.train_on_inputs else _labels(ids, offsets, spans, work.special_ids)
        fault = _broken_contract(ids, labels, work)
        if fault:
            work.faults.append(Fault(f"row {row.number}: {fault}", Where(row.source)))
        else:
            yield row, Example(ids, labels)


def text_and_spans(
    meaning: Conversation | Segments, tokenizer: Any, turn_end: TurnEnd | None
) -> tuple[str, list[Span]]:
    """A row's text and the character spans that are learned. BadRow if the template refuses it."""
    if isinstance(meaning, Conversation):
        assert turn_end is not None
        return render_spans(tokenizer, meaning, turn_end)
    text, spans = begin_of_text(tokenizer), []
    for piece, learned in (*meaning.pieces, (tokenizer.eos_token, True)):
        if learned:
            spans.append((len(text), len(text) + len(piece)))
        text += piece
    return text, spans


def begin_of_text(tokenizer: Any) -> str:
    """The begin-of-sequence token where this tokenizer puts one before plain text, else nothing."""
    begins = tokenizer("a", add_special_tokens=True)["input_ids"][:1] == [tokenizer.bos_token_id]
    return str(tokenizer.bos_token) if tokenizer.bos_token and begins else ""


def _labels(
    ids: list[int], offsets: list[tuple[int, int]], spans: list[Span], special_ids: frozenset[int]
) -> list[int]:
    """A token is learned if it has a character inside a span; a marker that swallows the space after it is not."""
    labels = [IGNORED] * len(ids)
    place = 0
    for start, end in spans:
        while place < len(ids) and offsets[place][1] <= start:
            place += 1
        while place < len(ids) and offsets[place][0] < end:
            marker = offsets[place][0] < start and ids[place] in special_ids
            if offsets[place][0] < offsets[place][1] and not marker:
                labels[place] = ids[place]
            place += 1
    return labels


def _broken_contract(ids: list[int], labels: list[int], work: _Work) -> str | None:
    """Why an uncut row must not be trained on: two begin tokens, nothing learned, or an end token that is not learned
    at the very end (those of earlier turns are checked where their spans are made)."""
    begin = work.tokenizer.bos_token_id
    if begin is not None and ids[:2] == [begin, begin]:
        return "the text begins with two begin-of-sequence tokens; the template writes one and the data holds another"
    learned = [label for label in labels if label != IGNORED]
    if not learned:
        return "nothing in it is learned: there is no assistant turn. Remove the row, or set train_on_inputs: true"
    end = work.turn_end.token_id if work.turn_end else work.tokenizer.eos_token_id
    if not work.train_on_inputs and learned[-1] != end and work.tokenizer.eos_token_id != learned[-1]:
        return "the token that ends the assistant's turn is not learned, so the model would not stop"
    return None


def _fitted(example: Example, row: Row, work: _Work) -> Example | None:
    """The example, cut or dropped if it is longer than sequence_len."""
    if len(example.input_ids) <= work.sequence_len:
        return example
    if work.strategy == "error":
        message = f"row {row.number} has {len(example.input_ids)} tokens, more than sequence_len: {work.sequence_len}"
        work.faults.append(Fault(message, Where(row.source)))
        return None
    cut = Example(example.input_ids[: work.sequence_len], example.labels[: work.sequence_len])
    if work.strategy == "truncate" and any(label != IGNORED for label in cut.labels):
        work.counted.truncated += 1
        return cut
    work.counted.dropped += 1
    return None
