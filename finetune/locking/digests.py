"""Files and folders -> sha256. Decides which files of a model's folder count; knows no recipe. Large files are read
once: their digests are kept by what the file system says of the file, and taken again as soon as any of it changes."""

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

LARGE = 32 * 2**20
"""Bytes from which a digest is kept."""
SETTLED_S = 5.0
"""A file younger than this may still change without the file system's clock telling."""
LISTED = 64
"""Files that are listed one by one; more are told by one digest over all of them."""
NO_WEIGHTS = re.compile(r"(readme|licen[cs]e|notice|use_policy)\b.*|.*\.(md|png|jpe?g|gif|svg|pdf|log)", re.IGNORECASE)
"""Files in a model's folder that no library reads."""


def of_bytes(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def of_json(data: Any) -> str:
    """Of values, whatever the order of keys."""
    return of_bytes(json.dumps(data, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def bare(digest: str) -> str:
    """Without the name of the algorithm, where the key beside it says it."""
    return digest.removeprefix("sha256:")


def of_file(path: str) -> str:
    """The digest that `sha256sum` prints. OSError if the file cannot be read."""
    with open(path, "rb") as file:  # noqa: PTH123 - Path's refuses long names
        facts = os.fstat(file.fileno())
        if facts.st_size < LARGE:
            return of_bytes(file.read())
        kept = _kept_at(path, facts)
        with suppress(OSError, ValueError):
            found = kept.read_text("ascii")
            if re.fullmatch(r"sha256:[0-9a-f]{64}", found):
                return found
        found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        if time.time() - max(facts.st_mtime, facts.st_ctime) > SETTLED_S and _same(facts, os.fstat(file.fileno())):
            _keep(kept, found)
        return found


def of_files(names: Mapping[str, str]) -> dict[str, str]:
    """Name -> digest, of name -> path; several files are read at a time."""
    with ThreadPoolExecutor(min(8, max(1, len(names)))) as threads:
        return dict(sorted(zip(names, threads.map(of_file, names.values()), strict=True)))


def listed(names: Mapping[str, str]) -> dict[str, Any]:
    """What stands in a lock for these files: each by its digest or, where there are many, all by one."""
    found = of_files(names)
    if len(found) <= LISTED:
        return {"files": found}
    return {"count": len(found), "sha256": bare(of_json(found))}


def model_files(folder: str) -> dict[str, str]:
    """Name -> path of the files in a model's folder that libraries read, code and further templates included."""
    root = Path(folder)
    inside = [path for path in root.iterdir() if path.is_file()]
    inside += [path for path in root.rglob("*") if path.suffix in (".py", ".jinja") and path.is_file()]
    names = {path.relative_to(root).as_posix(): str(path) for path in inside}
    return {
        name: path
        for name, path in sorted(names.items())
        if not any(part.startswith(".") for part in name.split("/")) and not NO_WEIGHTS.fullmatch(name)
    }


def named_alike(paths: Iterable[str]) -> dict[str, str]:
    """Name -> path: names relative to the folder that all files have in common, so that they hang on no machine."""
    whole = [os.path.abspath(path) for path in paths]  # noqa: PTH100
    root = os.path.commonpath([os.path.dirname(path) for path in whole]) if whole else ""  # noqa: PTH120
    return {os.path.relpath(path, root).replace(os.sep, "/"): path for path in whole}


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return _facts(one) == _facts(other)


def _facts(found: os.stat_result) -> list[int]:
    # The time of the last change of the inode cannot be set back by `touch`.
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _kept_at(path: str, facts: os.stat_result) -> Path:
    from finetune.data.cache import default_folder

    key = of_json([os.path.realpath(path), *_facts(facts)]).removeprefix("sha256:")
    return default_folder().parent / "digests" / key


def _keep(place: Path, digest: str) -> None:
    partial = place.with_name(f".{place.name}.{os.getpid()}")
    with suppress(OSError):  # a cache that cannot be written costs time and nothing else
        place.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(digest, "ascii")
        partial.replace(place)
