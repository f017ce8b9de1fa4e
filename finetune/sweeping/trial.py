"""One trial: an ordinary run in a process of its own, watched through its metrics. A crash, a kill or memory that does
not suffice ends the trial and not the sweep. Knows no Optuna."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.errors import EXIT_CODES

LOOK_S = 0.3
"""Between two looks at a trial's metrics."""
PATIENCE_S = 120
"""That a trial has to save itself once it is asked to end."""
TOLD = 160


@dataclass(frozen=True)
class Outcome:
    """`state`: complete, pruned, failed or interrupted. `value`: the figure that counts, where it is complete."""

    state: str
    value: float | None
    steps: int
    seconds: float
    reason: str = ""


class Metrics:
    """The lines of a growing metrics.jsonl, each once."""

    def __init__(self, path: Path) -> None:
        self.path, self.read = path, 0

    def new(self) -> Iterator[dict[str, Any]]:
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            file.seek(self.read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.read += len(line)
                yield json.loads(line)


def run_trial(recipe: Path, folder: Path, figure: str, seen: Callable[[int, float], bool]) -> Outcome:
    """Train a recipe into its folder. `seen` is told each measurement made while training (step, value) and says
    whether the trial should be ended. What the run prints goes to a .log beside the folder."""
    started = time.monotonic()
    metrics, measured, pruned = Metrics(folder / "metrics.jsonl"), dict[int, float](), False
    command = [sys.executable, "-m", "finetune", "train", str(recipe)]
    with folder.with_suffix(".log").open("wb") as log:
        # A session of its own: Ctrl-C reaches the sweep, which ends the trial in its own time.
        process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_end_with_us
        )
        try:
            while True:
                over = process.poll() is not None
                for line in metrics.new():
                    value = line.get(figure)
                    if line["step"] and isinstance(value, int | float) and math.isfinite(value):
                        measured[line["step"]] = float(value)
                        if not pruned and not over and seen(line["step"], float(value)):
                            pruned = True
                            process.terminate()
                if over:
                    break
                time.sleep(LOOK_S)
        finally:
            _end(process)
    steps, seconds = max(measured, default=0), time.monotonic() - started
    if pruned:
        return Outcome("pruned", None, steps, seconds, f"worse than others at step {steps}")
    value = _value(folder, figure, measured) if process.returncode == 0 else None
    if value is None:
        return Outcome("failed", None, steps, seconds, _reason(process.returncode, folder, figure))
    return Outcome("complete", value, steps, seconds)


def _value(folder: Path, figure: str, measured: dict[int, float]) -> float | None:
    """What counts: the figure of the weights that the run saved."""
    facts = json.loads((folder / "run.json").read_text("utf-8"))
    if facts.get("weights") == "best" and facts.get("figure") == figure and facts.get("best"):
        return float(facts["best"]["value"])
    return measured[max(measured)] if measured else None


def _reason(code: int, folder: Path, figure: str) -> str:
    """Why a trial gave nothing, in one line."""
    if code == 0:
        return f"{figure} was never measured, or is not a number"
    lines = folder.with_suffix(".log").read_text("utf-8", errors="replace").splitlines()
    said = [line.partition("error: ")[2] for line in lines if "error: " in line]
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (memory ran out?)" if -code == signal.SIGKILL else "")
    return (said[-1] if said else EXIT_CODES.get(code, f"exit code {code}"))[:TOLD]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask a trial to end, and end it where it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with_us() -> None:
    """On Linux the kernel ends a trial whose sweep was killed; elsewhere it goes on to its end."""
    if sys.platform == "linux":
        import ctypes

        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
