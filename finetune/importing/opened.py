"""Files of settings that a script opens by a name that can be read -> their values. Only YAML, JSON and TOML beside the
script or above it; nothing else is opened."""

import json
import tomllib
from pathlib import Path
from typing import Any

from finetune.errors import RecipeError
from finetune.importing.found import Object, Unread

LOADERS = frozenset(
    """
    yaml.safe_load yaml.load yaml.full_load yaml.unsafe_load json.load json.loads omegaconf.OmegaConf.load
    OmegaConf.load toml.load tomllib.load tomli.load
    """.split()
)
ENDINGS = (".yaml", ".yml", ".json", ".toml")
LARGEST = 500_000
ABOVE = 3
"""Folders above the script's in which a name is looked up: a script is usually started from its project's."""


def name_in(value: Any) -> str | None:
    """The name of the file that a loader gets: a text, open(name), Path(name).open(), .read_text()."""
    for _ in range(4):
        if isinstance(value, str):
            return value if value.lower().endswith(ENDINGS) else None
        if not isinstance(value, Object) or value.name not in ("open", "read", "read_text"):
            return None
        value = value.base if value.base is not None else value.get("file", 0)
    return None


def settings_in(script: str, name: str) -> Any:
    """What the file holds; Unread where there is none, or none that can be read."""
    path = _found(script, name)
    if path is None:
        return Unread(name, f"it is in {name}, which is not beside this file")
    try:
        return _parsed(path)
    except (OSError, ValueError, RecipeError, RecursionError):
        return Unread(name, f"it is in {name}, which cannot be read")


def _found(script: str, name: str) -> Path | None:
    given = Path(name)
    if given.is_absolute() or any(part.startswith(".") for part in given.parts):
        return None  # a stranger's script does not get at `../../.config/…`
    start = Path(script).resolve().parent
    for folder in (start, *list(start.parents)[:ABOVE]):
        path = folder / given
        try:
            if path.is_file() and path.stat().st_size <= LARGEST:
                return path
        except OSError:
            return None
    return None


def _parsed(path: Path) -> Any:
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() == ".json":
        return json.loads(text)
    if path.suffix.lower() == ".toml":
        return tomllib.loads(text)
    from finetune.recipe.source import read_text

    return dict(read_text(str(path), text).data)
