"""Everything that a preview shows, gathered once for the terminal, the page and the snapshot. Knows none of them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.preview.looks import ShownRow, SourceFigures, pieces_of


@dataclass
class Purpose:
    """Training or validation rows: figures of each source, the rows that are shown, and a digest over all of them."""

    figures: dict[str, SourceFigures] = field(default_factory=dict)
    shown: list[ShownRow] = field(default_factory=list)
    digest: str = ""

    def together(self) -> SourceFigures:
        """The figures of all sources."""
        every = SourceFigures()
        for figure in self.figures.values():
            for name in ("rows", "tokens", "learned", "dropped", "cut", "unlearned"):
                setattr(every, name, getattr(every, name) + getattr(figure, name))
            every.lengths += figure.lengths
            every.ends += figure.ends
        return every

    @property
    def rows(self) -> int:
        return sum(figure.rows for figure in self.figures.values())

    @property
    def tokens(self) -> int:
        return sum(figure.tokens for figure in self.figures.values())

    @property
    def learned(self) -> int:
        return sum(figure.learned for figure in self.figures.values())


@dataclass(frozen=True)
class Report:
    """`facts`: name -> value, as the page's head shows them. `fill`: share of packed rows that holds tokens."""

    recipe: str
    purposes: Mapping[str, Purpose]
    facts: Mapping[str, str]
    template: str
    fill: float | None = None


def gather(rows: Iterable[tuple[str, int, Sequence[int], Sequence[int]]], tokenizer: Any, shown: int) -> Purpose:
    """Of (source, row number, token ids, labels): figures of all, and each source's first `shown` rows in pieces."""
    purpose = Purpose()
    total = hashlib.sha256()
    names = {number: token for token, number in tokenizer.get_vocab().items()}
    readable = {number: readable_token(number, token, tokenizer) for number, token in names.items()}
    for source, number, ids, labels in rows:
        figure = purpose.figures.setdefault(source, SourceFigures())
        if figure.rows < shown:
            pieces = pieces_of(ids, labels, tokenizer)
            learned = sum(label != -100 for label in labels)
            purpose.shown.append(ShownRow(source, number, pieces, len(ids), learned))
        figure.add(ids, labels, readable)
        total.update(f"{source}\0{number}\0{list(map(int, ids))}\0{list(map(int, labels))}\n".encode())
    purpose.digest = total.hexdigest()
    return purpose


def readable_token(number: int, token: str, tokenizer: Any) -> str:
    """A token as text; one that holds part of a character keeps its name in the vocabulary."""
    text = str(tokenizer.decode([number], skip_special_tokens=False))
    return token if "\ufffd" in text or not text else text
