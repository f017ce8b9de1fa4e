"""The trainer's callback: metrics to JSONL, the live line, a clean stop on a signal, an end to runs whose loss is not a
number. Imports transformers: only the runner may import this module, once the backend is ready."""

import json
import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from finetune.errors import TrainingError
from finetune.recipe.measures import FIGURES
from finetune.screen import TrainingLine
from finetune.stopping import StopRequest


class Watcher(TrainerCallback):  # type: ignore[misc]
    """Writes every log of the trainer as one JSON line: step, epoch, seconds since the start, and its numbers."""

    def __init__(self, metrics: Path, line: TrainingLine, stop: StopRequest) -> None:
        self.metrics = metrics.open("a", encoding="utf-8", buffering=1)
        self.line, self.stop = line, stop
        self.started = time.monotonic()
        self.evaluating = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, control, kwargs
        self.line.begin(state.max_steps)
        self.started, self.evaluating = time.monotonic(), 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, kwargs
        self.line.step(state.global_step)
        if self.stop.signal is not None:
            control.should_training_stop = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Whoever asked the run to stop does not wait for a validation that the end of the loop would bring."""
        del args, state, kwargs
        if self.stop.signal is not None:
            control.should_evaluate = False

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        del args, control, kwargs
        seconds = time.monotonic() - self.started
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
            self.line.facts(state.global_step, facts)

    def _facts(self, numbers: dict[str, Any], seconds: float) -> str:
        parts = [
            f"{name} {numbers[key]:{form}}"
            for key, name, form in (
                ("loss", "loss", ".3f"),
                ("eval_loss", "eval loss", ".3f"),
                ("learning_rate", "lr", ".1e"),
            )
            if key in numbers
        ]
        scored = [name for name in FIGURES if f"eval_{name}" in numbers and name not in ("loss", "mean_token_accuracy")]
        parts += [f"{name.replace('_', ' ')} {numbers[f'eval_{name}']:.4g}" for name in scored]
        if "loss" in numbers and numbers.get("num_input_tokens_seen") and seconds > 0:
            parts.append(f"{numbers['num_input_tokens_seen'] / seconds:,.0f} tokens/s")
        return "  ".join(parts)

    def close(self) -> None:
        self.metrics.close()


class LossWatchdog(TrainerCallback):  # type: ignore[misc]
    """Ends the run when the training loss stays above `threshold` for `patience` lines of metrics in a row."""

    def __init__(self, threshold: float, patience: int) -> None:
        self.threshold, self.patience = threshold, patience
        self.above = 0

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        del args, control, kwargs
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        self.above = self.above + 1 if loss > self.threshold else 0
        if self.above >= self.patience:
            raise TrainingError(
                f"the loss stayed above loss_watchdog_threshold: {self.threshold:g} for {self.above} lines of metrics, "
                f"until step {state.global_step}: the run is stopped. Lower learning_rate, or raise the threshold"
            )


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
