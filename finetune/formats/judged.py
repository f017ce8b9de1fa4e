"""Row -> Judged: one answer, and whether it is good. Knows columns and wordings; knows no tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune.formats.answers import Answered
from finetune.formats.meaning import BadRow, Fields, Judged, names_of, text_in
from finetune.formats.preference import continued, filled, prompt_of

LABELS = ("label", "kto_tag")
WORDS = {"true": True, "false": False, "desirable": True, "undesirable": False, "good": True, "bad": False}
WORDS |= {"1": True, "0": False, "yes": True, "no": False}


def label_of(row: Mapping[str, Any], fields: Fields) -> bool:
    """BadRow for anything but true, false, 1 and 0, or one of a few words."""
    named = (fields.prompt or {}).get("field_label") or fields.columns.get("label")
    name = named or next((name for name in LABELS if name in row), LABELS[0])
    if name not in row:
        raise BadRow(f"there is no column `{name}` that says whether the answer is good; the row has {names_of(row)}")
    value = row[name]
    value = WORDS.get(value.strip().lower(), value) if isinstance(value, str) else value
    if value not in (True, False) or value is None:
        raise BadRow(f"`{name}: {value!r}` should be true for a good answer or false for a bad one")
    return bool(value)


@dataclass(frozen=True)
class Judgements:
    """`read` gives BadRow for a missing column, and for a label that is neither true nor false."""

    columns: Answered
    COLUMNS: str = "`completion` (or `messages`), a question and `label`"
    found: bool = False

    def matches(self, row: Mapping[str, Any]) -> bool:
        return self.found and any(name in row for name in LABELS)

    def read(self, row: Mapping[str, Any], fields: Fields) -> Judged:
        names = (fields.columns.get("completion"),) if fields.columns.get("completion") else self.columns.completion
        if not any(name in row for name in names):
            before = self.columns.before(row, fields)
            if before is not None and before[-1].role == "assistant" and len(before) > 1:
                from finetune.formats.meaning import Conversation

                return Judged(Conversation(before, None, self.columns.wording), label_of(row, fields))
        return Judged(self.columns.answered(row, "completion", fields), label_of(row, fields))


@dataclass(frozen=True)
class Plain:
    """Texts as they stand, as TRL takes them."""

    COLUMNS: str = "`prompt`, `completion` and `label`, as TRL has them"

    def matches(self, row: Mapping[str, Any]) -> bool:
        del row  # only a recipe can say that a text is meant without the chat template
        return False

    def read(self, row: Mapping[str, Any], fields: Fields) -> Judged:
        prompt, completion = (fields.columns.get(part) or part for part in ("prompt", "completion"))
        if not isinstance(row.get(completion), str) or not isinstance(row.get(prompt), str):
            return Judgements(Answered()).read(row, fields)
        return Judged(continued(text_in(row, prompt), text_in(row, completion)), label_of(row, fields))


@dataclass(frozen=True)
class Worded:
    """A wording that the recipe itself writes down (`type:` as a mapping)."""

    COLUMNS: str = "the columns that the mapping under `type` names"

    def matches(self, row: Mapping[str, Any]) -> bool:
        del row  # only a recipe can say that
        return False

    def read(self, row: Mapping[str, Any], fields: Fields) -> Judged:
        how = fields.prompt or {}
        text = text_in(row, how.get("field_completion") or fields.columns.get("completion") or "completion")
        answer = filled(how.get("completion_format") or "{completion}", completion=text)
        return Judged(continued(prompt_of(row, how, fields), answer), label_of(row, fields))


_ASKS = {
    "argilla": (("instruction",), "`instruction`, `completion` and `label`"),
    "argilla_chat": ((), "`completion` (a list of messages) and `label`"),
    "intel": (("question",), "`question`, `completion` and `label`"),
    "prompt_pairs": (("prompt",), "`prompt`, `completion` and `label`"),
    "ultra": (("prompt",), "`prompt`, `completion` and `label`"),
}


def _worded(wording: str) -> dict[str, Judgements]:
    forms = {
        f"{wording}.{name}": Judgements(Answered(asks, wording=wording), says) for name, (asks, says) in _ASKS.items()
    }
    return {wording: Judgements(Answered(wording=wording))} | forms


JUDGED: Mapping[str, Any] = {
    "chat_template": Judgements(Answered(), found=True),
    **_worded("chatml"),
    **_worded("llama3"),
    "passthrough": Plain(),
    "user_defined": Worded(),
}
"""In the order in which they are tried on a row."""
