"""The content of a message -> text. Content in parts becomes one text; a part may say whether it is learned. Knows no
roles and no columns."""

from collections.abc import Mapping
from typing import Any

from finetune.formats.meaning import BadRow, Span, kind_of

TEXTS = ("text", "content", "value")


def flattened(content: Any, number: int, may_be_empty: bool) -> tuple[str, tuple[Span, ...] | None]:
    """(the text, the parts' flags if one has a flag). BadRow for what is no text, an image for example."""
    if isinstance(content, str):
        return content, None
    if content is None and may_be_empty:
        return "", None
    if not isinstance(content, list):
        raise BadRow(f"turn {number}: the content is {kind_of(content)}, not text")
    texts, spans, flagged, start = [], [], False, 0
    for part in content:
        text = part if isinstance(part, str) else _text(part, number)
        flag = None if isinstance(part, str) else _flag(part)
        flagged = flagged or flag is not None
        if text:
            spans.append((start, start + len(text), flag is not False))
        texts.append(text)
        start += len(text)
    return "".join(texts), tuple(spans) if flagged else None


def _text(part: Any, number: int) -> str:
    if not isinstance(part, Mapping):
        raise BadRow(f"turn {number}: a part of the content is {kind_of(part)}, not text")
    if part.get("type") not in (None, "text"):
        raise BadRow(f"turn {number}: a part of the content is of type {part['type']!r}, and only text is trained here")
    found = next((part[name] for name in TEXTS if part.get(name)), "")
    if not isinstance(found, str):
        raise BadRow(f"turn {number}: a part of the content holds {kind_of(found)}, not text")
    return found


def _flag(part: Mapping[str, Any]) -> bool | None:
    if part.get("train") is not None:
        return bool(part["train"])
    return None if part.get("weight") is None else part["weight"] not in (0, 0.0)
