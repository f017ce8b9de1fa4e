"""Row -> Segments for text in pieces, each marked as learned or not. The row writes every token itself: no begin or end
token is added. Knows no tokenizer."""

from collections.abc import Mapping
from typing import Any

from finetune.formats.meaning import BadRow, Fields, Segments, kind_of, names_of

COLUMNS = "`segments` (a list of {label, text})"


def matches(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("segments"), list)


def read(row: Mapping[str, Any], fields: Fields) -> Segments:
    """BadRow for a missing or empty list, a label that is not true or false, or a text that is none."""
    del fields  # the columns' names are the format's
    segments = row.get("segments")
    if not isinstance(segments, list) or not segments:
        found = f"is {kind_of(segments)}" if segments != [] else "is empty"
        raise BadRow(f"column `segments` {found if 'segments' in row else 'is missing'}; the row has {names_of(row)}")
    return Segments(tuple(_piece(part, number) for number, part in enumerate(segments, 1)), apart=True, closed=False)


def _piece(part: Any, number: int) -> tuple[str, bool]:
    if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
        raise BadRow(f"segment {number} should hold a text: {{label: true, text: ...}}")
    if part.get("label") not in (True, False):
        raise BadRow(f"segment {number}: `label` is {part.get('label')!r}; write true if the text is learned, or false")
    return part["text"], bool(part["label"])
