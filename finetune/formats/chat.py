"""Row -> Conversation for lists of messages: OpenAI's role/content, ShareGPT's from/value, any mapping. Knows columns
and roles; knows no tokenizer and no model."""

from collections.abc import Mapping
from typing import Any

from finetune.formats.meaning import BadRow, Conversation, Fields, Message

COLUMNS = "`messages` or `conversations` (a list of {role, content} or {from, value})"
MESSAGE_COLUMNS = ("messages", "conversations", "conversation")
ROLE_FIELDS = ("role", "from")
CONTENT_FIELDS = ("content", "value")
ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}


def matches(row: Mapping[str, Any]) -> bool:
    return any(isinstance(row.get(name), list) for name in MESSAGE_COLUMNS)


def read(row: Mapping[str, Any], fields: Fields) -> Conversation:
    """BadRow for a missing column, an empty conversation, an unknown role or content that is not text."""
    column = fields.messages or next((name for name in MESSAGE_COLUMNS if name in row), None)
    if column is None or column not in row:
        wanted = f"column `{column}`" if column else f"any of the columns {', '.join(MESSAGE_COLUMNS)}"
        raise BadRow(f"there is not {wanted}; the row has {_names(row)}. Name it with field_messages")
    if row.get("tools"):
        raise BadRow("the row has tools, which are not supported yet; they would be lost")
    turns = row[column]
    if not isinstance(turns, list):
        raise BadRow(f"`{column}` is {_kind(turns)}, not a list of messages")
    if not turns:
        raise BadRow(f"`{column}` is empty: a conversation needs at least one message")
    known = ROLES | {name: ours for ours, names in fields.roles.items() for name in names}
    return Conversation(tuple(_message(turn, number, fields, known) for number, turn in enumerate(turns, 1)))


def _message(turn: Any, number: int, fields: Fields, known: Mapping[str, str]) -> Message:
    if not isinstance(turn, Mapping):
        raise BadRow(f"turn {number} is {_kind(turn)}, not a message with a role and content")
    role_field = fields.role or next((name for name in ROLE_FIELDS if name in turn), None)
    content_field = fields.content or next((name for name in CONTENT_FIELDS if name in turn), None)
    for name, wanted in ((role_field, "role"), (content_field, "content")):
        if name is None or name not in turn:
            missing = f"no field `{name}`" if name else f"no {wanted}"
            raise BadRow(
                f"turn {number} has {missing}; it has {_names(turn)}. Name it in message_property_mappings.{wanted}"
            )
    if turn.get("tool_calls"):
        raise BadRow(f"turn {number} has tool_calls, which are not supported yet; they would be lost")
    for flag in ("train", "training", "weight"):
        if flag in turn and turn[flag] not in (None, True, 1):
            raise BadRow(
                f"turn {number}: `{flag}: {turn[flag]}` is not honoured yet; the turn would be learned all the same"
            )
    role, content = turn[str(role_field)], turn[str(content_field)]
    if not isinstance(role, str) or role not in known:
        raise BadRow(
            f"turn {number}: role {role!r} is not known ({', '.join(sorted(known))}). "
            f"Add it under datasets.roles, for example roles: {{user: [{role}]}}"
        )
    if not isinstance(content, str):
        raise BadRow(f"turn {number}: the content is {_kind(content)}, not text")
    return Message(known[role], content)


def _names(row: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in row) or "no columns"


def _kind(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"
