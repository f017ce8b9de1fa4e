"""Token ids and labels -> readable pieces and the figures of a source. Knows no file, no screen and no page."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

IGNORED = -100
HISTOGRAM_BARS = 24
END_TOKENS_SHOWN = 5


@dataclass(frozen=True)
class Piece:
    """One token or, where several make one character, those. `kind`: learned, not learned; `special`; `ends` a learned
    stretch."""

    text: str
    ids: tuple[int, ...]
    learned: bool
    special: bool
    ends: bool = False


LINE_ENDS = {10: "⏎\n", 13: "␍"}
UNSEEN = {
    **{code: chr(0x2400 + code) for code in range(32) if code not in (9, 10, 13)},
    **{code: f"‹{code:04X}›" for code in (0x7F, 0xAD, 0x200B, 0x2060, 0xFEFF, *range(0x202A, 0x202F))},
    **{code: f"‹{code:04X}›" for code in range(0x2066, 0x206A)},
}
"""Characters that no screen shows, or that turn the text around them: what is shown for them. What joins the characters
of one sign stays."""


def visible(text: str) -> str:
    """The text with what cannot be seen made visible, but for the ends of lines."""
    return text.translate(UNSEEN)


@dataclass(frozen=True)
class ShownRow:
    """A row of the data as tokens. `number` counts from 1 in its source."""

    source: str
    number: int
    pieces: tuple[Piece, ...]
    tokens: int
    learned: int


@dataclass
class SourceFigures:
    """Figures of one source; `lengths`: tokens of each row; `ends`: which token ends learned stretches, how often;
    `unlearned`: rows left out since their own flags let nothing be learned."""

    rows: int = 0
    tokens: int = 0
    learned: int = 0
    dropped: int = 0
    cut: int = 0
    unlearned: int = 0
    lengths: list[int] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)

    @property
    def share(self) -> float:
        return self.learned / self.tokens if self.tokens else 0.0

    def add(self, ids: Sequence[int], labels: Sequence[int], names: Mapping[int, str]) -> None:
        self.rows += 1
        self.tokens += len(ids)
        self.learned += sum(label != IGNORED for label in labels)
        self.lengths.append(len(ids))
        for place in ends_of(labels):
            self.ends[names.get(ids[place], str(ids[place]))] += 1

    def common_ends(self) -> list[tuple[str, int]]:
        return self.ends.most_common(END_TOKENS_SHOWN)


def ends_of(labels: Sequence[int]) -> Iterator[int]:
    """Places of the last token of each learned stretch."""
    for place, label in enumerate(labels):
        if label != IGNORED and (place + 1 == len(labels) or labels[place + 1] == IGNORED):
            yield place


def pieces_of(ids: Sequence[int], labels: Sequence[int], tokenizer: Any) -> tuple[Piece, ...]:
    """The row in pieces of text. Tokens that hold part of a character are shown together with the rest of it."""
    special = set(tokenizer.all_special_ids) | set(getattr(tokenizer, "added_tokens_decoder", {}))
    ends = set(ends_of(labels))
    found: list[Piece] = []
    start = 0
    while start < len(ids):
        stop = start + 1
        text = _text(ids, start, stop, tokenizer)
        # A replacement character means that the bytes of a character go on in the next token; at most four hold one.
        while (
            "\ufffd" in text
            and stop < min(len(ids), start + 4)
            and (labels[stop] == IGNORED) == (labels[start] == IGNORED)
        ):
            stop += 1
            text = _text(ids, start, stop, tokenizer)
        found.append(
            Piece(
                text,
                tuple(int(token) for token in ids[start:stop]),
                labels[start] != IGNORED,
                ids[start] in special,
                stop - 1 in ends,
            )
        )
        start = stop
    return tuple(found)


def _text(ids: Sequence[int], start: int, stop: int, tokenizer: Any) -> str:
    """Of some tokens amid a row. Many tokenizers leave out the space that a text begins with, so the token before them
    is read too."""
    before = tokenizer.decode(list(ids[start - 1 : start]), skip_special_tokens=False) if start else ""
    whole = str(tokenizer.decode(list(ids[max(0, start - 1) : stop]), skip_special_tokens=False))
    if "\ufffd" not in before and whole.startswith(before):
        return whole[len(before) :]
    return str(tokenizer.decode(list(ids[start:stop]), skip_special_tokens=False))


@dataclass(frozen=True)
class Bar:
    """Rows of at least `low` and less than `high` tokens."""

    low: int
    high: int
    rows: int


def histogram(lengths: Iterable[int], bars: int = HISTOGRAM_BARS) -> list[Bar]:
    """Rows by their number of tokens, in equal steps from 0 to the longest."""
    values = list(lengths)
    if not values:
        return []
    width = max(1, -(-(max(values) + 1) // bars))
    counts = Counter(value // width for value in values)
    return [Bar(number * width, (number + 1) * width, counts[number]) for number in range(max(counts) + 1)]
