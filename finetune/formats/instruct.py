"""What the instruction formats share: the wording around an instruction, and how a row of columns becomes a prompt and
its answer. Knows the names of no columns and no format's wording."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from finetune.formats.meaning import Fields, Segments, optional_text, text_in

PLACE = re.compile(r"\{\{|\}\}|\{(instruction|input|system)\}")


def fill(text: str, **values: str) -> str:
    """`{instruction}`, `{input}` and `{system}` filled in at once, so that braces in the data stay what they are; a
    doubled brace is a brace, as in Python's format."""
    return PLACE.sub(lambda found: values.get(found[1] or "", found[0]) if found[1] else found[0][0], text)


@dataclass(frozen=True)
class Wording:
    """The text before an answer. `bare` is for rows without an input; `system` and `bare_system` stand in for a system
    message that the row does not bring, and `around` is written around either."""

    turn: str
    bare: str
    around: str = "{system}"
    system: str = ""
    bare_system: str = ""

    def prompt(self, instruction: str, extra: str = "", system: str = "") -> str:
        text = fill(self.turn if extra else self.bare, instruction=instruction, input=extra, system=system)
        said = system or (self.system if extra else self.bare_system)
        return (fill(self.around, system=said) if said and self.around else "") + text

    def ask(self) -> str:
        """How a question alone is put, with {instruction} in its place."""
        return self.prompt("{instruction}")


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
    return Segments(((prompt, False), (parts.answer, True)), apart=True, ask=wording.ask())
