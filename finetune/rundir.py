"""The run folder: what is in it, and who may write where. Knows no library that trains."""

import json
import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.checkpoints import swap
from finetune.errors import RunFolderError

MARKER = "run.json"
PREPARED = "prepared"
"""What `finetune preprocess` writes into output_dir, where a run may follow it."""
MARGIN_BYTES = 64 * 2**20
"""Free disk space below which no run is started."""


@dataclass(frozen=True)
class RunDir:
    """A run's folder. `replaced`: where an older run of the same name waits until this one is finished. `was_there`: it
    was an empty folder of the user's. `before`: the marker of the stopped run that goes on in it. `aside`: where that
    run was kept until now."""

    path: Path
    replaced: Path | None = None
    was_there: bool = False
    before: str | None = None
    aside: Path | None = None

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
        mine = {"process": os.getpid(), "birth": birth_of(os.getpid()), "host": platform.node()}
        self.write(MARKER, {"status": status, **mine, **facts})


def open_run(output_dir: str, overwrite: bool) -> RunDir:
    """A new, empty run folder. An older run's folder is refused or, with `overwrite`, put aside until `finish`.

    RunFolderError if it is a file, not empty, no run's folder, not writable, or the disk is nearly full."""
    path = checked(output_dir)
    if (path / MARKER).is_file():
        refuse_if_running(path)
    waiting = _waiting(path)
    if waiting is not None:
        raise RunFolderError(
            f"{waiting} is a run that another was to replace when it was killed. Move it back to {path}, or delete it; "
            "--resume goes on with the one that was killed"
        )
    replaced = None
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise RunFolderError(f"output_dir {output_dir} is a file or a link, not a folder. Name another")
    if path.is_dir() and any(one.name != PREPARED for one in path.iterdir()):
        if not (path / MARKER).is_file():
            raise RunFolderError(f"output_dir {output_dir} holds files that are no run's. Name another folder")
        if not overwrite:
            raise RunFolderError(_held(path, output_dir))
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


def _held(path: Path, output_dir: str) -> str:
    status = status_of(path)
    stopped = "" if status == "finished" else f" ({status})"
    goes_on = "" if status == "finished" else ", go on with it with --resume"
    return (
        f"output_dir {output_dir} holds another run{stopped}. Name another folder{goes_on}, or replace that run with "
        "--overwrite"
    )


def status_of(path: Path) -> str | None:
    """Of the run in a folder; None if there is none."""
    return str(RunDir(path).read(MARKER).get("status")) if (path / MARKER).is_file() else None


def _waiting(path: Path) -> Path | None:
    """The run that the one in this folder was to replace when it was killed."""
    return next(path.parent.glob(f".{path.name}.replaced-*"), None)


def came_to_nothing(path: Path) -> bool:
    """Whether a run was stopped here before it left weights, checkpoints apart."""
    if (path / MARKER).is_file():
        return status_of(path) != "finished" and not any((path / name).is_dir() for name in ("adapter", "model"))
    return _waiting(path) is not None and not (path.is_dir() and any(path.iterdir()))


def restart_run(output_dir: str) -> RunDir:
    """An empty folder in the place of a run that came to nothing."""
    path = checked(output_dir)
    if (path / MARKER).is_file():
        refuse_if_running(path)
    try:
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True, exist_ok=True)
        run = RunDir(path, _waiting(path))
        run.status("starting")
    except OSError as error:
        raise RunFolderError(f"output_dir {output_dir} cannot be written: {error.strerror}") from None
    return run


def stopped_aside(path: Path) -> Path | None:
    """The newest run that was to replace this one and did not get so far."""
    found = [kept for why in ("interrupted", "failed") for kept in path.parent.glob(f"{path.name}.{why}-*")]
    return max(
        (kept for kept in found if (kept / MARKER).is_file()), key=lambda kept: kept.stat().st_mtime, default=None
    )


def reopen_run(output_dir: str, aside: Path | None) -> RunDir:
    """The folder of a stopped run, to go on in it. `aside`: it is kept there, and takes its old place.

    RunFolderError if it goes on already, or cannot be written."""
    path = checked(output_dir)
    for folder in (path, aside) if aside else (path,):
        refuse_if_running(folder)
    waiting = _waiting(path)
    try:
        if aside is not None:
            waiting = path.with_name(f".{path.name}.replaced-{os.getpid()}")
            path.rename(waiting)
            aside.rename(path)
        before = (path / MARKER).read_text("utf-8")
        run = RunDir(path, waiting, before=before, aside=aside)
        run.status("starting")
    except OSError as error:
        raise RunFolderError(f"output_dir {output_dir} cannot be written: {error.strerror}") from None
    return run


def checked(output_dir: str) -> Path:
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


def refuse_if_running(path: Path) -> None:
    """RunFolderError if the process that writes this run's folder is alive."""
    marker = RunDir(path).read(MARKER)
    if marker.get("status") in ("finished", "failed", "interrupted") or marker.get("host") != platform.node():
        return
    if not lives(marker):
        return
    raise RunFolderError(
        f"{path} is being written by a run that goes on (process {marker['process']}). Wait, or stop it"
    )


def lives(marker: Mapping[str, Any]) -> bool:
    """Whether the process that wrote a marker is there still. Its number alone does not tell: a container gives the
    same ones again, and so does a machine that was restarted."""
    try:
        number = int(marker["process"])
        os.kill(number, 0)
    except (ProcessLookupError, KeyError, TypeError, ValueError):
        return False
    except PermissionError:
        pass  # alive, and somebody else's
    return marker.get("birth") in (None, birth_of(number))


def birth_of(process: int) -> str | None:
    """What tells a process from an earlier one of the same number; empty for one that is dead and not yet taken away,
    None where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        fields = Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return "" if fields[0] in "ZX" else f"{boot} {fields[19]}"


def finish(run: RunDir) -> Path | None:
    """The run is complete: what it replaces may go, and so may a folder for checkpoints that holds none."""
    checkpoints = run.path / "checkpoints"
    if checkpoints.is_dir() and not any(checkpoints.iterdir()):
        checkpoints.rmdir()
    if run.replaced is not None:
        shutil.rmtree(run.replaced)
    return None


def abandon(run: RunDir) -> None:
    """The run came to nothing: remove what it wrote, and put back what it was to replace. A stopped run that was to go
    on is left as it was found."""
    if run.before is not None:
        run.write_text(MARKER, run.before)
        if run.aside is not None and run.replaced is not None:
            run.path.rename(run.aside)
            run.replaced.rename(run.path)
        return
    if not run.was_there:
        shutil.rmtree(run.path, ignore_errors=True)
    for made in run.path.iterdir() if run.was_there else ():
        if made.is_file():
            made.unlink()
        elif made.name != PREPARED:
            shutil.rmtree(made, ignore_errors=True)
    if run.replaced is not None:
        run.replaced.rename(run.path)


def publish(*, partial: str, final: str) -> None:
    """Move a finished folder to its name, so that nobody ever sees half of it."""
    swap(Path(partial), Path(final), Path(f"{partial}.old"))


def keep_aside(run: RunDir, why: str) -> Path | None:
    """Where an unfinished run's folder is kept if it was to replace another, which gets its name back; else None."""
    if run.replaced is None:
        return None
    kept = run.path.with_name(f"{run.path.name}.{why}-{os.getpid()}")
    run.path.rename(kept)
    run.replaced.rename(run.path)
    return kept
