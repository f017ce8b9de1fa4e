"""What a line in an old spelling becomes today, as a value that both the reader and `upgrade` act on. Knows no key."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from finetune.errors import Fault
from finetune.recipe.source import Path_


@dataclass(frozen=True)
class Rewrite:
    """The line at `path` in today's spelling: `entries` (path -> value) take its place; none: it says nothing.

    `message` is the note to the user; without one the line was off, and nothing needs to be said."""

    path: Path_
    entries: Mapping[Path_, Any]
    message: str = ""


Found = Iterator[Rewrite | Fault]


def contradiction(key: str, other: str) -> Fault:
    """`code` carries the key to point at until its place is known."""
    return Fault(f"`{key}` and `{other}` say the same thing; keep `{other}`", code=key)


def moved(data: Mapping[str, Any], key: str, new: str, value: Any) -> Rewrite | Fault:
    """`key` says `new: value` today."""
    if data.get(new) is not None and key != new and data[new] != value:
        return contradiction(key, new)
    message = f"`{key}: {show(data[key])}` is written `{new}: {show(value)}` today"
    return Rewrite((key,), {(new,): value}, message)


def show(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
