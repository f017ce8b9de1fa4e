"""A file of prompts, or what is piped in -> its rows with their lines. Plain text: a prompt a line; JSON lines, a JSON
list, CSV: a row each. Knows no model, and not what a row means."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.answering.settings import BOUNDS
from finetune.errors import DataError, Fault, UsageError, Where

PIPED = Path("-")
"""Stands for what is piped in: JSON lines if the first one begins with a brace, else plain text."""


@dataclass(frozen=True)
class Given:
    """A row, or why it is none. `number`: of its line, from 1; in a JSON list of its place."""

    where: Where
    number: int
    row: Mapping[str, Any] | str


def rows_in(path: Path) -> list[Given]:
    """All rows, blank lines left out. UsageError for another kind of file, DataError for one that cannot be read."""
    reader = _json_or_plain if path == PIPED else READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path}: prompts are read from {', '.join(READERS)} files, or with - from a pipe")
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig") if path == PIPED else path.read_text("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from None
    name = "standard input" if path == PIPED else str(path)
    return [Given(Where(name, line, 1), number, row) for line, number, row in reader(text, name)]


Rows = Iterator[tuple[int, int, Mapping[str, Any] | str]]
"""(line, number, row)."""


def _json_or_plain(text: str, name: str) -> Rows:
    return (_json_lines if text.lstrip().startswith("{") else _plain)(text, name)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((number, line.rstrip("\r")) for number, line in enumerate(text.split("\n"), 1) if line.strip())


def _plain(text: str, name: str) -> Rows:
    del name
    return ((number, number, {"prompt": line}) for number, line in _lines(text))


def _json_lines(text: str, name: str) -> Rows:
    del name
    for number, line in _lines(text):
        try:
            yield number, number, _object(json.loads(line))
        except (ValueError, RecursionError) as error:
            yield number, number, f"this line is no JSON: {error}"


def _object(value: Any) -> Mapping[str, Any] | str:
    return value if isinstance(value, dict) else f"a row is a JSON object, not {type(value).__name__}"


def _json_list(text: str, name: str) -> Rows:
    try:
        rows = json.loads(text) if text.strip() else []
    except (ValueError, RecursionError) as error:
        raise DataError(Fault(f"no JSON: {error}", Where(name, getattr(error, "lineno", 0), 1))) from None
    if not isinstance(rows, list):
        raise DataError(f"{name}: a list of rows is expected, not {type(rows).__name__}; name JSON lines .jsonl")
    return ((0, number, _object(row)) for number, row in enumerate(rows, 1))


def _table(text: str, name: str) -> Rows:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if name.lower().endswith(".tsv") else ",")
    line = 1
    names = next(reader, [])
    if len(set(names)) < len(names):
        raise DataError(f"{name}: a column is there twice: {', '.join(names)}")
    try:
        for cells in reader:
            line, begins = reader.line_num, line + 1
            if not any(cell.strip() for cell in cells):
                continue
            row = {key: _cell(key, cell) for key, cell in zip(names, cells, strict=False) if cell}
            good = len(cells) == len(names)
            yield begins, begins, row if good else f"{len(cells)} cells, and {len(names)} columns ({', '.join(names)})"
    except csv.Error as error:
        raise DataError(Fault(f"not CSV from here on: {error}", Where(name, reader.line_num, 1))) from None


def _cell(name: str, cell: str) -> Any:
    """A cell's value: a number for a setting that is one, else its text."""
    if name not in BOUNDS:
        return cell
    try:
        return json.loads(cell)
    except ValueError:
        return cell


READERS: dict[str, Callable[[str, str], Rows]] = {
    ".txt": _plain,
    ".jsonl": _json_lines,
    ".json": _json_list,
    ".csv": _table,
    ".tsv": _table,
}
