"""Row -> PreferencePair: a chosen and a rejected answer to the same question, under the recipe's chat template, in a
wording that the type's name brings, or as plain text. Knows columns and wordings; knows no tokenizer."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune.formats.answers import Answered
from finetune.formats.meaning import (
    BadRow,
    Conversation,
    Fields,
    Message,
    PreferencePair,
    Segments,
    kind_of,
    names_of,
    optional_text,
    text_in,
)

PLACE = re.compile(r"\{\{|\}\}|\{(\w+)\}")


@dataclass(frozen=True)
class Pairs:
    """`read` gives BadRow for a missing column, for answers to different questions, and for answers that are equal."""

    columns: Answered
    COLUMNS: str = "`chosen`, `rejected` and a question (`prompt`, `messages` or before each answer)"
    found: bool = False
    same_question: bool = True

    def matches(self, row: Mapping[str, Any]) -> bool:
        return self.found and "chosen" in row and "rejected" in row

    def read(self, row: Mapping[str, Any], fields: Fields) -> PreferencePair:
        chosen = self.columns.answered(row, "chosen", fields)
        rejected = self.columns.answered(row, "rejected", fields)
        if not self.same_question:
            # As Axolotl has it: what was said before is taken from the chosen side.
            rejected = Conversation((*chosen.messages[:-1], rejected.messages[-1]), chosen.tools, chosen.wording)
        if chosen.messages[:-1] != rejected.messages[:-1]:
            pairs = zip(chosen.messages[:-1], rejected.messages[:-1], strict=False)
            turn = next((number for number, (one, other) in enumerate(pairs, 1) if one != other), None)
            where = f"from turn {turn} on" if turn else "in their number of turns"
            raise BadRow(
                f"the conversations of the chosen and the rejected answer differ {where}, before the last answer: "
                "a pair needs one question"
            )
        return _different(PreferencePair(chosen, rejected))


def _different(pair: PreferencePair) -> PreferencePair:
    if pair.chosen == pair.rejected:
        raise BadRow("the chosen and the rejected answer are the same")
    return pair


@dataclass(frozen=True)
class Plain:
    """Texts as they stand, as TRL takes them; without a question column the beginning that both answers share."""

    COLUMNS: str = "`prompt`, `chosen` and `rejected`, as TRL has them"

    def matches(self, row: Mapping[str, Any]) -> bool:
        del row  # only a recipe can say that a text is meant without the chat template
        return False

    def read(self, row: Mapping[str, Any], fields: Fields) -> PreferencePair:
        names = [fields.columns.get(part) or part for part in ("chosen", "rejected")]
        if any(not isinstance(row.get(name), str) for name in names):
            return Pairs(Answered()).read(row, fields)
        chosen, rejected = (text_in(row, name) for name in names)
        column = fields.columns.get("prompt") or "prompt"
        if column in row:
            prompt = text_in(row, column)
        else:
            prompt = _shared(chosen, rejected)
            chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
        if not prompt:
            raise BadRow(f"there is no question: no column `{column}`, and the two answers begin differently")
        return _different(PreferencePair(continued(prompt, chosen), continued(prompt, rejected)))


def _shared(one: str, other: str) -> str:
    """The beginning of both texts, less a space at its end, which belongs to the next word."""
    end = next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    return one[: end - 1] if end and one[end - 1] == " " else one[:end]


def continued(prompt: str, answer: str) -> Segments:
    return Segments(((prompt, False), (answer, True)), ask="{instruction}")


@dataclass(frozen=True)
class Worded:
    """A wording that the recipe itself writes down (`type:` as a mapping)."""

    COLUMNS: str = "the columns that the mapping under `type` names"

    def matches(self, row: Mapping[str, Any]) -> bool:
        del row  # only a recipe can say that
        return False

    def read(self, row: Mapping[str, Any], fields: Fields) -> PreferencePair:
        how = fields.prompt or {}
        prompt = prompt_of(row, how, fields)
        sides = []
        for part in ("chosen", "rejected"):
            text = text_in(row, how.get(f"field_{part}") or fields.columns.get(part) or part)
            sides.append(continued(prompt, filled(how.get(f"{part}_format") or f"{{{part}}}", **{part: text})))
        return _different(PreferencePair(*sides))


def prompt_of(row: Mapping[str, Any], how: Mapping[str, Any], fields: Fields) -> str:
    """The text before an answer, in the recipe's own wording."""
    question = text_in(row, how.get("field_prompt") or fields.columns.get("prompt") or "prompt")
    system = optional_text(row, how.get("field_system") or "system")
    return filled(how.get("prompt_format") or "{prompt}", prompt=question, system=system)


def filled(text: str, **values: str) -> str:
    """Places filled in at once, so that braces in the data stay what they are; a doubled brace is a brace."""
    return PLACE.sub(lambda found: values.get(found[1], found[0]) if found[1] else found[0][0], text)


@dataclass(frozen=True)
class Ranked:
    """Several answers with ranks, the best of which is 1: the best is chosen, the worst rejected."""

    wording: str | None
    COLUMNS: str = "`prompt` and `answers` (a list of {answer, rank})"

    def matches(self, row: Mapping[str, Any]) -> bool:
        return "prompt" in row and isinstance(row.get("answers"), list)

    def read(self, row: Mapping[str, Any], fields: Fields) -> PreferencePair:
        del fields  # the columns' names are the format's
        answers = row.get("answers")
        if not isinstance(answers, list) or len(answers) < 2:
            raise BadRow(f"column `answers` should be a list of at least two answers; the row has {names_of(row)}")
        ranked = sorted((_rank(answer, number), number, answer) for number, answer in enumerate(answers, 1))
        opening = (Message("system", ""), Message("user", text_in(row, "prompt")))
        best, worst = (text_in(ranked[place][2], "answer") for place in (0, -1))
        sides = [Conversation((*opening, Message("assistant", text)), None, self.wording) for text in (best, worst)]
        return _different(PreferencePair(*sides))


def _rank(answer: Any, number: int) -> float:
    rank = answer.get("rank") if isinstance(answer, Mapping) else None
    if isinstance(rank, bool) or not isinstance(rank, int | float):
        raise BadRow(f"answer {number} has no number under `rank`, but {kind_of(rank)}")
    return float(rank)


_SAYS = {
    "argilla": "`instruction`, `chosen_response` and `rejected_response`",
    "argilla_chat": "`chosen` and `rejected`, each a list of messages",
    "icr": "`input`, `chosen` and `rejected`",
    "intel": "`question`, `chosen` and `rejected`",
    "prompt_pairs": "`prompt`, `chosen` and `rejected`",
    "ultra": "`prompt`, and `chosen` and `rejected`, each a list of messages",
}
_ASKS = {
    "icr": ("input",),
    "intel": ("question",),
    "prompt_pairs": ("prompt",),
    "ultra": ("prompt",),
    "argilla_chat": (),
}
_ANY = ("prompt", "input", "question", "instruction")


def _worded(wording: str) -> dict[str, Pairs]:
    """Axolotl's types of one wording: each has its columns."""
    forms = {
        f"{wording}.{name}": Pairs(
            Answered(_ASKS.get(name, _ANY), wording=wording), says, same_question=name != "argilla_chat"
        )
        for name, says in _SAYS.items()
    }
    return {wording: Pairs(Answered(_ANY, wording=wording), "a question, `chosen` and `rejected`")} | forms


PAIRS: Mapping[str, Any] = {
    "chat_template": Pairs(Answered(), found=True),
    "chat_template.argilla": Pairs(Answered(("prompt",)), _SAYS["argilla_chat"]),
    "chat_template.argilla_chat": Pairs(Answered(()), _SAYS["argilla_chat"], same_question=False),
    "bradley_terry.chat_template": Pairs(Answered(("input", "prompt")), _SAYS["icr"]),
    "bradley_terry.llama3": Pairs(Answered(("input",), wording="llama3"), _SAYS["icr"]),
    **_worded("chatml"),
    **_worded("llama3"),
    "zephyr.nectar": Ranked("zephyr"),
    "passthrough": Plain(),
    "user_defined": Worded(),
}
"""In the order in which they are tried on a row."""
