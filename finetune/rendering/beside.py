"""What a conversation says beside its contents: reasoning, tool calls and tools. Where such words stand in a rendered
text, found by rendering a stand-in. Knows no labels and no tokens."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from finetune.formats.meaning import BadRow, Conversation, Place

STAND_IN = "\U000fbeef"
Change = Callable[[str], str]


def beside(conversation: Conversation) -> list[str]:
    """Every text in the messages' other fields and in the tools."""
    if conversation.tools is None and not any(message.extra for message in conversation.messages):
        return []
    found = [text for message in conversation.messages for text in _texts(message.extra)]
    return found + list(_texts(conversation.tools))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def places_beside(
    conversation: Conversation, pattern: re.Pattern[str], render: Callable[[Conversation], str], text: str
) -> list[Place]:
    """Where the texts beside the contents that the pattern finds stand in `text`. BadRow for one whose place cannot be
    told."""
    places = []
    for found in dict.fromkeys(one for one in beside(conversation) if pattern.search(one)):
        forms = (found, json.dumps(found, ensure_ascii=False)[1:-1], found.strip())
        first, *pieces = render(_stood_in(conversation, found)).split(STAND_IN)
        fits, at = text.startswith(first), len(first)
        for piece in pieces:
            end = next((at + len(form) for form in forms if text.startswith(form + piece, at)), -1)
            fits = fits and end >= 0
            places.append((at, end))
            at = end + len(piece)
        if not fits or at != len(text):
            raise BadRow(
                "its reasoning, tool calls or tools hold special-token text in a place that cannot be told. Remove it, "
                "or set special_tokens_in_content: parse"
            )
    return places


def _stood_in(conversation: Conversation, found: str) -> Conversation:
    def change(text: str) -> str:
        return STAND_IN if text == found else text

    messages = tuple(replace(one, extra=_changed(one.extra, change)) for one in conversation.messages)
    return replace(conversation, messages=messages, tools=_changed(conversation.tools, change))


def _changed(value: Any, change: Change) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(key) if isinstance(key, str) else key: _changed(item, change) for key, item in value.items()}
    return type(value)(_changed(item, change) for item in value) if isinstance(value, list | tuple) else value
