"""TRL's ORPO and CPO trainers without their own tokenizing: rows come as finished tokens, and what these trainers do
with texts before they tokenize finds nothing to do."""

import os
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

from trl.experimental import cpo, orpo

IGNORED = -100


def finished(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that these trainers make of a row."""
    prompt = list(row["prompt_ids"])
    made: dict[str, Any] = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
    for side in ("chosen", "rejected"):
        answer = list(row[f"{side}_ids"])
        ids = prompt + answer
        labels = [IGNORED] * len(prompt) + answer
        made |= {f"{side}_input_ids": ids, f"{side}_attention_mask": [1] * len(ids), f"{side}_labels": labels}
    return made


class ORPOTrainer(orpo.ORPOTrainer):  # type: ignore[misc]
    _name = "ORPO"

    def tokenize_row(self, feature: Mapping[str, Any], model: Any = None) -> dict[str, Any]:
        del model
        return finished(feature)


class CPOTrainer(cpo.CPOTrainer):  # type: ignore[misc]
    _name = "CPO"

    def tokenize_row(self, feature: Mapping[str, Any], model: Any = None) -> dict[str, Any]:
        del model
        return finished(feature)
