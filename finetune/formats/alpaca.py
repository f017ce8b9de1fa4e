"""Row -> Segments for Alpaca's instruction, input and output. Knows the prompt's wording; knows no tokenizer.

The wording is Stanford Alpaca's (github.com/tatsu-lab/stanford_alpaca), which models were trained on and so must be
kept to the letter."""

from collections.abc import Mapping
from typing import Any

from finetune.formats.meaning import BadRow, Fields, Segments

COLUMNS = "`instruction`, `output` and, if there is one, `input`"
WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
WITHOUT_INPUT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)


def matches(row: Mapping[str, Any]) -> bool:
    return "instruction" in row and "output" in row


def read(row: Mapping[str, Any], fields: Fields) -> Segments:
    """BadRow for a missing column or one that is not text; an absent, null or empty input is no input."""
    del fields  # the columns' names are fixed
    for column in ("instruction", "output"):
        if not isinstance(row.get(column), str):
            found = "is missing" if column not in row else f"is {type(row[column]).__name__}, not text"
            raise BadRow(f"column `{column}` {found}; the row has {', '.join(f'`{name}`' for name in row)}")
    extra = row.get("input")
    if extra is not None and not isinstance(extra, str):
        raise BadRow(f"column `input` is {type(extra).__name__}, not text")
    return Segments(((prompt(row["instruction"], extra or ""), False), (row["output"], True)))


def prompt(instruction: str, extra: str = "") -> str:
    """The text an answer continues; str.replace, since an instruction may hold braces."""
    text = WITH_INPUT if extra else WITHOUT_INPUT
    return text.replace("{input}", extra).replace("{instruction}", instruction)
