"""Files and folders -> sha256. Decides which files of a model's folder count; knows no recipe. Large files are read
once, until they change."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader
from pathlib import Path
from typing import Any

from finetune.data.kept_digests import kept

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
    return f"sha256:{kept(path, 'sha256', _whole)}"


def _whole(file: BufferedReader, size: int) -> str:
    del size
    return hashlib.file_digest(file, "sha256").hexdigest()


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
