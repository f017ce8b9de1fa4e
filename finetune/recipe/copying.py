"""A copy of a shipped recipe, with all that it reads, for whoever has no clone. Checks no recipe and trains none."""

import filecmp
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.errors import UsageError
from finetune.recipe.extends import read_with_bases
from finetune.recipe.shipped import named, root

SCHEMA = Path("schemas") / "recipe.schema.json"
"""Beside the folder of recipes, which name it so in their first line."""


@dataclass(frozen=True)
class Copied:
    """What a copy wrote (or found the same): the recipe, and how many files in all of how many bytes."""

    recipe: Path
    files: int
    bytes: int


def copy(name: str, target: Path, schema: str, replace: bool = False) -> Copied:
    """Write a shipped recipe and all that it reads below `target`, as they lie in a checkout, with the schema.

    UsageError for a name that is not shipped, and before anything is written if a file there is another one."""
    path = named(name)
    base = root()
    try:
        pairs = {file: target / file.relative_to(base) for file in sorted(set(_needed(path, base / "recipes")))}
        new = {file: there for file, there in pairs.items() if not (there.exists() and filecmp.cmp(file, there, False))}
        others = [str(there) for there in new.values() if there.exists()]
        if others and not replace:
            raise UsageError(
                f"{', '.join(others)} is there and not as shipped; --force replaces it, --to DIR writes elsewhere"
            )
        for file, there in new.items():
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, there)
        (target / SCHEMA).parent.mkdir(exist_ok=True)
        (target / SCHEMA).write_text(schema, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{str(target)[:200]!r} cannot be written: {getattr(error, 'strerror', None) or error}"
        ) from None
    return Copied(pairs[path], len(pairs), sum(file.stat().st_size for file in pairs))


def _needed(path: Path, folder: Path) -> Iterator[Path]:
    """The recipe, those it extends, and every file within the folder of recipes that a value of theirs names."""
    source, _, _ = read_with_bases(path)
    files = [Path(file) for file in dict.fromkeys((str(path), *source.files))]
    yield from files
    for text in _texts(source.data):
        # A reward function is its file, a colon and its name.
        for written in {text, text.split(":")[0]}:
            for beside in {file.parent for file in files}:
                found = beside / written
                if written.strip("./ ") and len(written) < 200 and found.exists():
                    yield from _inside(found, folder)


def _inside(found: Path, folder: Path) -> Iterable[Path]:
    files = [found] if found.is_file() else [file for file in found.rglob("*") if file.is_file()]
    return [file for file in files if file.is_relative_to(folder) and "__pycache__" not in file.parts]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(item)
