"""Made-up rows in the form that an entry of the data declares, with its names for columns, fields and roles: what a
proof trains on where the real rows are not on this machine. The same seed gives the same rows; knows no tokenizer."""

import ast
import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from finetune.errors import DataError
from finetune.formats import READERS, name_of
from finetune.formats.asked import TAKEN
from finetune.formats.meaning import BadRow, Fields
from finetune.recipe.rewards import FunctionName, parsed

TOPICS = "garden river library kitchen bicycle mountain letter window market piano harbour forest".split()
DEEDS = "clean mend find paint describe open visit carry draw measure warm count".split()
MANNERS = "slowly before noon with care after rain by hand once more without help every spring".split()
OPENINGS = ("How do I {deed} the {topic}?", "Tell me about the {topic}.", "Why would one {deed} a {topic}?")
ANSWERS = (
    "First {deed} the {topic}, then rest.",
    "A {topic} is best kept {manner}; I would {deed} it.",
    "Because the {topic} likes it, one should {deed} it {manner}.",
)
WORSE = ("No.", "I do not know the {topic}.", "The {topic} is a {topic}.")
DEFAULTS = {"rows": "chat_template", "pair": "chat_template", "judged": "chat_template", "prompt": "chat_template"}
"""The form of rows that a recipe leaves to be detected, by the kind of its method."""


class _Words:
    """What one row is about. `good`: whether its answer is meant to be good."""

    def __init__(self, number: int, seed: int) -> None:
        rng = random.Random(seed * 1_000_003 + number)
        self.rng, self.good, self.number = rng, number % 2 == 0, number
        self.facts = {"topic": rng.choice(TOPICS), "deed": rng.choice(DEEDS), "manner": rng.choice(MANNERS)}

    def said(self, texts: tuple[str, ...]) -> str:
        return self.rng.choice(texts).format(**self.facts)

    def question(self) -> str:
        return self.said(OPENINGS)

    def answer(self) -> str:
        return self.said(ANSWERS)

    def worse(self) -> str:
        return self.said(WORSE)


def made_rows(form: str | None, fields: Fields, count: int, seed: int, rewards: list[str]) -> list[dict[str, Any]]:
    """Rows that the form's own reader takes. `form`: as a plan has it, None where it is detected; `rewards`: the
    functions that judge answers, whose arguments are columns. DataError where none of the shapes known here is
    taken."""
    name = form or name_of("completion" if fields.text else DEFAULTS[fields.kind], fields.kind)
    reader = READERS[name]
    why = ""
    for shape in _shapes(name, fields, reader.COLUMNS, rewards):
        rows = [shape(_Words(number, seed)) for number in range(count)]
        try:
            for row in rows:
                reader.read(row, fields)
            return rows
        except BadRow as bad:
            why = why or str(bad)
    raise DataError(f"no rows of type {name} can be made up here ({why}): name a local file of rows")


Shape = Callable[[_Words], dict[str, Any]]


def _shapes(name: str, fields: Fields, columns: str, rewards: list[str]) -> Iterator[Shape]:
    """Ways to write a row of a form, the likeliest first."""
    if name == "pretokenized":
        yield lambda words: {"input_ids": (ids := _ids(words)), "attention_mask": [1] * len(ids), "labels": ids}
        return
    if fields.prompt is not None:
        yield lambda words: _worded(words, fields)
        return
    if fields.kind == "rows" and name == "chat_template":
        yield lambda words: {fields.messages or "messages": _talk(words, fields), **_tools(fields)}
        return
    if fields.kind == "rows" and name == "completion":
        yield lambda words: {fields.text or "text": f"{words.question()} {words.answer()}"}
        return
    named = columns.split("`")[1::2]
    named = [column for column in named if column not in ("true", "false")]
    for how in ("text", "messages", "talk"):
        yield lambda words, how=how: _columns(words, fields, named, how) | _read_by(rewards, words)  # type: ignore[misc]


def _ids(words: _Words) -> list[int]:
    return [5 + (words.number * 7 + place) % 40 for place in range(16)]


def _talk(words: _Words, fields: Fields) -> list[dict[str, Any]]:
    turns = [("user", words.question()), ("assistant", words.answer())]
    if not words.good:
        turns += [("user", words.question()), ("assistant", words.answer())]
    made = [_message(role, text, fields) for role, text in turns]
    if words.number % 3 == 0 and (fields.tools or "tool" in fields.roles):
        made[1:1] = _call(words, fields)
    return made


def _message(role: str, text: str, fields: Fields) -> dict[str, Any]:
    known = fields.roles.get(role) or [role]
    return {fields.role or "role": known[0], fields.content or "content": text}


def _call(words: _Words, fields: Fields) -> list[dict[str, Any]]:
    """An answer that calls a tool, and what the tool says."""
    call = {"type": "function", "function": {"name": "look_up", "arguments": {"topic": words.facts["topic"]}}}
    asks = _message("assistant", "", fields) | {fields.properties.get("tool_calls", "tool_calls"): [call]}
    return [asks, _message("tool", f"The {words.facts['topic']} is here.", fields)]


def _tools(fields: Fields) -> dict[str, Any]:
    if not fields.tools:
        return {}
    parameters = {"type": "object", "properties": {"topic": {"type": "string"}}, "required": ["topic"]}
    tool = {"name": "look_up", "description": "Says where something is.", "parameters": parameters}
    return {fields.tools: [{"type": "function", "function": tool}]}


def _worded(words: _Words, fields: Fields) -> dict[str, Any]:
    """For a wording that the recipe writes down itself."""
    how = fields.prompt or {}

    def column(part: str, default: str) -> str:
        return how.get(f"field_{part}") or fields.columns.get(part) or default

    row: dict[str, Any] = {
        column("instruction", "instruction"): words.question(),
        column("prompt", "prompt"): words.question(),
        column("output", "output"): words.answer(),
        column("chosen", "chosen"): words.answer(),
        column("rejected", "rejected"): words.worse(),
        column("completion", "completion"): words.answer() if words.good else words.worse(),
        column("label", "label"): words.good,
    }
    return row | {column("input", "input"): f"the {words.facts['topic']}"} if words.good else row


def _columns(words: _Words, fields: Fields, named: list[str], how: str) -> dict[str, Any]:
    """A value for each column that the form names. `how`: whether answers are texts, messages, or whole talks."""
    question = words.question()
    wanted = list(named)
    if fields.kind != "rows":
        wanted = [column for column in named if column not in ("messages", "conversations")] or ["prompt"]
        if not any(column in wanted for column in ("prompt", "question", "instruction", "input")) and how != "talk":
            wanted.append("prompt")
    row: dict[str, Any] = {}
    for column in dict.fromkeys(wanted):
        value = _value(column, words, question)
        if column in ("chosen", "rejected", "completion", "chosen_response", "rejected_response") and how != "text":
            value = [_message("assistant", str(value), fields)]
            if how == "talk":
                value = [_message("user", question, fields), *value]
        row[fields.columns.get(column, column)] = value
    return row


def _value(column: str, words: _Words, question: str) -> Any:
    special: Mapping[str, Callable[[], Any]] = {
        "label": lambda: words.good,
        "completion": lambda: words.answer() if words.good else words.worse(),
        "choices": lambda: [words.answer(), words.worse()],
        "answers": lambda: [{"answer": words.answer(), "rank": 1}, {"answer": words.worse(), "rank": 2}],
        "translation": lambda: {"en": question, "fr": words.answer()},
        "scores": lambda: {"refusal": 9},
        "critiques": lambda: {"refusal": {"explanation": words.answer(), "improvements": words.answer()}},
        "segments": lambda: [{"label": False, "text": question}, {"label": True, "text": words.answer()}],
        "rejected": words.worse,
        "rejected_response": words.worse,
    }
    if column in special:
        return special[column]()
    asks = ("prompt", "question", "instruction", "INSTRUCTION", "input", "message_1", "unanswerable_question")
    return question if column in asks else words.answer()


def _read_by(rewards: list[str], words: _Words) -> dict[str, Any]:
    """Columns that reward functions ask for by the names of their arguments."""
    names = itertools.chain.from_iterable(arguments_of_rewards(text) for text in rewards)
    return {name: words.answer() for name in names}


def arguments_of_rewards(text: str) -> list[str]:
    """The names of the arguments of a reward function that are columns of the rows, read from its code; none of a
    reward model. Nothing is run."""
    found = parsed(text)
    if not isinstance(found, FunctionName):
        return []
    try:
        tree = ast.parse(Path(found.file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []  # whoever loads it says so
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == found.name:
            names = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            return [name for name in names if name not in TAKEN and name != "prompt"]
    return []
