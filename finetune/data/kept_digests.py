"""Digests of large files, kept by what the file system says of the file, and taken again as soon as any of it changes,
as git does for its index. Decides when that may be trusted; knows no way to digest."""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

LARGE = 32 * 2**20
"""Bytes from which a digest is kept."""
SETTLED_S = 5.0
"""A file younger than this may still change without the file system's clock telling."""
VARIABLE = "FINETUNE_CACHE"
DIGEST = re.compile(r"[0-9a-f]{64}")


def caches() -> Path:
    """FINETUNE_CACHE, else finetune in the user's folder for caches."""
    base = os.environ.get(VARIABLE)
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finetune"


def kept(path: str, how: str, digest: Callable[[BufferedReader, int], str]) -> str:
    """The digest (hexadecimal) of a file, made by `digest` of the open file and its size, or kept from an earlier time.
    `how`: the name of that way. OSError if the file cannot be read."""
    with open(path, "rb") as file:  # noqa: PTH123 - Path's refuses long names
        facts = os.fstat(file.fileno())
        if facts.st_size < LARGE:
            return digest(file, facts.st_size)
        place = _place(path, how, facts)
        with suppress(OSError, ValueError):
            found = place.read_text("ascii")
            if DIGEST.fullmatch(found):
                return found
        found = digest(file, facts.st_size)
        if time.time() - max(facts.st_mtime, facts.st_ctime) > SETTLED_S and _same(facts, os.fstat(file.fileno())):
            _keep(place, found)
        return found


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return _facts(one) == _facts(other)


def _facts(found: os.stat_result) -> list[int]:
    # The time of the last change of the inode cannot be set back by `touch`.
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _place(path: str, how: str, facts: os.stat_result) -> Path:
    key: list[Any] = [how, os.path.realpath(path), *_facts(facts)]
    name = hashlib.sha256(json.dumps(key).encode("utf-8", "surrogatepass")).hexdigest()
    return caches() / "digests" / name


def _keep(place: Path, digest: str) -> None:
    partial = place.with_name(f".{place.name}.{os.getpid()}")
    with suppress(OSError):  # a cache that cannot be written costs time and nothing else
        place.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(digest, "ascii")
        partial.replace(place)
