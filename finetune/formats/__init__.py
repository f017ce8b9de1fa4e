"""Dataset formats: one module for each kind, the table that names them, and how one is found where a recipe names none.
Row -> meaning; no tokenizer, no model.

A form has `matches(row)`, by which it is detected, `COLUMNS`, which says what it reads, and `read(row, fields)`."""

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
from finetune.formats.asked import ASKED
from finetune.formats.judged import JUDGED
from finetune.formats.meaning import BadRow, Fields, names_of
from finetune.formats.preference import PAIRS

ALIKE = 0.6
"""How much of a form's column names must look like a row's, for it to be named as the nearest."""
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
KINDS: Mapping[str, Mapping[str, Any]] = {"rows": FORMATS, "pair": PAIRS, "judged": JUDGED, "prompt": ASKED}
"""What a row is, by the method that learns from it -> the forms it may have."""
READERS: Mapping[str, Any] = dict(FORMATS) | {
    f"{kind}:{form}": module for kind, forms in KINDS.items() if kind != "rows" for form, module in forms.items()
}
"""All of them, by the names under which plans have them."""
WHOLE = {
    "rows": "rows to imitate",
    "pair": "pairs of a chosen and a rejected answer (rl: dpo, ipo, orpo, simpo, cpo, or reward_model: true)",
    "judged": "answers that are good or bad (rl: kto)",
    "prompt": "questions (rl: grpo, gdpo or rloo)",
}


def name_of(form: str, kind: str) -> str:
    """The name in READERS of a form as a recipe has it."""
    return form if kind == "rows" else f"{kind}:{form}"


def detect(row: Mapping[str, Any], fields: Fields | None = None) -> tuple[str, str]:
    """(the form, why it is that one), from the columns of a row and those that the recipe names.

    BadRow, with the nearest form, if it fits none; and where the rows are of another kind than the method's."""
    kind = fields.kind if fields else "rows"
    if fields and kind != "rows":
        # A column that the recipe names counts as the one that it is named for.
        named = {part: row[column] for part, column in fields.columns.items() if column in row}
        form, why = _detect_answers({**row, **named}, kind, names_of(row))
        also = "".join(f"; `{fields.columns[part]}` is the {part}" for part in named if fields.columns[part] != part)
        return form, why + also
    if fields and fields.messages:
        return "chat_template", "the recipe names field_messages"
    if fields and fields.text:
        return "completion", "the recipe names field"
    for other in ("pair", "judged"):
        if KINDS[other]["chat_template"].matches(row) and _is_kind(row, other):
            raise BadRow(
                f"the rows have {names_of(row)}: they are {WHOLE[other]}, and this recipe imitates. Write that method, "
                "or set datasets.type to learn from one column alone"
            )
    for form, module in FORMATS.items():
        if module.matches(row):
            return form, f"the rows have {module.COLUMNS}"
    near = _nearest(row)
    nearest = f" Nearest is `{near}`, which reads {FORMATS[near].COLUMNS}." if near else ""
    raise BadRow(
        f"the rows have {names_of(row)}, which fits no known form.{nearest} Set datasets.type and name the "
        "columns, for example type: {field_instruction: ..., field_output: ...}, or field_messages"
    )


def _is_kind(row: Mapping[str, Any], kind: str) -> bool:
    """Whether the columns are of that kind alone: a `label` may be anything beside rows to imitate."""
    return kind == "pair" or any(name in row for name in ("completion", "kto_tag"))


def _detect_answers(row: Mapping[str, Any], kind: str, names: str) -> tuple[str, str]:
    """`names`: the row's columns, as the file has them."""
    for form, module in KINDS[kind].items():
        if module.matches(row):
            return name_of(form, kind), f"the rows have {module.COLUMNS}"
    others = [
        WHOLE[other] for other in ("pair", "judged") if other != kind and KINDS[other]["chat_template"].matches(row)
    ]
    is_ = f" They look like {others[0]}." if others else ""
    raise BadRow(
        f"the rows have {names}, and this recipe learns from {WHOLE[kind]}, which have "
        f"{KINDS[kind]['chat_template'].COLUMNS}.{is_} Name the columns (field_prompt, field_chosen, ...), set "
        "datasets.type, or choose the method that fits the rows"
    )


def _nearest(row: Mapping[str, Any]) -> str | None:
    """The format whose column names look most like the row's, if any do."""

    def alike(form: str) -> float:
        wanted = FORMATS[form].COLUMNS.split("`")[1::2]
        return sum(
            max((difflib.SequenceMatcher(None, name.lower(), str(have).lower()).ratio() for have in row), default=0.0)
            for name in wanted
        ) / (len(wanted) or 1)

    near = max((form for form in FORMATS if form not in ("custom", "pretokenized")), key=alike)
    return near if alike(near) > ALIKE else None
