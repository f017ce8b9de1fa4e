"""What becomes of rows that are too long or too short, and when too much is lost. Knows lengths and labels; knows no
tokenizer, no file and no trainer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from finetune.errors import DataError, Fault, Where
from finetune.formats.meaning import Meaning, Segments

IGNORED = -100
"""Label of a token that the loss skips: torch cross_entropy's ignore_index."""
LEAST = 2
"""Tokens of a row at least: one alone has nothing before it that could predict it."""
Piece = tuple[int, int]
"""Tokens of a row, from and to (not included)."""


@dataclass(frozen=True)
class Lengths:
    """The recipe's section on lengths. `text_chunks`: document, joined or whole, for plain text. Of preferences,
    judgements and questions: `max_prompt_len`, tokens of a question at most; `keeps_tail`, whether what stands behind
    an answer's end token is kept; `kept_free`: tokens of a row that the answer to a question has for itself, which
    sequence_len is without."""

    sequence_len: int
    excess_length_strategy: str = "drop"
    truncation_side: str = "right"
    min_sample_len: int = 0
    text_chunks: str = "document"
    max_dropped_share: float = 1.0
    max_prompt_len: int | None = None
    keeps_tail: bool = False
    kept_free: int = 0


@dataclass
class Lost:
    """What became of one source's rows. `skipped`: bad rows, where the recipe skips them; `trained_tokens`: learned
    tokens in what was dropped or cut off."""

    rows: int = 0
    too_long: int = 0
    too_short: int = 0
    skipped: int = 0
    truncated: int = 0
    divided: int = 0
    trained_tokens: int = 0
    long_tokens: int = 0
    """Tokens of the rows that were dropped because they are too long."""
    unlearned: int = 0
    """Rows that say themselves that none of their turns is learned; they are left out."""
    tools: int = 0
    reasoning: int = 0
    """Rows whose tools, or whose reasoning, the chat template never writes; they are kept."""
    empty: int = 0
    open: int = 0
    """Rows with an answer without a word, and those that end with a turn that is not learned; they are kept."""
    garbled: int = 0
    unknown: int = 0
    """Rows with letters that were read in a wrong encoding, or that the tokenizer cannot write; they are kept."""

    def note(self, counters: Sequence[str]) -> None:
        """Count a row that is kept, of which a person should hear: `tools`, `reasoning`, `empty`, `open`,
        `garbled`, `unknown`."""
        for name in counters:
            setattr(self, name, getattr(self, name) + 1)

    @property
    def dropped(self) -> int:
        return self.too_long + self.too_short + self.skipped

    @property
    def changed(self) -> bool:
        """Whether anything but whole rows was kept."""
        return bool(self.dropped or self.truncated or self.divided or self.unlearned)


@dataclass
class Losses:
    """Per source, in the order in which they came."""

    sources: dict[str, Lost] = field(default_factory=dict)

    def of(self, source: str) -> Lost:
        return self.sources.setdefault(source, Lost())


def is_plain_text(meaning: Meaning) -> bool:
    """Whether a row is text that is learned whole, as of `type: completion`."""
    return isinstance(meaning, Segments) and meaning.closed and all(learned for _, learned in meaning.pieces)


def pieces_of(labels: Sequence[int], lengths: Lengths, plain: bool, lost: Lost) -> list[Piece]:
    """What of a row's tokens is kept: all of it, one part, several parts one after the other, or nothing; counted in
    `lost`. ValueError, with the reason, if it is too long under `error`.

    A part in which nothing is learned is not kept."""
    size, limit = len(labels), lengths.sequence_len
    least = max(lengths.min_sample_len, LEAST)
    if size < least:
        lost.too_short += 1
        lost.trained_tokens += _learned(labels)
        return []
    if size <= limit:
        return [(0, size)]
    strategy = lengths.excess_length_strategy
    if plain and lengths.text_chunks == "document":
        strategy = "split"
    if strategy == "error":
        raise ValueError(f"{size} tokens, more than sequence_len: {limit}")
    parts = _parts(size, limit, strategy, lengths.truncation_side)
    kept = [part for part in parts if part[1] - part[0] >= least and _learned(labels[slice(*part)])]
    lost.trained_tokens += _learned(labels) - sum(_learned(labels[slice(*part)]) for part in kept)
    if not kept:
        lost.too_long += 1
        lost.long_tokens += size
    elif strategy == "split":
        lost.divided += 1
    else:
        lost.truncated += 1
    return kept


def _parts(size: int, limit: int, strategy: str, side: str) -> list[Piece]:
    if strategy == "split":
        return [(start, min(start + limit, size)) for start in range(0, size, limit)]
    if strategy == "truncate":
        return [(0, limit)] if side == "right" else [(size - limit, size)]
    return []


def _learned(labels: Sequence[int]) -> int:
    return sum(label != IGNORED for label in labels)


class Joiner:
    """Plain texts laid end to end and cut into parts of exactly `limit` tokens; the last part is what remains."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: list[int] = []
        self._labels: list[int] = []

    def add(self, ids: Sequence[int], labels: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
        self._ids.extend(ids)
        self._labels.extend(labels)
        full = len(self._ids) // self._limit * self._limit
        for start in range(0, full, self._limit):
            yield self._ids[start : start + self._limit], self._labels[start : start + self._limit]
        del self._ids[:full], self._labels[:full]

    def rest(self) -> Iterator[tuple[list[int], list[int]]]:
        if self._ids:
            yield self._ids, self._labels
        self._ids, self._labels = [], []


def refuse_losses(sources: Mapping[str, Lost], max_dropped_share: float) -> None:
    """DataError if a source lost a larger share of its rows than the recipe allows."""
    faults = [
        Fault(loss_text(lost) + _remedy(lost, max_dropped_share), Where(source))
        for source, lost in sources.items()
        if lost.rows and lost.dropped > max_dropped_share * lost.rows
    ]
    if faults:
        raise DataError(*faults)


def loss_text(lost: Lost) -> str:
    """What a source lost, in a sentence without its end."""
    average = f" with {lost.long_tokens / lost.too_long:,.0f} tokens on average" if lost.long_tokens else ""
    kinds = ((f"too long{average}", lost.too_long), ("too short", lost.too_short), ("bad", lost.skipped))
    why = ", ".join(f"{number} {kind}" for kind, number in kinds if number)
    cut = ", ".join(f"{number} {what}" for what, number in (("cut", lost.truncated), ("split", lost.divided)) if number)
    text = f"{lost.dropped} of {lost.rows} rows dropped" + (f" ({why})" if why else "")
    text += f", {lost.unlearned} with nothing to learn, by their own flags" if lost.unlearned else ""
    return text + (f", {cut}" if cut else "") + f", {lost.trained_tokens:,} trained tokens lost"


def _remedy(lost: Lost, share: float) -> str:
    largest = max((lost.too_long, "long"), (lost.too_short, "short"), (lost.skipped, "bad"))[1]
    remedy = {
        "long": "raise sequence_len, set excess_length_strategy: truncate or split",
        "short": "lower min_sample_len",
        "bad": "mend the rows that skipped_rows.jsonl lists",
    }[largest]
    return f"; more than max_dropped_share: {share:g} allows. To go on, {remedy}, or raise max_dropped_share"
