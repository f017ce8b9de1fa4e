"""Checkpoints on disk: written aside, sealed, synced and renamed, so that one is either there whole or not there. Knows
folders and bytes; knows no trainer and nothing of what a checkpoint means."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.errors import RunFolderError

ASIDE = ".writing"
"""Where a checkpoint is written until it is whole. What lies there at the start of a run is left from a killed one."""
SEAL = "complete.json"
"""Written last: the sizes and digests of all other files, and what the checkpoint says about its run."""
HASHED_BYTES = 256 * 2**20
"""Files up to this size are told by their digest, larger ones by their size alone: they take longer to read than to
write."""
_NAME = re.compile(r"checkpoint-([0-9]+)")


@dataclass(frozen=True)
class Checkpoint:
    """A whole one. `facts`: what was sealed with it."""

    path: Path
    step: int
    facts: Mapping[str, Any]


def step_of(path: Path) -> int:
    """Of a folder named checkpoint-N; -1 for any other."""
    found = _NAME.fullmatch(path.name)
    return int(found[1]) if found else -1


def seal(folder: Path, facts: Mapping[str, Any]) -> None:
    """Note what every file of a checkpoint must be, and force all of it to the disk."""
    files = {str(path.relative_to(folder)): _mark(path) for path in _files(folder) if path.name != SEAL}
    (folder / SEAL).write_text(json.dumps({"files": files, "facts": facts}, ensure_ascii=False, indent=1), "utf-8")
    for path in _files(folder):
        _sync(path)
    for path in sorted({path.parent for path in _files(folder)} | {folder}):
        _sync(path)


def publish(folder: Path, final: Path) -> None:
    """Give a sealed folder its name at once."""
    swap(folder, final, folder.with_name(f"{final.name}.old"))


def swap(folder: Path, final: Path, old: Path) -> None:
    """Give a folder its name. One of that name waits as `old` until then, and has it again if that fails."""
    if final.exists():
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
    try:
        folder.rename(final)
    except OSError:
        if old.exists():
            old.rename(final)
        raise
    _sync(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def whole(path: Path) -> Checkpoint:
    """The checkpoint in a folder. RunFolderError, with the reason, if it is not whole or none of ours."""
    if not path.is_dir():
        there = ", ".join(found.name for found in by_step(path.parent))
        raise RunFolderError(f"there is no folder {path}" + (f"; there are {there}" if there else ""))
    if step_of(path) < 0:
        raise RunFolderError(f"{path} is no checkpoint: a folder named checkpoint-N is wanted")
    try:
        sealed = json.loads((path / SEAL).read_text("utf-8"))
        files, facts = dict(sealed["files"]), dict(sealed["facts"])
    except FileNotFoundError:
        raise RunFolderError(f"{path} has no {SEAL}: it is half a checkpoint, or another program's") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{path / SEAL} cannot be read: {error}") from None
    for name, mark in files.items():
        try:
            same = _mark(path / name, hashed="sha256" in mark) == mark
        except OSError as error:
            raise RunFolderError(f"{path / name} cannot be read: {error.strerror}") from None
        if not same:
            raise RunFolderError(f"{path / name} is not what was written: the checkpoint is damaged")
    return Checkpoint(path, step_of(path), facts)


def by_step(folder: Path) -> list[Path]:
    """All folders named like a checkpoint, oldest first; whole or not."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if step_of(path) >= 0 and path.is_dir()), key=step_of)


def clear_aside(folder: Path) -> None:
    """Remove what a killed run was writing. An old checkpoint that waited for a new one to take its name goes back."""
    aside = folder / ASIDE
    for old in aside.glob("checkpoint-*.old") if aside.is_dir() else ():
        place = folder / old.name.removesuffix(".old")
        if not place.exists():
            old.rename(place)
    shutil.rmtree(aside, ignore_errors=True)


def rotate(folder: Path, limit: int | None, spared: Iterable[str]) -> None:
    """Delete the oldest until `limit` are left, but none that is `spared` by name: the newest, and the best one."""
    if not limit:
        return
    found = by_step(folder)
    kept = {path.name for path in found} & set(spared)
    many = len(found)
    for path in found:
        if many <= max(limit, len(kept)):
            return
        if path.name not in kept:
            remove(path)
            many -= 1


def remove(path: Path) -> None:
    """Aside first, so that what a kill leaves of it is not taken for a checkpoint."""
    gone = path.parent / ASIDE / f"{path.name}.gone"
    gone.parent.mkdir(exist_ok=True)
    shutil.rmtree(gone, ignore_errors=True)
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DISK_FULL_WORDS = ("No space left", "file write failed", "PytorchStreamWriter", "inline_container.cc")
"""What torch's and safetensors' writers say when a file cannot grow."""


def is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return True
    if type(error).__name__ == "SafetensorError":
        return "No space left" in str(error) or "File too large" in str(error)
    return isinstance(error, OSError | RuntimeError) and any(word in str(error) for word in DISK_FULL_WORDS)


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file())


def _mark(path: Path, hashed: bool = True) -> dict[str, Any]:
    size = path.stat().st_size
    if size > HASHED_BYTES or not hashed:
        return {"bytes": size}
    with path.open("rb") as file:
        return {"bytes": size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
