"""Lines of a shell that start a training -> the tool, its configuration file or its flags. Runs nothing."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.errors import Where
from finetune.importing.found import Setting, Unread
from finetune.recipe.source import plain

METHODS = ("sft", "dpo", "kto", "orpo", "cpo", "reward", "grpo", "rloo")


ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)=((?:[^\s;&|\"']|\"[^\"]*\"|'[^']*')*)")
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
UNKNOWN = re.compile(r"\$[\w{(]|`")
SHELL = re.compile(r"\|\|?|&&?|;|(?:\d|&)?[<>].*")


@dataclass(frozen=True)
class Command:
    """`flags`: name -> value as a shell writes it."""

    tool: str
    line: int
    config: str = ""
    method: str = "sft"
    flags: Mapping[str, Any] = field(default_factory=dict)


def commands(text: str, first: int) -> list[Command]:
    """The trainings that a shell text starts; continued lines are one."""
    found = []
    variables: dict[str, str] = {}
    rows = text.split("\n")
    number = 0
    while number < len(rows):
        start, row = number, rows[number]
        while row.rstrip().endswith("\\") and number + 1 < len(rows):
            number += 1
            row = row.rstrip()[:-1] + " " + rows[number]
        assigned = ASSIGNMENT.fullmatch(row.strip())
        if assigned:
            variables[assigned[1]] = _filled(assigned[2].strip("\"'"), variables)
        command = _command(_filled(row, variables), first + start + 1)
        if command is not None:
            found.append(command)
        number += 1
    return found


def _filled(row: str, variables: Mapping[str, str]) -> str:
    """With the values of variables that the text itself sets."""
    return VARIABLE.sub(lambda found: variables.get(found[1] or found[2], found[0]), row)


def _command(row: str, line: int) -> Command | None:
    try:
        words = shlex.split(row, comments=True)
    except ValueError:
        return None
    for place, word in enumerate(words):
        name, rest = word.rsplit("/", 1)[-1], words[place + 1 :]
        if name in ("llamafactory-cli", "lmf") and rest[:1] == ["train"]:
            return _made("llamafactory", line, rest[1:])
        if (name == "train.py" and "LLaMA-Factory" in row) or name == "train_bash.py":
            return _made("llamafactory", line, rest)
        if name == "trl" and rest and rest[0] in METHODS:
            return _made("trl", line, rest[1:], rest[0])
        script = re.fullmatch(r"(?:run_)?(sft|dpo|kto|orpo|cpo|grpo|reward_modeling|rloo)\.py", name)
        if script and any(one.startswith("--") for one in rest):
            return _made("trl", line, rest, script[1].replace("reward_modeling", "reward"))
        if name == "axolotl.cli.train" or (name == "axolotl" and rest[:1] == ["train"]):
            return Command("axolotl", line, next((one for one in rest if one.endswith((".yml", ".yaml"))), ""))
        if name == "tune" and rest[:1] == ["run"] and "--config" in rest[:-1]:
            return Command("torchtune", line, rest[rest.index("--config") + 1])
    return None


def _made(tool: str, line: int, words: Sequence[str], method: str = "sft") -> Command:
    flags: dict[str, Any] = {}
    config, place = "", 0
    # What follows is the shell's: pipes, redirections, the next command.
    words = words[: next((number for number, word in enumerate(words) if SHELL.fullmatch(word)), len(words))]
    while place < len(words):
        word = words[place]
        if word.startswith("--"):
            name, mark, value = word[2:].partition("=")
            values = [value] if mark else []
            while not mark and place + 1 < len(words) and not words[place + 1].startswith("--"):
                place += 1
                values.append(words[place])
            flags[name.replace("-", "_")] = True if not values else values[0] if len(values) == 1 else values
        elif word.endswith((".yaml", ".yml", ".json")) and not config:
            config = word
        place += 1
    config = str(flags.pop("config", config))
    return Command(tool, line, config, method, flags)


def settings_of_flags(command: Command, name: str) -> dict[str, Setting]:
    """Values as a command line's parser reads them: numbers, true and false."""
    where = Where(name, command.line, 1)
    return {key: Setting(key, _value(value), where) for key, value in command.flags.items()}


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(one) for one in value]
    if isinstance(value, str):
        if UNKNOWN.search(value):
            return Unread(value, "a shell fills it in")
        read = plain(value)
        return {"True": True, "False": False, "None": None}.get(value, read)
    return value
