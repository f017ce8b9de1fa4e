"""How a run is asked to end. Inside the protected part a signal is only noted; elsewhere it ends the process at once.
Knows no trainer."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from finetune import ranks

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

SAME_S = 1.0
"""A signal within so many seconds of another is the same one: Slurm and systemd send it to every process of a run, and
launchers hand theirs on."""
NOTED = b"\nstopping after this step; what is trained will be saved. Once more to stop at once, unsaved\n"


class Stopped(KeyboardInterrupt):
    """A signal outside the protected part. `number`: which, for the exit code 128 + number."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"stopped by {signal.Signals(number).name}")


def raise_on_signals() -> None:
    """From now on SIGINT, SIGTERM and SIGHUP raise Stopped."""

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        raise Stopped(number)

    for number in SIGNALS:
        signal.signal(number, stop)


class StopRequest:
    """Whether a signal asked the run to end after the step under way. A second one ends it at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.asked = 0.0

    def agreed(self) -> int | None:
        """The signal, once any process of the run has been sent one; asked by all of them at the same step."""
        self.signal = ranks.most(self.signal or 0) or None
        return self.signal

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """The protected part: the first signal is noted and acknowledged, the second raises Stopped, if it is not
        the first once more."""

        def ask(number: int, frame: FrameType | None) -> None:
            del frame
            if self.signal is not None:
                if time.monotonic() - self.asked < SAME_S:
                    return
                raise Stopped(number)
            self.signal, self.asked = number, time.monotonic()
            # Not through the screen or a log: the signal may have come while they held their own locks.
            if ranks.this_rank().first:
                os.write(2, NOTED)

        before = {number: signal.signal(number, ask) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
