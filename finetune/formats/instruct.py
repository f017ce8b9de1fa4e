"""What the instruction formats share: the wording around an instruction, and how a row of columns becomes a prompt and
its answer. Knows the names of no columns and no format's wording."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from finetune.formats.meaning import Fields, Place, Segments, optional_text, text_in

PLACE = re.compile(r"\{\{|\}\}|\{(instruction|input|system)\}")


@dataclass(frozen=True)
class Filled:
    """A text with the row's words in it, and where those stand."""

    text: str = ""
    own: tuple[Place, ...] = ()

    def __add__(self, other: "Filled") -> "Filled":
        size = len(self.text)
        return Filled(self.text + other.text, (*self.own, *((start + size, end + size) for start, end in other.own)))


def fill(text: str, **values: str) -> Filled:
    """`{instruction}`, `{input}` and `{system}` filled in at once, so that braces in the data stay what they are; a
    doubled brace is a brace, as in Python's format."""
    filled, at = Filled(), 0
    for found in PLACE.finditer(text):
        filled += Filled(text[at : found.start()] + ("" if found[1] else found[0][0]))
        filled += whole(values.get(found[1], found[0])) if found[1] else Filled()
        at = found.end()
    return filled + Filled(text[at:])


def whole(text: str) -> Filled:
    """Words that are all the row's own."""
    return Filled(text, ((0, len(text)),) if text else ())


@dataclass(frozen=True)
class Wording:
    """The text before an answer. `bare` is for rows without an input; `system` and `bare_system` stand in for a system
    message that the row does not bring, and `around` is written around either."""

    turn: str
    bare: str
    around: str = "{system}"
    system: str = ""
    bare_system: str = ""

    def prompt(self, instruction: str, extra: str = "", system: str = "") -> Filled:
        text = fill(self.turn if extra else self.bare, instruction=instruction, input=extra, system=system)
        said = system or (self.system if extra else self.bare_system)
        if not said or not self.around:
            return text
        before = fill(self.around, system=said)
        return (before if system else Filled(before.text)) + text

    def ask(self) -> str:
        """How a question alone is put, with {instruction} in its place."""
        return self.prompt("{instruction}").text


@dataclass(frozen=True)
class Parts:
    """What a row holds, whatever its columns are called."""

    instruction: str
    answer: str
    extra: str = ""
    system: str = ""


@dataclass(frozen=True)
class Columns:
    """Where the parts of a row stand; None where the format has no such column."""

    instruction: str
    output: str
    input: str | None = None
    system: str | None = None

    def __call__(self, row: Mapping[str, Any]) -> Parts:
        return Parts(
            text_in(row, self.instruction),
            text_in(row, self.output),
            optional_text(row, self.input),
            optional_text(row, self.system),
        )


@dataclass(frozen=True)
class Instruct:
    """A format of instruction rows. `needs`: the columns by which a row is known to be of this format; none where the
    recipe must name it. `read` gives BadRow for a missing column or one that is not text."""

    columns: Callable[[Mapping[str, Any]], Parts]
    wording: Wording
    COLUMNS: str
    needs: tuple[str, ...] = ()

    def matches(self, row: Mapping[str, Any]) -> bool:
        return bool(self.needs) and all(name in row for name in self.needs)

    def read(self, row: Mapping[str, Any], fields: Fields) -> Segments:
        del fields  # the columns' names are the format's
        return asked(self.wording, self.columns(row))


def asked(wording: Wording, parts: Parts) -> Segments:
    """Prompt and answer, tokenized apart: a model that answers has seen the prompt by itself too."""
    prompt = wording.prompt(parts.instruction, parts.extra, parts.system)
    own = (prompt + whole(parts.answer)).own
    return Segments(((prompt.text, False), (parts.answer, True)), apart=True, own=own, ask=wording.ask())
