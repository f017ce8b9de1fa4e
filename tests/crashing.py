"""Kills runs with SIGKILL, lets them go on, and compares what comes of it with a run that nobody disturbed.

As a program: python -m tests.crashing RECIPE [--kills 50] [--seed 0] [--fresh] [key=value …]. Each process is a fork of
one that has imported the libraries (--fresh: a process of its own). Knows the files of a run folder, and no trainer."""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CLOCKS = ("seconds", "runtime", "per_second", "preparation_time")
"""What the clock decides over in a line of metrics."""


def metrics(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.endswith(CLOCKS)} for line in lines]


def tensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: value.numpy().tobytes() for name, value in load_file(path).items()}


def state_of(checkpoint: Path) -> str:
    """Optimizer, scheduler and random numbers, as text that is equal for equal bits."""
    import torch

    def plain(value: Any) -> Any:
        if torch.is_tensor(value):
            return [
                str(value.dtype),
                value.contiguous().view(torch.uint8).flatten().tolist() if value.dim() else value.item(),
            ]
        if isinstance(value, dict):
            return {str(key): plain(inner) for key, inner in value.items()}
        if hasattr(value, "tolist"):
            return value.tolist()
        return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value

    names = ("optimizer.pt", "scheduler.pt", "rng_state.pth")
    loaded = {
        name: torch.load(checkpoint / name, weights_only=False) for name in names if (checkpoint / name).is_file()
    }
    return json.dumps(plain(loaded), default=str)


def last_checkpoint(run: Path) -> Path | None:
    found = (run / "checkpoints").glob("checkpoint-*")
    return max(found, key=lambda path: int(path.name.split("-")[1]), default=None)


def differences(one: Path, other: Path) -> list[str]:
    """What two runs differ in, clocks apart; nothing if they are equal bit for bit."""
    found = []
    if metrics(one) != metrics(other):
        pairs = zip(metrics(one), metrics(other), strict=False)
        first = next(((mine, theirs) for mine, theirs in pairs if mine != theirs), "their length")
        found.append(f"metrics: {first}")
    for name in ("adapter/adapter_model.safetensors", "model/model.safetensors"):
        if (one / name).is_file() and tensors(one / name) != tensors(other / name):
            found.append(name)
    ours, theirs = last_checkpoint(one), last_checkpoint(other)
    if (ours is None) != (theirs is None) or (ours and theirs and ours.name != theirs.name):
        found.append(f"the last checkpoint: {ours}, {theirs}")
    elif ours and theirs and state_of(ours) != state_of(theirs):
        found.append("optimizer, scheduler or random numbers of the last checkpoint")
    if answers(one) != answers(other):
        found.append("answers")
    return found


def answers(run: Path) -> str | None:
    return (run / "answers.json").read_text() if (run / "answers.json").is_file() else None


def fork(arguments: Sequence[str], before: Callable[[], None] | None = None) -> int:
    """The process number of a fork of this process that runs the command line, its output in LOG."""
    number = os.fork()
    if number:
        return number
    code = 99
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        out = os.open(os.environ.get("CRASHING_LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        # Those of the caller may be a test's, which keeps what is written.
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
        if before is not None:
            before()
        from finetune.cli import main

        code = main(list(arguments))
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - whatever it is must not go on in the copy of the caller
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def fresh(arguments: Sequence[str]) -> int:
    out = open(os.environ.get("CRASHING_LOG", os.devnull), "a")  # noqa: PTH123, SIM115 - the child's
    return subprocess.Popen([sys.executable, "-m", "finetune", *arguments], cwd=ROOT, stdout=out, stderr=out).pid


def ended(number: int, seconds: float) -> int | None:
    """The exit code (negative: the signal) of a process; None if it goes on for longer than this."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(number, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def kill(number: int) -> None:
    os.kill(number, signal.SIGKILL)
    os.waitpid(number, 0)


def where(run: Path) -> str:
    """What a run was at when it was killed."""
    if not (run / "run.json").is_file():
        return "before its folder"
    if any((run / "checkpoints" / ".writing").glob("checkpoint-*")):
        return "writing a checkpoint"
    status = json.loads((run / "run.json").read_text())["status"]
    if (run / "adapter.partial").exists() or (run / "model.partial").exists():
        return "saving"
    if status == "training" and ((run / "adapter").exists() or (run / "model").exists()):
        return "answering"
    return str(status)


@dataclass
class Ordeal:
    """Figures of a run that was killed again and again."""

    kills: int = 0
    places: Counter[str] = field(default_factory=Counter)
    starts: int = 0


def dies_at(place: str) -> Callable[[], None]:
    """What to do in a fork so that it is killed at a place in the writing of its second checkpoint."""
    import torch

    from finetune import checkpoints

    counted = Counter[str]()
    mine: list[int] = []

    def dying(call: Callable[..., Any], half: bool = False, after: bool = False) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            counted[place] += 1
            if counted[place] < 2 or os.getpid() not in mine:  # a worker is another process
                return call(*given, **named)
            if half:
                Path(given[1]).write_bytes(b"half of it")
            if after:
                call(*given, **named)
            os.kill(os.getpid(), signal.SIGKILL)

        return called

    def arm() -> None:
        mine.append(os.getpid())
        if place == "half a file":
            torch.save = dying(torch.save, half=True)
        elif place == "before it is sealed":
            checkpoints.seal = dying(checkpoints.seal)
        elif place == "before it has its name":
            checkpoints.publish = dying(checkpoints.publish)
        elif place == "before the old ones go":
            checkpoints.publish = dying(checkpoints.publish, after=True)
        else:
            assert place == "while an old one goes"
            shutil.rmtree = dying(shutil.rmtree)

    return arm


PLACES = (
    "half a file",
    "before it is sealed",
    "before it has its name",
    "before the old ones go",
    "while an old one goes",
)


def ordeal(
    start: Callable[[Sequence[str]], int], recipe: Path, run: Path, kills: int, delay: Callable[[], float]
) -> Ordeal:
    """Kill after a delay and go on, so many times; then let it end. A run that ends before its time begins anew.

    AssertionError if a start fails."""
    shutil.rmtree(run, ignore_errors=True)
    arguments = [str(recipe), f"output_dir={run}", "--resume"]
    done = Ordeal()
    while done.kills < kills:
        number = start(arguments)
        done.starts += 1
        code = ended(number, delay())
        if code is None:
            kill(number)
            done.kills += 1
            done.places[where(run)] += 1
        elif code != 0:
            raise AssertionError(f"start {done.starts} ended with {code}")
        else:
            shutil.rmtree(run)
    code = ended(start(arguments), 3600)
    assert code == 0, f"the last start ended with {code}"
    return done


def crash_test(given: argparse.Namespace) -> int:
    """Print figures; 1 if the run that was killed came to anything else than the one that was not."""
    import datasets  # noqa: F401 - for the forks
    import peft  # noqa: F401
    import trl  # noqa: F401

    plain, killed = given.folder / "plain", given.folder / "killed"
    shutil.rmtree(given.folder, ignore_errors=True)
    given.folder.mkdir(parents=True)
    os.environ["CRASHING_LOG"] = str(given.folder / "log")
    process = fresh if given.fresh else fork

    def start(arguments: Sequence[str]) -> int:
        return process([*arguments, *given.overrides])

    began = time.monotonic()
    code = ended(start([str(given.recipe), f"output_dir={plain}"]), 3600)
    seconds = time.monotonic() - began
    assert code == 0, f"the undisturbed run ended with {code}; {given.folder}/log says why"
    rng = random.Random(given.seed)
    shortest = min(given.shortest, seconds / 2)
    done = ordeal(start, given.recipe, killed, given.kills, lambda: rng.uniform(shortest, seconds * 1.1))
    different = differences(plain, killed)
    assert not different, f"killed {done.kills} times: {different}"
    for place in PLACES[: given.places]:
        shutil.rmtree(killed)
        number = fork([str(given.recipe), f"output_dir={killed}", *given.overrides], dies_at(place))
        code = ended(number, 600)
        assert code == -signal.SIGKILL, f"killed {place}: {code}"
        done.places[place] += 1
        code = ended(start([str(given.recipe), f"output_dir={killed}", "--resume"]), 600)
        assert code == 0, f"killed {place}: going on ended with {code}; {given.folder}/log says why"
        different = differences(plain, killed)
        assert not different, f"killed {place}: {different}"
    different = differences(plain, killed)
    left = [path.name for path in (killed / "checkpoints").glob(".*")]
    lines = len(metrics(plain))
    print(
        f"undisturbed: {seconds:.1f} s, {lines} lines of metrics; {done.kills} kills at random in {done.starts} starts"
    )
    print("killed while: " + ", ".join(f"{place} {count}" for place, count in done.places.most_common()))
    print(f"differences: {different or 'none'}; left behind: {left or 'nothing'}")
    return 1 if different or left else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--places", type=int, default=len(PLACES), help="kills at a place on purpose")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shortest", type=float, default=0.5, help="seconds that a start has at least")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/crashing"))
    return crash_test(parser.parse_intermixed_args())


if __name__ == "__main__":
    sys.exit(main())
