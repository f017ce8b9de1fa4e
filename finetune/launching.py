"""Several processes of one run on this machine: starting them, handing on signals, and one word of how they ended.
Knows no recipe; what a process does is its command line's business."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

from finetune.errors import MachineError, TrainingError
from finetune.ranks import LAUNCHED
from finetune.stopping import SIGNALS

LOOK_S = 0.05
GRACE_S, SHORT_S = 15.0, 1.0
"""That the first process has to end by itself once another has failed: it notices when it next waits for it. The others
have nothing to put in order."""
Start = Callable[[Sequence[str], Mapping[str, str]], "subprocess.Popen[bytes]"]


def start(arguments: Sequence[str], variables: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """A process of the command line, apart from the terminal: Ctrl-C is handed on once, not sent to all of them."""
    command = [sys.executable, "-m", "finetune", *arguments]
    return subprocess.Popen(command, env={**os.environ, **variables}, start_new_session=True)


def launch(arguments: Sequence[str], count: int, starting: Start = start) -> int:
    """Run a command line in `count` processes; the exit code of the run. TrainingError if one is killed."""
    port = str(_free_port())
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, _cores() // count))
    common = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": threads,
        LAUNCHED: str(os.getpid()),
    }
    running: list[subprocess.Popen[bytes]] = []
    before = {number: signal.signal(number, _hand_on(running)) for number in SIGNALS}
    try:
        for rank in range(count):
            running.append(starting(arguments, common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}))
        return _ended(running)
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _hand_on(running: Sequence["subprocess.Popen[bytes]"]) -> Callable[[int, FrameType | None], None]:
    def handler(number: int, frame: FrameType | None) -> None:
        del frame
        for process in running:
            if process.poll() is None:
                process.send_signal(number)

    return handler


def _ended(running: Sequence["subprocess.Popen[bytes]"]) -> int:
    """Wait for all. Once one has failed, the others are given a while, and then killed."""
    failed: tuple[int, int] | None = None
    until = float("inf")
    while any(process.poll() is None for process in running) and time.monotonic() < until:
        time.sleep(LOOK_S)
        for rank, process in enumerate(running):
            code = process.poll()
            if failed is None and code:
                failed, until = (rank, code), time.monotonic() + GRACE_S
        if failed is not None and running[0].poll() is not None:
            until = min(until, time.monotonic() + SHORT_S)
    if failed is None:
        failed = next(((rank, one.returncode) for rank, one in enumerate(running) if one.returncode), None)
    if failed is None:
        return 0
    rank, code = failed
    if code > 0:
        return code
    name = signal.Signals(-code).name
    hint = ". Often that is the system, whose memory was full" if -code == signal.SIGKILL else ""
    raise TrainingError(
        f"process {rank + 1} of {len(running)} (rank {rank}) was ended by {name}{hint}. The others were stopped; "
        "--resume goes on from the last checkpoint, if there is one"
    )


def _free_port() -> int:
    try:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            return int(found.getsockname()[1])
    except OSError as error:
        raise MachineError(f"no port of 127.0.0.1 is free for the processes to meet at: {error.strerror}") from error


def _cores() -> int:
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def end_with(launcher: int) -> None:
    """Have this process end when its launcher does, where the system can see to that."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != launcher:
        os.kill(os.getpid(), signal.SIGTERM)
