"""Where the sizes of a base model come from: its folder, the cache of the hub, the table of known models. Asks no
network and imports no heavy library."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.memory.known import config_of_name
from finetune.memory.shapes import Shape, shape_of

LARGEST = 2_000_000
"""Bytes of a config.json that is read."""


TABLE = "the table of known models"


@dataclass(frozen=True)
class Found:
    """A model's sizes. `source`: where they were read; `config`: all that was read."""

    shape: Shape
    source: str
    config: dict[str, Any]


def found(base_model: str, revision: str | None = None) -> Found | str:
    """The sizes of a base model, or why they are not known and what would make them known."""
    config, source = config_near(base_model, revision)
    if config is None:
        return (
            f"the sizes of {base_model} are not known here: {source}. Once its config.json is on this machine (hf "
            f"download {base_model} config.json), they are"
        )
    shape = shape_of(config)
    return shape if isinstance(shape, str) else Found(shape, source, config)


def config_near(name: str, revision: str | None) -> tuple[dict[str, Any] | None, str]:
    """(what is known of config.json without a network, or None; where it is from, or where it was looked for)."""
    folder = Path(os.path.expanduser(name))  # noqa: PTH111 - Path's raises for ~~
    if os.path.isdir(folder):  # noqa: PTH112 - also for odd names
        config = _read(folder / "config.json")
        return config, f"{name}/config.json" if config else f"{name} holds no config.json that can be read"
    cached = _cached(name, revision)
    if cached is not None:
        return cached, "config.json in the hub's cache"
    known = config_of_name(name)
    if known is not None:
        return known, TABLE
    return None, "it is no local folder, not in the hub's cache and not in the table of known models"


def _cached(name: str, revision: str | None) -> dict[str, Any] | None:
    if name.count("/") != 1 or ".." in name:
        return None
    home = os.environ.get("HF_HOME") or str(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub"))  # noqa: PTH118
    folder = Path(os.path.expanduser(hub)) / f"models--{name.replace('/', '--')}"  # noqa: PTH111
    wanted = revision or "main"
    try:
        commit = (folder / "refs" / wanted).read_text("utf-8").strip()
    except (OSError, ValueError):
        commit = wanted
    return _read(folder / "snapshots" / commit / "config.json")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        if path.stat().st_size > LARGEST:
            return None
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) else None
