"""The run folder: what is in it, and who may write where. Knows no library that trains."""

import json
import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.errors import RunFolderError

MARKER = "run.json"
MARGIN_BYTES = 64 * 2**20
"""Free disk space below which no run is started."""


@dataclass(frozen=True)
class RunDir:
    """A run's folder. `replaced`: where an older run of the same name waits until this one is finished. `was_there`: it
    was an empty folder of the user's."""

    path: Path
    replaced: Path | None = None
    was_there: bool = False

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "run.log"

    @property
    def weights(self) -> Path:
        """The trained adapter or, after full fine-tuning, the model. RunFolderError if there is neither."""
        for name in ("adapter", "model"):
            if (self.path / name / "generation_config.json").is_file():
                return self.path / name
        raise RunFolderError(f"{self.path} holds no finished adapter or model: its run was not finished")

    def read(self, name: str) -> Any:
        """A JSON file of the run. RunFolderError if it is not there or not JSON."""
        try:
            return json.loads((self.path / name).read_text("utf-8"))
        except OSError as error:
            reason = "there is no" if isinstance(error, FileNotFoundError) else f"{error.strerror}:"
            raise RunFolderError(f"{self.path} is not a run folder: {reason} {name}") from None
        except ValueError as error:
            raise RunFolderError(f"{self.path / name} is damaged: {error}") from None

    def write(self, name: str, data: Mapping[str, Any] | list[Any]) -> None:
        """Write a JSON file whole or not at all."""
        self.write_text(name, json.dumps(data, indent=2, ensure_ascii=False) + "\n")

    def write_lines(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a .jsonl file whole or not at all."""
        self.write_text(name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def append(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows to a .jsonl file, all of them with one write."""
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        if text:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.write(text)

    def write_text(self, name: str, text: str) -> None:
        partial = self.path / f".{name}.partial"
        try:
            partial.write_text(text, "utf-8")
            partial.replace(self.path / name)
        finally:
            partial.unlink(missing_ok=True)

    def status(self, status: str, **facts: Any) -> None:
        self.write(MARKER, {"status": status, "process": os.getpid(), "host": platform.node(), **facts})


def open_run(output_dir: str, overwrite: bool) -> RunDir:
    """A new, empty run folder. An older run's folder is refused or, with `overwrite`, put aside until `finish`.

    RunFolderError if it is a file, not empty, no run's folder, not writable, or the disk is nearly full."""
    path = _checked(output_dir)
    if (path / MARKER).is_file():
        _refuse_if_running(path)
    waiting = next(path.parent.glob(f".{path.name}.replaced-*"), None)
    if waiting is not None:
        raise RunFolderError(
            f"{waiting} is a run that another was to replace when it was killed. Move it back to {path}, or delete it"
        )
    replaced = None
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise RunFolderError(f"output_dir {output_dir} is a file or a link, not a folder. Name another")
    if path.is_dir() and any(path.iterdir()):
        if not (path / MARKER).is_file():
            raise RunFolderError(f"output_dir {output_dir} holds files that are no run's. Name another folder")
        if not overwrite:
            raise RunFolderError(
                f"output_dir {output_dir} holds another run. Name another folder, or replace that run with --overwrite"
            )
        replaced = path.with_name(f".{path.name}.replaced-{os.getpid()}")
    was_there = path.is_dir() and replaced is None
    try:
        if replaced is not None:
            path.rename(replaced)
        path.mkdir(parents=True, exist_ok=True)
        RunDir(path).status("starting")
    except OSError as error:
        raise RunFolderError(f"output_dir {output_dir} cannot be written: {error.strerror}") from None
    free = shutil.disk_usage(path).free
    run = RunDir(path, replaced, was_there)
    if free < MARGIN_BYTES:
        abandon(run)
        raise RunFolderError(
            f"the disk of output_dir {output_dir} has {free / 2**20:.0f} MiB free; a run needs at least "
            f"{MARGIN_BYTES / 2**20:.0f}. Free some, or name a folder elsewhere"
        )
    return run


def _checked(output_dir: str) -> Path:
    """output_dir as a path. RunFolderError if it cannot be one, is the working directory, or is out of reach."""
    try:
        path = Path(os.path.expanduser(output_dir))  # noqa: PTH111 - Path's raises for ~~
        if str(path).startswith("~"):
            raise ValueError("there is no such user's home")
        if path.resolve() in (Path.cwd(), *Path.cwd().parents):
            raise RunFolderError(f"output_dir {output_dir} is the working directory or above it. Name a folder in it")
        if path.is_dir():
            any(path.iterdir())
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunFolderError(f"output_dir {output_dir[:80]!r} cannot be written: {reason}") from None
    return path


def _refuse_if_running(path: Path) -> None:
    """RunFolderError if the process that writes this run's folder is alive."""
    marker = RunDir(path).read(MARKER)
    if marker.get("status") in ("finished", "failed", "interrupted") or marker.get("host") != platform.node():
        return
    try:
        os.kill(int(marker["process"]), 0)
    except (ProcessLookupError, KeyError, ValueError):
        return
    except PermissionError:
        pass  # alive, and somebody else's
    raise RunFolderError(
        f"{path} is being written by a run that goes on (process {marker['process']}). Wait, or stop it"
    )


def finish(run: RunDir) -> None:
    """The run is complete: what it replaces may go, and so may a folder for checkpoints that holds none."""
    checkpoints = run.path / "checkpoints"
    if checkpoints.is_dir() and not any(checkpoints.iterdir()):
        checkpoints.rmdir()
    if run.replaced is not None:
        shutil.rmtree(run.replaced)


def abandon(run: RunDir) -> None:
    """The run came to nothing: remove what it wrote, and put back what it was to replace."""
    shutil.rmtree(run.path, ignore_errors=True)
    if run.was_there:
        run.path.mkdir()
    if run.replaced is not None:
        run.replaced.rename(run.path)


def publish(*, partial: str, final: str) -> None:
    """Move a finished folder to its name, so that nobody ever sees half of it."""
    if Path(final).exists():
        shutil.rmtree(final)
    Path(partial).rename(final)


def keep_aside(run: RunDir, why: str) -> Path | None:
    """Where an unfinished run's folder is kept if it was to replace another, which gets its name back; else None."""
    if run.replaced is None:
        return None
    kept = run.path.with_name(f"{run.path.name}.{why}-{os.getpid()}")
    run.path.rename(kept)
    run.replaced.rename(run.path)
    return kept
