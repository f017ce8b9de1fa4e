"""Courses of the learning rate that transformers does not have, put into the trainer's scheduler before its first step.
Knows no optimizer."""

import math
from typing import Any

from transformers import TrainerCallback

REX = 0.1
"""REX's constant: how late the learning rate falls."""


class Course(TrainerCallback):  # type: ignore[misc]  # transformers ships no complete types
    """`shape`: cosine or rex. `least`: where it ends, as a share of the peak. `ends_at`: the share of all steps after
    which it stays there. `rise`: the power of the step with which the warm-up rises."""

    def __init__(self, *, shape: str, least: float, ends_at: float, rise: int) -> None:
        self.shape, self.least, self.ends_at, self.rise = shape, least, ends_at, rise

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        scheduler, total = kwargs["lr_scheduler"], state.max_steps
        warmup = args.get_warmup_steps(total)
        scheduler.lr_lambdas = [lambda step: self.share(step, warmup, total) for _ in scheduler.base_lrs]
        # The first step's rate was set when the scheduler was made; after a resume, the next one's.
        share = self.share(scheduler.last_epoch, warmup, total)
        for group, peak in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, strict=True):
            group["lr"] = peak * share
        scheduler._last_lr = [group["lr"] for group in scheduler.optimizer.param_groups]

    def share(self, step: int, warmup: int, total: int) -> float:
        """The learning rate of a step as a share of its peak."""
        if step < warmup:
            return float((step / max(1, warmup)) ** self.rise)
        # Steps are cut down as Axolotl cuts them.
        last = int(total * self.ends_at) if self.ends_at < 1 else total
        done = min(1.0, (step - warmup) / max(1, last - warmup))
        if self.shape == "rex":
            left = 1 - done
            falling = left / (REX + (1 - REX) * left)
        else:
            falling = 0.5 * (1 + math.cos(math.pi * done))
        return self.least + (1 - self.least) * falling
