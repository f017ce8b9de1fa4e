"""When a run writes checkpoints and measures its validation rows, as a recipe's values say. Knows no trainer."""

from collections.abc import Mapping
from typing import Any

Interval = tuple[str | None, int | float | None]
"""transformers' (strategy, steps); steps below 1 are a share of all steps."""


def interval(strategy: str | None, steps: int | float | None, per_epoch: int | None, epochs: float) -> Interval:
    if steps:
        return "steps", steps
    if per_epoch and per_epoch * epochs > 1:
        return ("epoch", None) if per_epoch == 1 else ("steps", 1 / (per_epoch * epochs))
    return ("epoch" if per_epoch else strategy), None


def saved(values: Mapping[str, Any]) -> Interval:
    return interval(values.get("save_strategy"), values.get("save_steps"), *_per_epoch(values, "saves_per_epoch"))


def measured(values: Mapping[str, Any]) -> Interval:
    """Where nothing is written, each epoch."""
    strategy, steps = interval(
        values.get("eval_strategy"), values.get("eval_steps"), *_per_epoch(values, "evals_per_epoch")
    )
    return strategy or "epoch", steps


def _per_epoch(values: Mapping[str, Any], key: str) -> tuple[int | None, float]:
    return values.get(key), values.get("num_epochs") or 1.0


def measures_what_it_saves(values: Mapping[str, Any]) -> bool:
    """Whether the validation rows are measured whenever a checkpoint is written, which choosing the best one needs."""
    saves, evals = saved(values), measured(values)
    if saves[0] != evals[0] or saves[0] in (None, "no"):
        return False
    return saves == evals or bool(saves[1] and evals[1] and saves[1] >= 1 <= evals[1] and saves[1] % evals[1] == 0)
