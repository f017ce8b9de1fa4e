"""What one row of data means, before any tokenizer. Knows no file and no template."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


class BadRow(Exception):
    """Why a row cannot be read; whoever reads the file adds its name and the row."""


Span = tuple[int, int, bool]
"""Characters of a message, from and to (not included), and whether they are learned."""


@dataclass(frozen=True)
class Message:
    """One turn. `learned`: the row says whether it is (None: the recipe decides); `spans`: parts of the content for
    which the row says it. `extra`: what else a template may read, such as tool_calls, tool_call_id, name, thinking."""

    role: str
    content: str
    learned: bool | None = None
    spans: tuple[Span, ...] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Conversation:
    """Turns in order; roles are ours (system, user, assistant, tool). `tools`: what the assistant may call, as the
    template's `tools`."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] | None = field(default=None, hash=False)


@dataclass(frozen=True)
class Segments:
    """Text in pieces, each learned or not. `closed`: the end-of-sequence token is added (and learned) after the last,
    and a begin token before the first where the tokenizer has one. `apart`: each piece is tokenized by itself, so no
    token holds characters of two of them."""

    pieces: tuple[tuple[str, bool], ...]
    apart: bool = False
    closed: bool = True


@dataclass(frozen=True)
class Tokens:
    """A row that was tokenized elsewhere; -100 is the label of a token that is not learned."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]


Meaning = Conversation | Segments | Tokens


@dataclass(frozen=True)
class Row:
    """A meaning and where it came from: the file or hub id, and the row (a line of a .jsonl file), from 1."""

    source: str
    number: int
    meaning: Meaning

    def digest(self) -> str:
        """Hex sha256 of the meaning: equal for equal rows, wherever they stand."""
        text = json.dumps(_plain(self.meaning), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(thing: Any) -> Any:
    """Dataclasses as mappings without what is at its default, so that a field added later moves no row."""
    if isinstance(thing, Meaning | Message):
        return {
            one.name: _plain(value)
            for one in fields(thing)
            if (value := getattr(thing, one.name)) != one.default and value != {}
        }
    return [_plain(part) for part in thing] if isinstance(thing, tuple) else thing


@dataclass(frozen=True)
class Fields:
    """How a recipe names the columns and roles of a row; None where it leaves them to be found."""

    messages: str | None = None
    role: str | None = None
    content: str | None = None
    text: str | None = None
    roles: Mapping[str, list[str]] = field(default_factory=dict)
