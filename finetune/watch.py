"""The trainer's callback: metrics to JSONL, the live line, an end to runs whose loss is not a number.
Imports transformers: only the runner may import this module, once the backend is ready."""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from finetune.errors import Diverged, TrainingError
from finetune.pace import Pace
from finetune.recipe.measures import FIGURES, PREFERRING
from finetune.screen import TrainingLine

NAMED = ("loss", "mean_token_accuracy", *PREFERRING, "margin", "reward")
"""Figures of a measurement that the live line names in its own words, or not at all."""


class Watcher(TrainerCallback):  # type: ignore[misc]
    """Writes every log of the trainer as one JSON line: step, epoch, seconds since the start, and its numbers."""

    def __init__(self, metrics: Path, line: TrainingLine, before: Mapping[str, Any]) -> None:
        """`before`: what a checkpoint says of the training until then."""
        self.metrics = metrics.open("a", encoding="utf-8", buffering=1)
        self.line = line
        self.started = time.monotonic() - float(before.get("seconds", 0.0))
        self.evaluating = float(before.get("evaluating", 0.0))
        self.resumed = bool(before)
        self.pace = Pace()

    def seconds(self) -> float:
        """Since training began, in all the processes that had a part in it."""
        return time.monotonic() - self.started

    def written(self) -> int:
        """Bytes of metrics so far, all of them on the disk."""
        self.metrics.flush()
        os.fsync(self.metrics.fileno())
        return os.fstat(self.metrics.fileno()).st_size

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, control, kwargs
        self.line.begin(state.max_steps)
        if not self.resumed:
            self.started, self.evaluating = time.monotonic(), 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, state, control, kwargs
        self.pace.begin(time.monotonic())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, control, kwargs
        self.pace.end(time.monotonic())
        self.line.step(state.global_step)
        left = self.pace.left(state.max_steps - state.global_step)
        if self.pace.just_known and left is not None and self.pace.step_seconds is not None:
            self.line.pace(self.pace.step_seconds, left)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        del args, control, kwargs
        seconds = self.seconds()
        numbers = {key: value for key, value in (logs or {}).items() if key != "epoch"}
        entry = {"step": state.global_step, "epoch": state.epoch, "seconds": round(seconds, 3), **numbers}
        # JSON has no word for a number that is none.
        entry = {key: value if _finite(value) else str(value) for key, value in entry.items()}
        self.evaluating += numbers.get("eval_runtime", 0.0)
        self.metrics.write(json.dumps(entry) + "\n")
        for key in ("loss", "eval_loss", "train_loss"):
            value = numbers.get(key)
            if not _finite(value):
                raise TrainingError(
                    f"{key} is {value} at step {state.global_step}: the run is stopped. Lower learning_rate, raise "
                    "warmup_steps, or look for damaged rows; with fp16: true, prefer bf16"
                )
        facts = self._facts(numbers, seconds - self.evaluating)
        if facts:
            left = self.pace.left(state.max_steps - state.global_step) if "loss" in numbers else None
            self.line.facts(state.global_step, facts, left)

    def _facts(self, numbers: dict[str, Any], seconds: float) -> str:
        parts = [
            f"{name} {numbers[key]:{form}}"
            for key, name, form in (
                ("loss", "loss", ".3f"),
                ("eval_loss", "eval loss", ".3f"),
                ("rewards/margins", "margin", ".3f"),
                ("rewards/accuracies", "right", ".0%"),
                ("margin", "margin", ".3f"),
                ("accuracy", "right", ".0%"),
                ("reward", "reward", ".3f"),
                ("eval_rewards/margins", "eval margin", ".3f"),
                ("eval_rewards/accuracies", "right", ".0%"),
                ("eval_margin", "eval margin", ".3f"),
                ("eval_reward", "eval reward", ".3f"),
                ("learning_rate", "lr", ".1e"),
            )
            if numbers.get(key) is not None
        ]
        scored = [name for name in FIGURES if f"eval_{name}" in numbers and name not in NAMED]
        parts += [f"{name.replace('_', ' ')} {numbers[f'eval_{name}']:.4g}" for name in scored]
        if "loss" in numbers and numbers.get("num_input_tokens_seen") and seconds > 0:
            parts.append(f"{numbers['num_input_tokens_seen'] / seconds:,.0f} tokens/s")
        return "  ".join(parts)

    def close(self) -> None:
        self.metrics.close()


class LossWatchdog(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Ends the run when the training loss stays above `threshold` for `patience` lines of metrics in a row."""

    def __init__(self, threshold: float, patience: int) -> None:
        self.threshold, self.patience = threshold, patience
        self.above = self.since = self.seen = 0

    def state(self) -> dict[str, Any]:
        counted = {"above": self.above, "since": self.since, "seen": self.seen}
        return {"args": {"threshold": self.threshold, "patience": self.patience}, "attributes": counted}

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        del args, control, kwargs
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not self.above:
            self.since = self.seen  # a line is the mean of the steps since the one before
        self.above = self.above + 1 if loss > self.threshold else 0
        self.seen = state.global_step
        if self.above >= self.patience:
            raise Diverged(
                f"the loss stayed above loss_watchdog_threshold: {self.threshold:g} for {self.above} lines of metrics, "
                f"until step {state.global_step}: the run is stopped. Lower learning_rate, or raise the threshold",
                self.since,
            )


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
