"""Where prepared data lies, and by what it is found again: the bytes of the data, the tokenizer, the plan, this code.
Safe where several runs share the folder, and a stopped run leaves nothing that looks whole."""

import atexit
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from io import BufferedReader
from pathlib import Path
from typing import Any

from finetune.data.bare import Facts
from finetune.data.crew import cores
from finetune.data.entries import Entry
from finetune.data.kept_digests import caches, kept
from finetune.data.opening import file_system, is_address
from finetune.data.prepared import Prepared
from finetune.errors import RunFolderError

CODE = ("data", "formats", "rendering", "recipe/expression.py")
"""What of this package decides over tokens and labels."""
LIBRARIES = ("tokenizers", "tiktoken", "transformers", "jinja2", "pyarrow", "datasets")
ENTRY = re.compile("[0-9a-f]{64}")
UNUSED_SECONDS = 30 * 24 * 3600
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
BLOCK, PIECE = 2**25, 2**20
"""Bytes of a file that one thread digests, and how many of them at a time."""


def default_folder() -> Path:
    """FINETUNE_CACHE, else finetune in the user's folder for caches."""
    return caches() / "prepared"


def key_of(entries: Sequence[Entry], facts: Facts, arguments: Mapping[str, Any]) -> str | None:
    """Equal for equal outcomes; None where the data cannot be known without reading it."""
    data = [_data_of(entry) for entry in entries]
    if None in data:
        return None
    whole = {
        "plan": [arguments, [dict(entry.wanted) for entry in entries]],
        "data": data,
        "tokenizer": asdict(facts),
        "code": _code(),
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode("utf-8", "surrogatepass")).hexdigest()


def _data_of(entry: Entry) -> Any:
    if entry.files is None:
        return entry.commit
    if entry.source.stream:
        return None  # its bytes are known only to whoever reads all of them
    found = []
    for file in entry.files:
        mark = _mark(file.path) if is_address(file.path) else _digest(file.path)
        if mark is None:
            return None
        found.append([file.name, file.kind, mark])
    return found


def _digest(path: str) -> str:
    return kept(path, "blocks", _of_blocks)


def _of_blocks(file: BufferedReader, size: int) -> str:
    """Of the file's bytes: of its blocks' digests, which several threads make."""
    with ThreadPoolExecutor(cores()) as threads:
        digests = threads.map(lambda start: _of_block(file.fileno(), start), range(0, max(1, size), BLOCK))
        return hashlib.sha256(b"".join(digests)).hexdigest()


def _of_block(file: int, start: int) -> bytes:
    digest = hashlib.sha256()
    for place in range(start, start + BLOCK, PIECE):
        digest.update(os.pread(file, PIECE, place))
    return digest.digest()


def _mark(address: str) -> str | None:
    """What changes when the file behind an address does, where its server tells."""
    system, inner = file_system(address)
    try:
        told = system.info(inner)
    except (OSError, ValueError):
        return None
    marks = [str(told[name]) for name in ("ETag", "etag", "md5Hash", "crc32c", "xet_hash", "sha256") if told.get(name)]
    return f"{marks[0]} {told.get('size')}" if marks else None


def _code() -> list[str]:
    from importlib.metadata import version

    package = Path(__file__).parents[1]
    files = [file for name in CODE for file in sorted(_sources(package / name))]
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(package)).encode() + b"\0" + file.read_bytes() + b"\0")
    return [digest.hexdigest(), *(version(name) for name in LIBRARIES)]


def _sources(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.suffix in (".py", ".jinja", ".json")]


def cached(folder: Path, key: str | None, make: Callable[[Path], None]) -> Prepared:
    """What an earlier run left, else what `make` puts into a folder beside it that then gets its name. Without a key it
    lasts as long as this process. RunFolderError if the folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        place = folder / (key or f"once-{_mine()}")
        if key is not None:
            found = _found(place)
            if found is not None:
                return found
        _forget(folder)
        partial = folder / f"partial-{_mine()}"
        partial.mkdir()
    except OSError as error:
        raise RunFolderError(
            f"the folder of prepared data {folder} cannot be written: {error.strerror or error}. Name another with "
            "dataset_prepared_path"
        ) from None
    try:
        make(partial)
        try:
            partial.rename(place)
        except OSError:
            if _found(place) is None:  # else another run was quicker: it is the same
                raise
    except OSError as error:
        if error.errno in DISK_FULL:
            raise RunFolderError(
                f"the disk of the folder of prepared data {folder} is full. Free some, or name another with "
                "dataset_prepared_path"
            ) from None
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if key is None:
        atexit.register(shutil.rmtree, place, ignore_errors=True)
    return Prepared.read(place, again=False)


def _found(place: Path) -> Prepared | None:
    try:
        found = Prepared.read(place, again=True)
        with suppress(PermissionError):
            os.utime(place)  # so that old ones can be told from used ones
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        shutil.rmtree(place, ignore_errors=True)
        return None


def _forget(folder: Path) -> None:
    """Remove what nobody has used for long, so that the folder does not grow for ever."""
    for entry in folder.iterdir():
        with suppress(OSError):
            if ENTRY.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > UNUSED_SECONDS:
                shutil.rmtree(entry, ignore_errors=True)


def _mine() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _sweep(folder: Path) -> None:
    """Remove what processes of this machine left that are gone: stopped so hard that they could not."""
    for left in [*folder.glob("partial-*"), *folder.glob("once-*")]:
        host, number, _ = left.name.split("-", 1)[1].rsplit("-", 2)
        if host == socket.gethostname() and number.isdigit() and not _runs(int(number)):
            shutil.rmtree(left, ignore_errors=True)


def _runs(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
