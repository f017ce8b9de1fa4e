"""Which measurement was the best of a run, and which checkpoints hold it and the last step. Knows the trainer's log."""

import math
from pathlib import Path
from typing import Any


def best_and_last(args: Any, state: Any, folder: Path) -> dict[str, Any]:
    """`figure`, `greater_is_better`, `best` (step, value and checkpoint of the best measurement made while training,
    or None), `last` (step and checkpoint) and `weights`: which of them the saved weights are."""
    figure = args.metric_for_best_model or "eval_loss"
    greater = bool(args.greater_is_better)
    found = {entry["step"]: entry[figure] for entry in state.log_history if figure in entry and entry["step"]}
    measured = {step: value for step, value in found.items() if not math.isnan(value)}
    best = None
    if measured:
        step = (max if greater else min)(measured, key=lambda step: (measured[step], -step if greater else step))
        best = {"step": step, "value": measured[step], "checkpoint": _checkpoint(args, step, folder)}
    last = {"step": state.global_step, "checkpoint": _checkpoint(args, state.global_step, folder)}
    loaded = args.load_best_model_at_end and state.best_model_checkpoint is not None
    return {
        "figure": figure,
        "greater_is_better": greater,
        "best": best,
        "last": last,
        "weights": "best" if loaded else "last",
    }


def _checkpoint(args: Any, step: int, folder: Path) -> str | None:
    path = Path(args.output_dir) / f"checkpoint-{step}"
    return str(path.relative_to(folder)) if path.is_dir() else None
