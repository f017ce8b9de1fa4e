"""Several processes that make chunks, and their results in the order in which the stretches were given out. Decides who
gets what when, and that no process outlives the work; knows nothing of rows.

The processes are new ones, not forks: torch's threads may run here. They are started as a module of their own, so
nothing of the program that called is run again."""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.errors import MachineError

if TYPE_CHECKING:
    from finetune.data.chunks import Setup, Stretch
    from finetune.data.growing import Chunk

MOST = 8
AHEAD = 3
"""Stretches given out, for each process, beyond the one that is waited for: results wait in memory."""


def cores() -> int:
    """How many processes are used where the recipe names no number."""
    return max(1, min(MOST, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


class Here:
    """The same without other processes: little data is not worth their start."""

    def __init__(self, setup: "Setup", tokenizer: Any = None) -> None:
        from finetune.data.chunks import Maker

        self._maker = Maker(setup, tokenizer)

    def chunks(self, stretches: "Iterator[Stretch]") -> "Iterator[Chunk]":
        yield from map(self._maker.chunk, stretches)

    def close(self) -> None:
        """Nothing is open."""


class Crew:
    def __init__(self, setup: "Setup", processes: int) -> None:
        self._lock = threading.Condition()
        self._results: dict[int, Any] = {}
        self._given = self._wanted = 0
        self._closed = False
        self._end: int | None = None
        sent = pickle.dumps(setup, protocol=5)
        self._processes = [_started() for _ in range(processes)]
        for process in self._processes:
            assert process.stdin is not None
            _write(process.stdin, sent)

    def chunks(self, stretches: "Iterator[Stretch]") -> "Iterator[Chunk]":
        """In order. What went wrong in a process is raised here."""
        self._stretches = stretches
        threads = [threading.Thread(target=self._serve, args=(one,), daemon=True) for one in self._processes]
        for thread in threads:
            thread.start()
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._wanted in self._results or self._end == self._wanted)
                if self._wanted not in self._results:
                    return
                answer = self._results.pop(self._wanted)
                self._wanted += 1
                self._lock.notify_all()
            if isinstance(answer, BaseException):
                raise answer
            if isinstance(answer, str):
                raise RuntimeError(f"in a process that prepares rows:\n{answer}")
            yield answer

    def _serve(self, process: "subprocess.Popen[bytes]") -> None:
        """Give one process work, one stretch at a time, until there is none."""
        assert process.stdin is not None and process.stdout is not None
        while (job := self._next()) is not None:
            number, stretch = job
            try:
                _write(process.stdin, pickle.dumps(stretch, protocol=5))
                answer: Any = pickle.load(process.stdout)
            except (OSError, EOFError, pickle.UnpicklingError, ValueError):
                answer = MachineError(
                    f"a process that prepares rows ended with {process.wait()}; -9 is what the system does where "
                    "memory runs out. Set dataset_num_proc to a smaller number"
                )
            with self._lock:
                self._results[number] = answer
                self._lock.notify_all()

    def _next(self) -> "tuple[int, Stretch] | None":
        with self._lock:
            room = AHEAD * len(self._processes)
            self._lock.wait_for(lambda: self._closed or self._end is not None or self._given - self._wanted < room)
            if self._closed or self._end is not None:
                return None
            number = self._given
            try:
                stretch = next(self._stretches)
            except StopIteration:
                self._end = number
            except BaseException as error:  # noqa: BLE001 - raised where the results are taken
                self._results[number], self._end = error, number + 1
            else:
                self._given += 1
                return number, stretch
            self._lock.notify_all()
            return None

    def close(self) -> None:
        """End all processes, whatever they do."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                try:
                    pipe.close()
                except OSError:
                    continue  # it was being written to


def _started() -> "subprocess.Popen[bytes]":
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *(path for path in sys.path if path)]
    ours = {
        "PYTHONPATH": os.pathsep.join(paths),
        "TOKENIZERS_PARALLELISM": "false",  # the processes are what runs side by side
        "OMP_NUM_THREADS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "finetune.data.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | ours,
    )


def _write(pipe: Any, content: bytes) -> None:
    pipe.write(content)
    pipe.flush()
