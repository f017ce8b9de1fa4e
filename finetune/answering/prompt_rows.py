"""Rows of a file of prompts -> what is asked and how it is drawn: `prompt` or `messages`, with `system`, `tools` and
settings of their own. Messages are read as rows of training data are. Knows no model and no kind of file."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from finetune.answering.prompt_files import Given, rows_in
from finetune.answering.settings import Settings, changed
from finetune.errors import DataError, Fault, Where
from finetune.formats import chat
from finetune.formats import tools as tool_forms
from finetune.formats.meaning import BadRow, Fields, Message
from finetune.generation import Prompt, prompt_for

SETTINGS = tuple(field.name for field in fields(Settings))
MESSAGES = ("messages", "conversations")
ASKED = ("prompt", *MESSAGES, "system", "tools")
WRITTEN = ("row", "answer", "ended", "prompt_tokens", "answer_tokens")
"""What is written beside a row; a row may not have it already."""
FAULTS_SHOWN = 20


@dataclass(frozen=True)
class Wanted:
    """A row. `number`: of its line, from 1, or of its place in a list; `row`: what it holds, to be kept beside the
    answer."""

    where: Where
    number: int
    prompt: Prompt
    settings: Settings
    row: Mapping[str, Any]


def wanted(path: Path, style: str, settings: Settings) -> list[Wanted]:
    """All rows. The seed of a row is the settings' and its number, where it names none: equal prompts are drawn
    otherwise. DataError with every line that cannot be asked."""
    found: list[Wanted] = []
    faults: list[Fault] = []
    for given in rows_in(path):
        try:
            found.append(_one(given, style, settings))
        except ValueError as error:
            place = "" if given.where.line else f"row {given.number}: "
            faults.append(Fault(f"{place}{error}", given.where))
    if faults:
        more = [f"and {len(faults) - FAULTS_SHOWN} more lines"] if len(faults) > FAULTS_SHOWN else []
        raise DataError(*faults[:FAULTS_SHOWN], *more)
    if not found:
        raise DataError(f"{path} holds no prompt")
    return found


def _one(given: Given, style: str, settings: Settings) -> Wanted:
    """ValueError, which says what is wrong, for a row that cannot be asked."""
    row = given.row
    if isinstance(row, str):
        raise ValueError(row)
    taken = [name for name in WRITTEN if name in row]
    if taken:
        raise ValueError(f"the row holds {taken[0]!r}, which is written beside an answer. Rename it")
    for name in set(row) - {*SETTINGS, *ASKED}:
        close = get_close_matches(name, (*SETTINGS, *ASKED), n=1, cutoff=0.8)
        if close:
            raise ValueError(f"unknown {name!r}; did you mean {close[0]!r}? Rename it if it is to be kept as it is")
    own = changed(settings, {name: row[name] for name in SETTINGS if row.get(name) is not None})
    if row.get("seed") is None and own.seed is not None:
        own = changed(own, {"seed": own.seed + given.number})
    return Wanted(given.where, given.number, _prompt(row, style), own, row)


def _prompt(row: Mapping[str, Any], style: str) -> Prompt:
    prompt, system = row.get("prompt"), row.get("system")
    ways = [name for name in ("prompt", *MESSAGES) if row.get(name) is not None]
    if len(ways) != 1:
        has = ", ".join(row) or "nothing"
        raise ValueError(f"a row has either `prompt`, a text, or `messages`, a list; this one has {has}")
    if style != "chat_template" and (prompt is None or system or row.get("tools")):
        raise ValueError("this run learned from texts without roles: write `prompt` alone")
    if system is not None and not isinstance(system, str):
        raise ValueError(f"`system` must be a text, not {system!r}")
    tools = tools_of(row.get("tools"))
    if prompt is None:
        messages = messages_of(row[ways[0]])
        if system and messages[0].role == "system":
            raise ValueError("`system` is given, and the first message is one too: leave one out")
        asked = Prompt("", messages=messages)
    elif not isinstance(prompt, str) or not prompt.strip():
        raise ValueError(f"`prompt` must be a text, and not an empty one: {prompt!r}")
    else:
        asked = prompt_for(prompt, style)
    before = (Message("system", system),) if system else ()
    refuse_half_characters(asked.text, *(turn.content for turn in (*before, *asked.messages)))
    return Prompt(asked.question, (*before, *asked.messages), asked.text, tools=tools)


def refuse_half_characters(*texts: str) -> None:
    """ValueError for half of a pair by which JSON writes a character outside of 16 bits: no tokenizer reads it."""
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"character {error.start + 1} is half of one (\\u{ord(text[error.start]):04x})") from None


def tools_of(given: Any) -> tuple[Mapping[str, Any], ...] | None:
    """Tools as a row of data has them. ValueError for what is no list of them."""
    try:
        return tool_forms.definitions(given, "tools")
    except BadRow as bad:
        raise ValueError(str(bad)) from None


def messages_of(given: Any) -> tuple[Message, ...]:
    """A list of messages as a row of data has it, the last of which an answer follows. ValueError for anything else."""
    try:
        read = chat.read({"messages": given}, Fields()).messages
    except BadRow as bad:
        raise ValueError(str(bad).partition(". ")[0]) from None  # how a recipe would mend it is no help here
    refuse_half_characters(*(turn.content for turn in read))
    if read[-1].role == "assistant":
        raise ValueError("the last message is the assistant's: there is nothing to answer")
    return read
