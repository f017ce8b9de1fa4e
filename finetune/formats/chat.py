"""Row -> Conversation for lists of messages: OpenAI's role/content, ShareGPT's from/value, any mapping. Knows columns
and roles; knows no tokenizer and no model."""

import difflib
import functools
from collections.abc import Mapping
from typing import Any

from finetune.formats import thinking, tools
from finetune.formats.content import flattened
from finetune.formats.meaning import BadRow, Conversation, Fields, Message, Span, kind_of, names_of, optional_text

COLUMNS = "`messages` or `conversations` (a list of {role, content} or {from, value})"
MESSAGE_COLUMNS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat")
ROLE_FIELDS = ("role", "from", "speaker")
CONTENT_FIELDS = ("content", "value", "text")
FLAGS = ("train", "training", "weight")
"""Fields of a message that say whether it is learned, where the recipe names none."""
ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
}
"""The data's name of a role -> ours; capitals do not matter."""


def matches(row: Mapping[str, Any]) -> bool:
    return any(_turns(row.get(name)) for name in MESSAGE_COLUMNS)


def _turns(value: Any) -> bool:
    """Whether it looks like messages; an empty list does, and so does one that holds bad ones, or its JSON text."""
    if isinstance(value, str):
        return value.lstrip().startswith("[") and value.lstrip()[1:].lstrip().startswith("{")
    return isinstance(value, list) and not (value and isinstance(value[0], str))


def read(row: Mapping[str, Any], fields: Fields) -> Conversation:
    """BadRow for a missing column, an empty conversation, an unknown role or content that is not text."""
    column = fields.messages or next((name for name in MESSAGE_COLUMNS if name in row), None)
    if column is None or column not in row:
        wanted = f"column `{column}`" if column else f"any of the columns {', '.join(MESSAGE_COLUMNS)}"
        raise BadRow(f"there is not {wanted}; the row has {names_of(row)}. Name it with field_messages")
    turns = row[column]
    if isinstance(turns, str):
        turns = tools.parsed(turns, f"`{column}`")
    if not isinstance(turns, list):
        raise BadRow(f"`{column}` is {kind_of(turns)}, not a list of messages")
    if not turns:
        raise BadRow(f"`{column}` is empty: a conversation needs at least one message")
    known = _known(tuple((ours, tuple(names)) for ours, names in fields.roles.items()))
    messages = tuple(_message(turn, number, fields, known) for number, turn in enumerate(turns, 1))
    system = optional_text(row, fields.system or "system") if messages[0].role != "system" else ""
    if system:
        messages = (Message("system", system), *messages)
    return Conversation(messages, tools.definitions(row.get(fields.tools or "tools"), fields.tools or "tools"))


@functools.lru_cache(maxsize=64)
def _known(roles: tuple[tuple[str, tuple[str, ...]], ...]) -> Mapping[str, str]:
    return ROLES | {name: ours for ours, names in roles for name in names}


def _message(turn: Any, number: int, fields: Fields, known: Mapping[str, str]) -> Message:
    if not isinstance(turn, Mapping):
        raise BadRow(f"turn {number} is {kind_of(turn)}, not a message with a role and content")
    role_field = fields.role or next((name for name in ROLE_FIELDS if name in turn), None)
    content_field = fields.content or next((name for name in CONTENT_FIELDS if name in turn), None)
    if role_field is None or role_field not in turn:
        raise _missing("role", role_field, turn, number)
    role = _role(turn[role_field], number, known)
    if len(turn) == 2 and content_field in turn and isinstance(turn[content_field], str) and not fields.split_thinking:
        return Message(role, turn[content_field])  # most messages are no more than that
    calls = turn.get(fields.properties.get("tool_calls", "tool_calls"))
    if not calls and (content_field is None or content_field not in turn):
        raise _missing("content", content_field, turn, number)
    content, spans = flattened(turn.get(str(content_field)), number, bool(calls))
    extra = _extra(turn, (role_field, str(content_field)), fields, number)
    if fields.split_thinking and role == "assistant":
        content, extra = thinking.split(content, extra, fields)
    learned, named = _flags(turn, role, fields, number)
    for start, end, _ in named or ():
        if start < 0 or end - 1 > len(content):
            raise BadRow(
                f"turn {number}: `{fields.training_detail}` names characters {start} to {end - 1}, and the content has "
                f"{len(content)} (from 0)" + (", without its reasoning" if fields.split_thinking else "")
            )
    return Message(role, content, learned, named or spans, extra)


def _missing(wanted: str, name: str | None, turn: Mapping[str, Any], number: int) -> BadRow:
    missing = f"no field `{name}`" if name else f"no {wanted}"
    return BadRow(
        f"turn {number} has {missing}; it has {names_of(turn)}. Name it in message_property_mappings.{wanted}"
    )


def _role(role: Any, number: int, known: Mapping[str, str]) -> str:
    ours = (known.get(role) or known.get(role.strip().lower())) if isinstance(role, str) else None
    if ours is None:
        near = difflib.get_close_matches(str(role).lower(), known, n=1)
        raise BadRow(
            f"turn {number}: role {role!r} is not known ({', '.join(sorted(known))}). "
            f"Add it under datasets.roles, for example roles: {{{known[near[0]] if near else 'user'}: [{role}]}}"
        )
    return ours


def _extra(turn: Mapping[str, Any], used: tuple[str, str], fields: Fields, number: int) -> dict[str, Any]:
    """What else a template may read: every other field that is not null, tool calls as values instead of JSON text."""
    spent = {"role", "content", *used, *fields.properties.values(), *_flag_fields(fields), fields.training_detail}
    extra = {key: value for key, value in turn.items() if key not in spent and value is not None}
    extra |= {key: turn[name] for key, name in fields.properties.items() if turn.get(name) is not None}
    thinking.renamed(extra, fields)
    if "tool_calls" in extra:
        calls = tools.calls(extra.pop("tool_calls"), number)
        extra |= {"tool_calls": calls} if calls else {}
    return extra


def _flag_fields(fields: Fields) -> tuple[str, ...]:
    return (fields.training,) if fields.training else FLAGS


def _flags(
    turn: Mapping[str, Any], role: str, fields: Fields, number: int
) -> tuple[bool | None, tuple[Span, ...] | None]:
    """(whether the message is learned, parts of it that are or are not), where the row says so."""
    learned = None
    for name in _flag_fields(fields):
        flag = turn.get(name)
        if flag is None or (name == "weight" and role != "assistant" and not fields.training):
            continue
        if flag not in (True, False):
            raise BadRow(f"turn {number}: `{name}: {flag!r}` should be true or false (or 1 or 0)")
        learned = bool(flag)
    detail = turn.get(fields.training_detail) if fields.training_detail else None
    if detail is None:
        return learned, None
    try:
        parts = tuple((int(part["begin_offset"]), int(part["end_offset"]) + 1, bool(part["train"])) for part in detail)
    except (KeyError, TypeError, ValueError):
        raise BadRow(
            f"turn {number}: `{fields.training_detail}` should be a list of {{begin_offset, end_offset, train}}, the "
            "characters from and to, both included"
        ) from None
    return learned, parts
