"""Row -> Tokens for rows that were tokenized elsewhere. Believes the ids; knows no tokenizer."""

from collections.abc import Mapping
from typing import Any

from finetune.formats.meaning import BadRow, Fields, Tokens, names_of

COLUMNS = "`input_ids`, `labels` and, if there is one, `attention_mask`"


def matches(row: Mapping[str, Any]) -> bool:
    return "input_ids" in row


def read(row: Mapping[str, Any], fields: Fields) -> Tokens:
    """Without labels every token is learned; where attention_mask is 0 is padding, which is cut off. BadRow for lists
    that are missing, empty, of different lengths or of anything but whole numbers, and for a label that is not the
    token itself."""
    del fields  # the columns' names are the format's
    ids = _whole(row, "input_ids")
    labels = _whole(row, "labels") if row.get("labels") is not None else ids
    mask = _whole(row, "attention_mask") if row.get("attention_mask") is not None else [1] * len(ids)
    if not len(ids) == len(labels) == len(mask):
        raise BadRow(
            f"`input_ids` has {len(ids)} entries, `labels` {len(labels)} and `attention_mask` {len(mask)}: they should "
            "be equally long"
        )
    kept = [place for place, seen in enumerate(mask) if seen]
    if not kept:
        raise BadRow("`input_ids` holds no token")
    for place in kept:
        if labels[place] not in (-100, ids[place]):
            raise BadRow(
                f"token {place + 1}: the label {labels[place]} is neither the token {ids[place]} nor -100. Labels must "
                "not be shifted; the model shifts them"
            )
    return Tokens(tuple(ids[place] for place in kept), tuple(labels[place] for place in kept))


def _whole(row: Mapping[str, Any], column: str) -> list[int]:
    values = row.get(column)
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise BadRow(f"column `{column}` should be a list of whole numbers; the row has {names_of(row)}")
    return values
