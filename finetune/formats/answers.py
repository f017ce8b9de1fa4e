"""What forms of preferences, judgements and questions share: a row's columns -> the messages before an answer, and the
answer. Knows columns and roles; knows no tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from finetune.formats import chat, tools
from finetune.formats.meaning import BadRow, Conversation, Fields, Message, kind_of, names_of, optional_text

QUESTIONS = ("prompt", "question", "instruction", "input", "query")
"""Columns with a question, where the recipe names none, in the order in which they are looked for."""


@dataclass(frozen=True)
class Answered:
    """Where the parts of a row stand. `prompt`: columns of which the first that is there holds the question; none where
    it stands before the answer itself. `wording`: the layout that the type's name brings, or None for the recipe's."""

    prompt: tuple[str, ...] = QUESTIONS
    chosen: tuple[str, ...] = ("chosen", "chosen_response")
    rejected: tuple[str, ...] = ("rejected", "rejected_response")
    completion: tuple[str, ...] = ("completion", "response", "answer")
    wording: str | None = None

    def column(self, row: Mapping[str, Any], part: str, fields: Fields) -> str:
        """The row's column for a part. BadRow if there is none."""
        named = fields.columns.get(part)
        names = (named,) if named else getattr(self, part)
        found = next((name for name in names if name in row), None)
        if found is None:
            wanted = f"column `{names[0]}`" if len(names) == 1 else f"any of the columns {', '.join(names)}"
            raise BadRow(f"there is not {wanted}; the row has {names_of(row)}. Name it with field_{part}")
        return found

    def before(self, row: Mapping[str, Any], fields: Fields) -> tuple[Message, ...] | None:
        """The messages before the answer; None where they stand in the column of the answer. BadRow for what is no
        text and no messages."""
        column = self._question(row, fields)
        if column is None:
            return None
        given = row[column]
        if isinstance(given, str):
            messages: tuple[Message, ...] = (Message("user", given),)
        elif isinstance(given, list):
            messages = turns(given, column, fields)
        elif isinstance(given, Mapping):
            messages = turns([given], column, fields)
        else:
            raise BadRow(f"`{column}` is {kind_of(given)}, neither text nor messages")
        return with_system(messages, row, fields)

    def _question(self, row: Mapping[str, Any], fields: Fields) -> str | None:
        if fields.columns.get("prompt"):
            return self.column(row, "prompt", fields)
        if fields.messages:
            if fields.messages not in row:
                raise BadRow(f"there is no column `{fields.messages}`; the row has {names_of(row)}")
            return fields.messages
        names = (*chat.MESSAGE_COLUMNS, *self.prompt) if self.prompt == QUESTIONS else self.prompt
        return next((name for name in names if name in row), None)

    def answered(self, row: Mapping[str, Any], part: str, fields: Fields) -> Conversation:
        """The conversation that the answer in a part's column ends. BadRow if it does not end with an answer."""
        column = self.column(row, part, fields)
        given, before = row[column], self.before(row, fields)
        if isinstance(given, str):
            answer: tuple[Message, ...] = (Message("assistant", given),)
        elif isinstance(given, Mapping):
            answer = turns([given], column, fields)
        elif isinstance(given, list):
            answer = turns(given, column, fields)
        else:
            raise BadRow(f"`{column}` is {kind_of(given)}, neither text nor messages")
        if before is None or any(message.role in ("user", "system") for message in answer):
            # The whole conversation stands there, as implicit prompts have it.
            whole = with_system(answer, row, fields)
        else:
            whole = (*before, *answer)
        if whole[-1].role != "assistant":
            raise BadRow(f"`{column}` ends with a turn of {whole[-1].role}, not with an answer")
        if all(message.role == "system" for message in whole[:-1]):
            raise BadRow(
                f"there is no question before the answer in `{column}`; the row has {names_of(row)}. Name its column "
                "with field_prompt, or with field_messages"
            )
        calls = tools.definitions(row.get(fields.tools or "tools"), fields.tools or "tools")
        return Conversation(whole, calls, self.wording)


def turns(given: list[Any], column: str, fields: Fields) -> tuple[Message, ...]:
    """Messages of a list, read as those of `type: chat_template`. BadRow, with the column, for what is none."""
    if not given:
        raise BadRow(f"`{column}` is empty")
    try:
        return chat.read({"messages": given}, replace(fields, messages="messages", tools=None)).messages
    except BadRow as bad:
        raise BadRow(f"`{column}`: {bad}") from None


def with_system(messages: tuple[Message, ...], row: Mapping[str, Any], fields: Fields) -> tuple[Message, ...]:
    system = optional_text(row, fields.system or "system") if messages[0].role != "system" else ""
    return (Message("system", system), *messages) if system else messages
