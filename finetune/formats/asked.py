"""Row -> Asked: a question that the model answers itself, and the columns that whoever rewards the answer reads. Knows
columns; knows no tokenizer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune.formats import chat
from finetune.formats.answers import Answered
from finetune.formats.meaning import Asked, BadRow, Conversation, Fields, Segments, names_of, text_in

TAKEN = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric", "environments")
"""Names under which a reward function is given other things."""


@dataclass(frozen=True)
class Questions:
    """Under the chat template; of a conversation, everything before its last answer. The answer that a row brings
    reaches whoever rewards as `answer`, unless a column has that name."""

    COLUMNS: str = "`prompt` or `messages` (or `question`)"

    def matches(self, row: Mapping[str, Any]) -> bool:
        return any(name in row for name in (*Answered().prompt, *chat.MESSAGE_COLUMNS))

    def read(self, row: Mapping[str, Any], fields: Fields) -> Asked:
        """BadRow for a missing column, and where nothing asks for an answer."""
        columns = Answered()
        column = columns._question(row, fields)
        messages = columns.before(row, fields)
        if column is None or messages is None:
            raise BadRow(f"there is no question; the row has {names_of(row)}. Name its column with field_prompt")
        rest = _rest(row, column)
        if messages[-1].role == "assistant":
            rest.setdefault("answer", messages[-1].content)
            messages = messages[:-1]
        if not messages or messages[-1].role == "system":
            raise BadRow(f"`{column}` asks nothing: there is no turn of the user before the answer")
        rest.pop(fields.system or "system", None)
        return Asked(Conversation(messages), rest)


@dataclass(frozen=True)
class Plain:
    """A text that the model continues, as TRL takes it."""

    COLUMNS: str = "`prompt`, as TRL has it"

    def matches(self, row: Mapping[str, Any]) -> bool:
        del row  # only a recipe can say that a text is meant without the chat template
        return False

    def read(self, row: Mapping[str, Any], fields: Fields) -> Asked:
        column = fields.columns.get("prompt") or "prompt"
        if isinstance(row.get(column), list):
            return Questions().read(row, fields)
        text = text_in(row, column)
        if not text:
            raise BadRow(f"`{column}` is empty: there is nothing to go on from")
        return Asked(Segments(((text, False),), ask="{instruction}"), _rest(row, column))


def _rest(row: Mapping[str, Any], column: str) -> dict[str, Any]:
    """The row's other columns. BadRow for a name that reward functions know otherwise, or a value that is no JSON."""
    rest = {name: value for name, value in row.items() if name != column}
    taken = [name for name in rest if name in TAKEN]
    if taken:
        raise BadRow(
            f"a column is named `{taken[0]}`, under which reward functions are given something else: rename it"
        )
    try:
        json.dumps(rest)
    except (TypeError, ValueError) as error:
        raise BadRow(f"a column cannot be handed to reward functions: {error}") from None
    return rest


ASKED: Mapping[str, Any] = {"chat_template": Questions(), "passthrough": Plain()}
"""In the order in which they are tried on a row."""
