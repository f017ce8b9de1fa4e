"""Dataset formats: one module for each kind, the table that names them, and how one is found where a recipe names none.
Row -> meaning; no tokenizer, no model.

A format has `matches(row)`, by which it is detected, `COLUMNS`, which says what it reads, and `read(row, fields)`."""

import difflib
from collections.abc import Mapping
from typing import Any

from finetune.formats import (
    alpaca,
    chat,
    completion,
    creative,
    custom,
    metharme,
    pretokenized,
    prompt_completion,
    questions,
    reflection,
    segments,
    tasks,
)
from finetune.formats.meaning import BadRow, Fields, names_of

FORMATS: Mapping[str, Any] = {
    "pretokenized": pretokenized,
    "chat_template": chat,
    "input_output": segments,
    **reflection.FORMS,
    "metharme": metharme,
    **creative.FORMS,
    **alpaca.SYSTEM,
    **alpaca.PLAIN,
    "prompt_completion": prompt_completion,
    **questions.FORMS,
    **tasks.FORMS,
    "completion": completion,
    "custom": custom,
}
"""In the order in which they are tried on a row: what asks for more columns comes before what asks for fewer."""
PAIRS = (("chosen", "rejected"), ("prompt", "completion", "label"))
"""Columns of preferences, which are no rows to imitate."""


def detect(row: Mapping[str, Any], fields: Fields | None = None) -> tuple[str, str]:
    """(the format, why it is that one), from the columns of a row and those that the recipe names.

    BadRow, with the nearest format, if it fits none; and for preferences, which are not learned from here."""
    if fields and fields.messages:
        return "chat_template", "the recipe names field_messages"
    if fields and fields.text:
        return "completion", "the recipe names field"
    for columns in PAIRS:
        if all(name in row for name in columns):
            raise BadRow(
                f"the rows have {names_of(row)}: {', '.join(f'`{name}`' for name in columns)} are preferences, which "
                "are not learned from here yet. Set datasets.type to learn from one column alone"
            )
    for form, module in FORMATS.items():
        if module.matches(row):
            return form, f"the rows have {module.COLUMNS}"
    near = _nearest(row)
    raise BadRow(
        f"the rows have {names_of(row)}, which fits no known form. Nearest is `{near}`, which reads "
        f"{FORMATS[near].COLUMNS}. Set datasets.type and name the columns, for example "
        "type: {field_instruction: ..., field_output: ...}, or field_messages"
    )


def _nearest(row: Mapping[str, Any]) -> str:
    """The format whose column names look most like the row's."""

    def alike(form: str) -> float:
        wanted = FORMATS[form].COLUMNS.split("`")[1::2]
        return sum(
            max((difflib.SequenceMatcher(None, name.lower(), str(have).lower()).ratio() for have in row), default=0.0)
            for name in wanted
        ) / (len(wanted) or 1)

    return max((form for form in FORMATS if form not in ("custom", "pretokenized")), key=alike)
