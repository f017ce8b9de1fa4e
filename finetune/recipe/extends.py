"""`extends`: a recipe file on top of others -> one Source. Knows how values are merged; knows no key but this one."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune.errors import Fault, RecipeError
from finetune.recipe.source import Path_, Source, read_file
from finetune.recipe.spellings import today

MAX_FILES = 50
KEY = "extends"


def read_with_bases(path: Path) -> tuple[Source, list[Fault], list[Fault]]:
    """The file on top of what it extends, in today's spelling, the notes on old spellings, and faults where they
    contradict others in one file. RecipeError for a missing base or one that leads back to itself."""
    found: list[Fault] = []
    files: list[str] = []
    source = replace(_read(path, (), found, files), files=tuple(files))
    notes = [fault for fault in found if fault.severity == "note"]
    return source, notes, [fault for fault in found if fault.severity == "error"]


def _read(path: Path, chain: tuple[str, ...], found: list[Fault], files: list[str]) -> Source:
    # Each file is put into today's spelling by itself: a base's old spelling must not contradict a recipe's new one.
    source, notes, faults = today(read_file(path))
    files.append(str(path))
    # A file that two others extend says its notes once.
    found += [fault for fault in (*notes, *faults) if fault not in found]
    data = dict(source.data)
    bases = data.pop(KEY, None)
    source = replace(source, data=data)
    here = (*chain, os.path.realpath(path))
    merged: Source | None = None
    for base, place in _bases(bases, source):
        target = path.parent / Path(os.path.expanduser(base))  # noqa: PTH111 - Path's raises for ~~
        if os.path.realpath(target) in here:
            raise RecipeError(Fault(f"`extends: {base}` leads back to this file", source.where(place), code="FT007"))
        if len(files) >= MAX_FILES:
            raise RecipeError(Fault(f"more than {MAX_FILES} files are extended", source.where(place), code="FT007"))
        if not os.path.isfile(target):  # noqa: PTH113 - Path.is_file raises for a name that is too long
            message = f"`extends: {base}` names no file beside {path.name}"
            raise RecipeError(Fault(message, source.where(place), code="FT007"))
        found_base = _read(target, here, found, files)
        merged = found_base if merged is None else merge(merged, found_base)
    return source if merged is None else merge(merged, source)


def _bases(value: Any, source: Source) -> Sequence[tuple[str, Path_]]:
    if value is None:
        return ()
    if isinstance(value, str) and value:
        return ((value, (KEY,)),)
    if isinstance(value, list) and value and all(isinstance(item, str) and item for item in value):
        return tuple((item, (KEY, number)) for number, item in enumerate(value))
    message = f"`extends: {value}` should be a recipe file, or a list of them"
    raise RecipeError(Fault(message, source.where((KEY,)), code="FT007"))


def merge(base: Source, top: Source) -> Source:
    """`top` on `base`: mappings merged key by key, everything else replaced; each value keeps its place."""
    lines = dict(base.lines)

    def merged(one: Any, other: Any, path: Path_) -> Any:
        if isinstance(one, dict) and isinstance(other, dict):
            new = dict(one)
            for key, value in other.items():
                new[key] = merged(one[key], value, (*path, key)) if key in one else value
            return new
        for place in [place for place in lines if place[: len(path)] == path and place != path]:
            del lines[place]
        return other

    data = merged(base.data, top.data, ())
    return Source(top.name, data, lines | dict(top.lines))
