"""Row -> Segments for plain text, learned from its first to its last token. Knows no tokenizer."""

from collections.abc import Mapping
from typing import Any

from finetune.formats.meaning import Fields, Segments, text_in

COLUMNS = "`text`"


def matches(row: Mapping[str, Any]) -> bool:
    return "text" in row


def read(row: Mapping[str, Any], fields: Fields) -> Segments:
    """BadRow for a missing column, or one that is not text."""
    text = text_in(row, fields.text or "text")
    return Segments(((text, True),), own=((0, len(text)),))
