"""What all readers share: a row that cannot be read, how long a row may be, the lines of a stream, JSON whose names
stand once. Knows no kind of file."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

ROW_BYTES = 32 * 2**20
"""A longer row is broken: no model learns it as one, and it would fill the memory."""
BATCH_ROWS = 256
BLOCK = 2**20
Rows = Iterator[tuple[int, Any]]


@dataclass(frozen=True)
class Broken:
    """A row that cannot be read: why and how to mend it; the line of its file, where that is not its number, and the
    column, where they are known."""

    why: str
    column: int = 0
    line: int = 0


class File(Protocol):
    """What readers ask of a data file."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def sample_by(self) -> str: ...


def too_large(length: int) -> str:
    return (
        f"this row has {length / 2**20:,.0f} MB, and a row has at most {ROW_BYTES // 2**20}: cut the document into "
        "several rows, or remove it"
    )


def numbered_lines(stream: Any, number: int) -> Iterator[tuple[int, bytes | Broken]]:
    """The lines that hold something. One that is too long is skipped in pieces, and comes as Broken."""
    while line := stream.readline(ROW_BYTES + 1):
        if len(line) > ROW_BYTES:
            length = len(line)
            while not line.endswith(b"\n") and (line := stream.readline(ROW_BYTES)):
                length += len(line)
            yield number, Broken(too_large(length))
        elif not line.isspace():
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        number += 1


class NamedTwice(ValueError):
    """A JSON object has a name twice, of which only the last would count."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NamedTwice(f"{twice[:80]!r} stands twice in one object, and only one can count: remove or rename one")
    return made


DECODER = json.JSONDecoder(object_pairs_hook=_once)


def why_not(error: Exception) -> str:
    """Why a text that may be JSON is not read, where it is not its grammar."""
    if isinstance(error, RecursionError):
        return "its lists and objects lie too deep in each other"
    if isinstance(error, NamedTwice):
        return str(error)
    return f"it holds a number that is too long ({str(error).split(':')[0].split(';')[0]})"
