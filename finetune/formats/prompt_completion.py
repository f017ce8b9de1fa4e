"""Row -> what continues a prompt: two texts, or two lists of messages, as TRL has them. Knows no tokenizer."""

from collections.abc import Mapping
from typing import Any

from finetune.formats import chat
from finetune.formats.meaning import Conversation, Fields, Segments, text_in

COLUMNS = "`prompt` and `completion` (two texts, or two lists of messages)"
ANSWERS = ("completion", "response")


def matches(row: Mapping[str, Any]) -> bool:
    return "prompt" in row and any(name in row for name in ANSWERS)


def read(row: Mapping[str, Any], fields: Fields) -> Conversation | Segments:
    """Two texts are put together as they are; the completion is learned. BadRow for a missing column, or for one that
    is neither text nor messages."""
    answer = next((name for name in ANSWERS if name in row), ANSWERS[0])
    if isinstance(row.get("prompt"), list):
        told = [*row["prompt"], *(row[answer] if isinstance(row.get(answer), list) else [row.get(answer)])]
        return chat.read({**row, "messages": told}, fields)
    asked, said = text_in(row, "prompt"), text_in(row, answer)
    own = ((0, len(asked)), (len(asked), len(asked) + len(said)))
    return Segments(((asked, False), (said, True)), apart=True, own=own, ask="{instruction}")
