"""How long the rest of a training takes, from the steps that were measured. Knows no trainer and no screen."""

from collections import deque

FIRST = 1
"""Steps at the beginning that do not count: they bring compiled kernels and memory."""
ENOUGH = 4
"""Measured steps from which the rest is told."""
RECENT = 50
"""Steps that the pace is taken from."""
LITTLE_SECONDS = 30.0
"""A rest shorter than this is not worth a word."""


class Pace:
    """Told when a step begins and ends, in seconds."""

    def __init__(self) -> None:
        self.recent: deque[float] = deque(maxlen=RECENT)
        self.seen = 0
        self.began: float | None = None

    def begin(self, now: float) -> None:
        self.began = now

    def end(self, now: float) -> None:
        self.seen += 1
        if self.began is not None and self.seen > FIRST:
            self.recent.append(now - self.began)
        self.began = None

    @property
    def step_seconds(self) -> float | None:
        """Of a step; None while too few were measured."""
        return sum(self.recent) / len(self.recent) if len(self.recent) >= ENOUGH else None

    @property
    def just_known(self) -> bool:
        return len(self.recent) == ENOUGH and self.seen == ENOUGH + FIRST

    def left(self, steps: int) -> float | None:
        """Seconds of so many steps; None where that is not known or not worth a word."""
        each = self.step_seconds
        return None if each is None or each * steps < LITTLE_SECONDS else each * steps


def in_words(seconds: float) -> str:
    """`50 s`, `12 min`, `3 h 20 min`"""
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
