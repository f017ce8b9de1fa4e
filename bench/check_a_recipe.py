"""Time and memory of `validate` as a whole process; run from the repository root: python bench/check_a_recipe.py"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "finetune", "validate"]
ONE = [*COMMAND, "recipes/phi35_samantha.yaml"]
BARE = [sys.executable, "-c", "import pydantic.main, yaml"]


def measured(command: list[str]) -> tuple[float, float]:
    """(seconds, peak MB) of one process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def row(name: str, command: list[str], runs: int) -> float:
    measured(command)  # once to warm the file cache
    seconds, megabytes = zip(*(measured(command) for _ in range(runs)), strict=True)
    middle = statistics.median(seconds)
    print(f"{name:34} {middle:6.3f} s [{min(seconds):.3f}-{max(seconds):.3f}]  {statistics.median(megabytes):5.1f} MB")
    return middle


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    row("validate, one recipe", ONE, runs)
    row("importing pydantic and yaml alone", BARE, runs)
    many = Path("/tmp/finetune-bench-recipes")
    many.mkdir(exist_ok=True)
    text = Path("recipes/phi35_samantha.yaml").read_text()
    for number in range(250):
        (many / f"{number}.yaml").write_text(text)
    row("validate, 250 recipes, one process", [*COMMAND, str(many)], 3)


if __name__ == "__main__":
    main()
