"""A file of prompts -> what is asked and how it is drawn, row by row. Plain text: a prompt a line; JSON lines: `prompt`
or `messages`, with `system`, `tools` and settings of their own. Knows no model."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from finetune.answering.settings import Settings, changed
from finetune.errors import DataError, Fault, UsageError, Where
from finetune.formats.meaning import Message
from finetune.generation import Prompt, prompt_for

SETTINGS = tuple(field.name for field in fields(Settings))
ASKED = ("prompt", "messages", "system", "tools")
WRITTEN = ("row", "answer", "ended", "prompt_tokens", "answer_tokens")
"""What is written beside a row; a row may not have it already."""
ENDINGS = (".txt", ".jsonl")
FAULTS_SHOWN = 20


@dataclass(frozen=True)
class Wanted:
    """A row. `where`: its line; `row`: what it holds, to be kept beside the answer."""

    where: Where
    prompt: Prompt
    settings: Settings
    row: Mapping[str, Any]

    @property
    def number(self) -> int:
        """Of its line, from 1."""
        return self.where.line


def wanted(path: Path, style: str, settings: Settings) -> list[Wanted]:
    """All rows. The seed of a row is the settings' and its line's number, where it names none: equal prompts are drawn
    otherwise. DataError with every line that cannot be asked."""
    if path.suffix not in ENDINGS:
        raise UsageError(f"{path}: prompts are read from {' or '.join(ENDINGS)} files")
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from None
    found: list[Wanted] = []
    faults: list[Fault] = []
    for number, row in _rows(path, lines, faults):
        try:
            found.append(_one(Where(str(path), number, 1), row, style, settings))
        except ValueError as error:
            faults.append(Fault(str(error), Where(str(path), number, 1)))
    if faults:
        more = [f"and {len(faults) - FAULTS_SHOWN} more lines"] if len(faults) > FAULTS_SHOWN else []
        raise DataError(*faults[:FAULTS_SHOWN], *more)
    if not found:
        raise DataError(f"{path} holds no prompt")
    return found


def _rows(path: Path, lines: list[str], faults: list[Fault]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if path.suffix == ".txt":
            yield number, {"prompt": line.rstrip("\r")}
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            faults.append(Fault(f"this line is no JSON: {error}", Where(str(path), number, 1)))
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            faults.append(Fault(f"a row is a JSON object, not {type(row).__name__}", Where(str(path), number, 1)))


def _one(where: Where, row: Mapping[str, Any], style: str, settings: Settings) -> Wanted:
    """ValueError, which says what is wrong, for a row that cannot be asked."""
    taken = [name for name in WRITTEN if name in row]
    if taken:
        raise ValueError(f"the row holds {taken[0]!r}, which is written beside an answer. Rename it")
    for name in set(row) - {*SETTINGS, *ASKED}:
        close = get_close_matches(name, (*SETTINGS, *ASKED), n=1, cutoff=0.8)
        if close:
            raise ValueError(f"unknown {name!r}; did you mean {close[0]!r}? Rename it if it is to be kept as it is")
    given = {name: row[name] for name in SETTINGS if row.get(name) is not None}
    own = changed(settings, given)
    if "seed" not in given and own.seed is not None:
        own = changed(own, {"seed": own.seed + where.line})
    return Wanted(where, _prompt(row, style), own, row)


def _prompt(row: Mapping[str, Any], style: str) -> Prompt:
    prompt, messages, system = row.get("prompt"), row.get("messages"), row.get("system")
    if (prompt is None) == (messages is None):
        raise ValueError("a row has either `prompt`, a text, or `messages`, a list")
    if style != "chat_template" and (messages is not None or system or row.get("tools")):
        raise ValueError("this run learned from texts without roles: write `prompt` alone")
    if prompt is not None:
        if not isinstance(prompt, str) or not prompt:
            raise ValueError(f"`prompt` must be a text, not {prompt!r}")
        asked = prompt_for(prompt, style)
    else:
        asked = Prompt("", messages=messages_of(messages))
    if system is not None and not isinstance(system, str):
        raise ValueError(f"`system` must be a text, not {system!r}")
    before = (Message("system", system),) if system else ()
    tools = row.get("tools")
    return Prompt(asked.question, (*before, *asked.messages), asked.text, tools=tuple(tools) if tools else None)


def messages_of(given: Any) -> tuple[Message, ...]:
    """A list of messages with role and content, the last of which an answer follows. ValueError for anything else."""
    if not isinstance(given, list) or not given:
        raise ValueError("`messages` must be a list of at least one message")
    found = []
    for number, message in enumerate(given):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ValueError(f"messages[{number}] must be an object with `role` and `content`")
        content = message.get("content")
        if content is None and message.get("tool_calls"):
            content = ""
        if not isinstance(content, str):
            raise ValueError(f"messages[{number}]: `content` must be a text, not {type(content).__name__}")
        extra = {name: value for name, value in message.items() if name not in ("role", "content")}
        found.append(Message(message["role"], content, extra=extra))
    if found[-1].role == "assistant":
        raise ValueError("the last message is the assistant's: there is nothing to answer")
    return tuple(found)
