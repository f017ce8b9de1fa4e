"""Row -> Segments for Metharme's prompts and what they were answered with. The prompt holds its own marks. Knows no
tokenizer."""

from collections.abc import Mapping
from typing import Any

from finetune.formats.meaning import Fields, Segments, text_in

COLUMNS = "`prompt` and `generation`"
END_TOKENS = 3
"""As Axolotl writes them; generation ends at the first."""


def matches(row: Mapping[str, Any]) -> bool:
    return "prompt" in row and "generation" in row


def read(row: Mapping[str, Any], fields: Fields) -> Segments:
    """BadRow for a missing column, or one that is not text."""
    del fields  # the columns' names are the format's
    asked, said = text_in(row, "prompt"), text_in(row, "generation")
    own = ((0, len(asked)), (len(asked), len(asked) + len(said)))
    return Segments(
        ((asked, False), (said, True)), apart=True, end_tokens=END_TOKENS, own=own, ask="<|user|>{instruction}<|model|>"
    )
