"""What one row of data means, before any tokenizer. Knows no file and no template."""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from json.encoder import encode_basestring as _quoted
from typing import Any


class BadRow(Exception):
    """Why a row cannot be read; whoever reads the file adds its name and the row."""


Span = tuple[int, int, bool]
"""Characters of a message, from and to (not included), and whether they are learned."""
Place = tuple[int, int]
"""Characters of a text, from and to (not included)."""


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
    template's `tools`. `wording`: the layout in which the row's type writes it, instead of the recipe's template."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] | None = field(default=None, hash=False)
    wording: str | None = None


@dataclass(frozen=True)
class Segments:
    """Text in pieces, each learned or not.

    `apart`: each piece is tokenized by itself, so no token holds characters of two of them. `closed`: the
    end-of-sequence token stands (and is learned) after the last, `end_tokens` times, and a begin token before the first
    where the tokenizer has one. `own`: where in the pieces' text the row's own words stand, and not the format's.
    `ask`: how a question alone is put, with {instruction} in its place, for whoever talks to the model; no part of what
    the row means."""

    pieces: tuple[tuple[str, bool], ...]
    apart: bool = False
    closed: bool = True
    end_tokens: int = 1
    own: tuple[Place, ...] = field(default=(), compare=False)
    ask: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Tokens:
    """A row that was tokenized elsewhere; -100 is the label of a token that is not learned."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]


Answered = Conversation | Segments


@dataclass(frozen=True)
class PreferencePair:
    """Two answers to one question, the first of which is better; each with the question before it."""

    chosen: Answered
    rejected: Answered


@dataclass(frozen=True)
class Judged:
    """An answer, with the question before it, and whether it is good."""

    answer: Answered
    good: bool


@dataclass(frozen=True)
class Asked:
    """A question that the model answers itself. `columns`: what else the row holds, for whoever rewards the answer."""

    prompt: Answered
    columns: Mapping[str, Any] = field(default_factory=dict, hash=False)


Meaning = Conversation | Segments | Tokens | PreferencePair | Judged | Asked


@dataclass(frozen=True)
class Row:
    """A meaning and where it came from: the file or hub id, and the row (a line of a .jsonl file), from 1. `group`: the
    entry of the recipe's data, from 0, training before validation."""

    source: str
    number: int
    meaning: Meaning
    group: int = 0

    def digest(self) -> str:
        """Hex sha256 of the meaning: equal for equal rows, wherever they stand."""
        text = _plain_talk(self.meaning) or as_json(self.meaning)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def as_json(meaning: Meaning) -> str:
    """What is digested."""
    return json.dumps(_plain(meaning), sort_keys=True, ensure_ascii=False, default=str)


_LEARNED = {None: "", True: ', "learned": true', False: ', "learned": false'}


def _plain_talk(meaning: Meaning) -> str | None:
    """The same in half the time, for turns that are a role and its words alone, as most are; None for others."""
    if type(meaning) is not Conversation or meaning.tools is not None or meaning.wording is not None:
        return None
    turns = []
    for one in meaning.messages:
        if one.extra or one.spans is not None or one.learned not in _LEARNED:
            return None
        content, role = _quoted(one.content), _quoted(one.role)
        turns.append(f'{{"content": {content}{_LEARNED[one.learned]}, "role": {role}}}')
    return f'{{"messages": [{", ".join(turns)}]}}'


_OURS = (Conversation, Segments, Tokens, PreferencePair, Judged, Asked, Message)


@functools.cache
def _compared(kind: Any) -> tuple[tuple[str, Any], ...]:
    """(name, default) of the fields that tell two of a kind from one another."""
    return tuple((one.name, one.default) for one in fields(kind) if one.compare)


def _plain(thing: Any) -> Any:
    """Dataclasses as mappings without what is at its default, so that a field added later moves no row."""
    if isinstance(thing, _OURS):
        kind: Any = type(thing)
        return {
            name: _plain(value)
            for name, default in _compared(kind)
            if (value := getattr(thing, name)) != default and value != {}
        }
    return [_plain(part) for part in thing] if isinstance(thing, tuple) else thing


@dataclass(frozen=True)
class Fields:
    """How a recipe names the columns and roles of a row; None where it leaves them to be found.

    `properties`: what a template reads of a message -> the data's name for it, besides role and content. `prompt`: a
    prompt format of the recipe's own, as formats/custom.py reads it."""

    messages: str | None = None
    role: str | None = None
    content: str | None = None
    text: str | None = None
    roles: Mapping[str, list[str]] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    system: str | None = None
    tools: str | None = None
    thinking: str | None = None
    thinking_key: str | None = None
    split_thinking: bool = False
    training: str | None = None
    training_detail: str | None = None
    prompt: Mapping[str, str | None] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    """Part of a preference or judgement (prompt, chosen, rejected, completion, label) -> its column."""
    kind: str = "rows"
    """What a row is: one of formats.KINDS."""
    group: int = 0


def names_of(row: Mapping[str, Any]) -> str:
    """The columns of a row, for messages."""
    return ", ".join(f"`{name}`" for name in row) or "no columns"


KINDS_OF_VALUES = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list"}


def kind_of(value: Any) -> str:
    """What JSON calls it, with its article."""
    if value is None:
        return "null"
    return "a mapping" if isinstance(value, Mapping) else KINDS_OF_VALUES.get(type(value), f"a {type(value).__name__}")


def text_in(row: Mapping[str, Any], column: str) -> str:
    """The text of a column. BadRow if it is missing or not text."""
    value = row.get(column)
    if not isinstance(value, str):
        found = "is missing" if column not in row else f"is {kind_of(value)}, not text"
        raise BadRow(f"column `{column}` {found}; the row has {names_of(row)}")
    return value


def optional_text(row: Mapping[str, Any], column: str | None) -> str:
    """The text of a column that may be absent, null or empty, which all mean nothing."""
    value = row.get(column) if column else None
    if value is not None and not isinstance(value, str):
        raise BadRow(f"column `{column}` is {kind_of(value)}, not text")
    return value or ""
