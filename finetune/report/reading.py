"""A run's folder -> what it holds, in whatever state it is: being written, stopped, damaged, or no run's at all. Never
raises for what is missing or damaged; says so. Writes nothing."""

import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from finetune.rundir import MARKER, lives

ENDED = ("finished", "interrupted", "failed")
TAIL_BYTES = 64 * 1024
LARGEST = 2**1000


@dataclass(frozen=True)
class Run:
    """`damaged`: files that are there and could not be read, with the reason."""

    path: Path
    damaged: dict[str, str] = field(default_factory=dict)

    def json(self, name: str) -> Any:
        """A JSON file, or None."""
        text = self.text(name)
        try:
            return None if text is None else json.loads(text)
        except ValueError as error:
            self.damaged[name] = str(error)
            return None

    def mapping(self, name: str) -> dict[str, Any]:
        """A JSON object; empty where there is none."""
        found = self.json(name)
        return found if isinstance(found, dict) else {}

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A list of JSON objects, or the lines of a .jsonl file but for one that is not whole."""
        if not name.endswith(".jsonl"):
            found = self.json(name)
            return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
        rows = []
        for line in (self.text(name) or "").split("\n"):
            try:
                row = json.loads(line) if line.strip() else None
            except ValueError as error:
                self.damaged[name] = f"a line is not whole: {error}"
                continue
            if isinstance(row, dict):
                rows.append(row)
        return rows

    def text(self, name: str) -> str | None:
        try:
            return (self.path / name).read_text("utf-8", errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            self.damaged[name] = error.strerror or str(error)
            return None

    def tail(self, name: str, lines: int) -> str:
        """The last lines of a text file."""
        try:
            with (self.path / name).open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
                return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
        except OSError:
            return ""

    @cached_property
    def marker(self) -> dict[str, Any]:
        return self.mapping(MARKER)

    @cached_property
    def origin(self) -> dict[str, Any]:
        return self.mapping("origin.json")

    @property
    def keys(self) -> dict[str, Any]:
        """Every key in force."""
        found = self.origin.get("keys")
        return found if isinstance(found, dict) else {}

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        return self.rows("metrics.jsonl")

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def recipe(self) -> str:
        return Path(str(self.origin.get("recipe", ""))).name

    @property
    def status(self) -> str:
        """As the run wrote it; `killed` where the process that wrote it is gone, `damaged` where it cannot be read."""
        status = self.marker.get("status")
        if not isinstance(status, str):
            return "damaged"
        gone = self.marker.get("host") == platform.node() and not lives(self.marker)
        return "killed" if status not in ENDED and gone else status

    @property
    def steps(self) -> int | None:
        found: int | None = _number(self.marker.get("steps")) or self.last("step")
        return found

    @property
    def seconds(self) -> float | None:
        """Of training."""
        found: float | None = _number(self.marker.get("train_seconds"))
        return self.last("seconds") if found is None else found

    @property
    def began(self) -> str:
        return str(self.origin.get("began", ""))

    @property
    def wall_seconds(self) -> float | None:
        """From the beginning to the end, loading and saving included."""
        try:
            ended = datetime.fromisoformat(str(self.marker["ended"]))
            return (ended - datetime.fromisoformat(self.began)).total_seconds()
        except (KeyError, ValueError, TypeError):
            return None

    def last(self, name: str) -> Any:
        """The last number of that name in the metrics; None where there is none."""
        return next((row[name] for row in reversed(self.metrics) if is_number(row.get(name))), None)

    def course(self, name: str) -> list[tuple[float, float]]:
        """(step, value) of each line of metrics that has one."""
        return [
            (float(row["step"]), float(row[name]))
            for row in self.metrics
            if is_number(row.get("step")) and is_number(row.get(name))
        ]

    def bytes(self) -> int:
        """On the disk, as far as it can be seen."""
        return sum(_sizes(self.path))


def is_number(value: Any) -> bool:
    """Also one that is none (NaN) or has no end, as a loss may be; no whole number that no float holds."""
    if isinstance(value, bool):
        return False
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= LARGEST)


def _number(value: Any) -> Any:
    return value if is_number(value) else None


def _sizes(folder: Path) -> Iterator[int]:
    for at, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.lstat(os.path.join(at, name)).st_size  # noqa: PTH118 - thousands of files
            except OSError:
                continue  # gone since


SKIPPED = frozenset({"node_modules", "site-packages", "__pycache__"})


def runs_in(folder: Path, depth: int = 5) -> Iterator[Run]:
    """Every run in a folder or beneath it, those aside included. What cannot be entered is passed over; what is in a
    run is not looked at; links are not followed."""
    if is_run(folder):
        yield Run(folder)
        return
    if depth == 0:
        return
    try:
        inner = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return
    for path in inner:
        name = Path(path).name
        if name in SKIPPED or (name.startswith(".") and ".replaced-" not in name):
            continue
        yield from runs_in(Path(path), depth - 1)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's: it has a marker as we write it or, where that is damaged, a plan beside it."""
    if not (folder / MARKER).is_file():
        return False
    marker: Mapping[str, Any] = Run(folder).marker
    ours = isinstance(marker.get("status"), str) and "process" in marker
    return ours or any((folder / name).is_file() for name in ("plan.json", "origin.json"))
