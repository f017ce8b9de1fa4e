"""Row -> Segments for plain text, learned from its first to its last token. Knows no tokenizer."""

from collections.abc import Mapping
from typing import Any

from finetune.formats.meaning import BadRow, Fields, Segments, text_in

COLUMNS = "`text`"


def matches(row: Mapping[str, Any]) -> bool:
    return "text" in row


def read(row: Mapping[str, Any], fields: Fields) -> Segments:
    """BadRow for a missing column, one that is not text, or an empty text."""
    column = fields.text or "text"
    text = text_in(row, column)
    if not text.strip():
        raise BadRow(f"column `{column}` is empty")
    return Segments(((text, True),))
