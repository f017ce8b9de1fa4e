"""Prepared validation rows -> questions and expected answers, as tokens: whatever is learned in a row is an answer, and
all that stands before it is its question, with the template that training uses. Knows no model."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.rendering.lengths import IGNORED


@dataclass(frozen=True)
class Question:
    """Token ids of what the model is given and of what the data answers. `row`: of the validation rows, from 0."""

    row: int
    given: list[int]
    expected: list[int]


def questions(rows: Iterable[Mapping[str, Any]], prompt_ratio: float, limit: int | None) -> list[Question]:
    """The first `limit` questions of the rows (None: all); a packed row holds several documents."""
    found: list[Question] = []
    for number, row in enumerate(rows):
        for ids, labels in _documents(row):
            for given, expected in _answers(ids, labels, prompt_ratio):
                found.append(Question(number, given, expected))
                if len(found) == limit:
                    return found
    return found


def _documents(row: Mapping[str, Any]) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    start = 0
    for length in row.get("seq_lengths") or [len(row["input_ids"])]:
        yield row["input_ids"][start : start + length], row["labels"][start : start + length]
        start += length


def _answers(ids: Sequence[int], labels: Sequence[int], prompt_ratio: float) -> Iterator[tuple[list[int], list[int]]]:
    """Each learned stretch with all before it. One that begins the document is a text to go on with: its first part
    is given."""
    place = 0
    while place < len(ids):
        if labels[place] == IGNORED:
            place += 1
            continue
        end = place
        while end < len(ids) and labels[end] != IGNORED:
            end += 1
        # A begin token alone is no question.
        first = place if place > 1 else place + max(1, int((end - place) * prompt_ratio))
        if first < end:
            yield list(ids[:first]), list(ids[first:end])
        place = end
