"""A file's bytes -> its raw rows, one reader for each kind. Knows the kinds; knows no format, no folder and no recipe.

A row that cannot be read comes as Broken, so that the rows after it can be; a file that cannot raises DataError."""

import io
import itertools
from collections.abc import Callable, Iterator
from typing import IO, Any

from finetune.data import raw
from finetune.data.json_readers import json_rows, jsonl_rows
from finetune.data.raw import BATCH_ROWS, Broken, File, Rows, numbered_lines, too_large
from finetune.errors import DataError, Fault, Where

CELL_BYTES = 128 * 2**20
"""A longer cell is an open quote: the rest of the file would be read into one cell, and into memory."""
DELIMITERS = (",", ";", "\t", "|")
"""A spreadsheet's CSV has semicolons or tabs where the country's decimals have commas."""


def csv_rows(stream: IO[bytes], file: File) -> Rows:
    """Records below the line of names. A record with more or fewer cells than names is broken."""
    import csv

    csv.field_size_limit(CELL_BYTES)  # a document may be longer than the module's cautious 128 KiB
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    try:
        first = text.readline(raw.ROW_BYTES)
        reader = csv.reader(itertools.chain([first], text), delimiter=_delimiter(first, file.kind))
        names = next(reader, [])
        _refuse_names(names, file)
        begins, number = reader.line_num + 1, 0
        for cells in reader:
            line, begins = begins, reader.line_num + 1
            if not cells:
                continue
            number += 1
            length = sum(map(len, cells))
            if length > raw.ROW_BYTES:
                yield number, Broken(too_large(length), 1, line)
            elif len(cells) != len(names):
                yield number, Broken(_ragged(cells, names), 1, line)
            else:
                yield number, dict(zip(names, cells, strict=True))
    except csv.Error as error:
        where = Where(file.name, reader.line_num, 1)
        hint = ": a quote may be open" if "larger" in str(error) else ""
        raise DataError(Fault(f"not CSV from here on: {error}{hint}", where)) from None
    finally:
        text.detach()


def _refuse_names(names: list[str], file: File) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        shown = ", ".join(name or "(without a name)" for name in twice)
        raise DataError(f"{file.name}: the column {shown} is there twice; only one could count")
    if file.kind == "tsv" and len(names) == 1 and "," in names[0]:
        raise DataError(
            Fault("its cells are parted by a comma, not by a tab: name the file .csv", Where(file.name, 1, 1))
        )


def _delimiter(first: str, kind: str) -> str:
    """What parts the cells: of a .csv file whose line of names no comma parts, what does part it."""
    import csv

    if kind == "tsv":
        return "\t"
    parted = {sign: len(next(csv.reader([first], delimiter=sign), [])) for sign in DELIMITERS}
    return "," if parted[","] > 1 else max(DELIMITERS, key=lambda sign: parted[sign])


def _ragged(cells: list[str], names: list[str]) -> str:
    why = f"this record has {len(cells)} cells, and the first line names {len(names)}"
    if len(cells) > len(names):
        return f"{why}: put quotes around cells that hold the delimiter"
    open_quote = any("\n" in cell for cell in cells)
    return f"{why}: " + ("a quote may be open" if open_quote else "add those that are missing, or remove the record")


def text_rows(stream: IO[bytes], file: File) -> Rows:
    """{"text": ...} for each line, paragraph (parted by empty lines) or the whole document."""
    if file.sample_by == "document":
        whole = stream.read(raw.ROW_BYTES + 1)
        if len(whole) > raw.ROW_BYTES:
            yield 1, Broken(too_large(len(whole)).replace("has", "has more than", 1))
        elif whole.strip():
            yield 1, {"text": whole.decode("utf-8-sig")}
        return
    begun, lines, length = 0, list[bytes](), 0
    for number, line in _all_lines(stream):
        if isinstance(line, Broken):
            yield number, line
        elif file.sample_by == "line":
            if not line.isspace():
                yield number, _as_text(line)
        elif not line.isspace():
            begun, length = begun or number, length + len(line)
            if length <= raw.ROW_BYTES:
                lines.append(line)
            else:
                lines.clear()
        elif begun:
            yield begun, _paragraph(lines, length)
            begun, lines, length = 0, [], 0
    if begun:
        yield begun, _paragraph(lines, length)


def _paragraph(lines: list[bytes], length: int) -> Any:
    return _as_text(b"".join(lines)) if lines else Broken(too_large(length))


def _as_text(line: bytes) -> Any:
    try:
        return {"text": line.decode("utf-8").rstrip("\r\n")}
    except UnicodeDecodeError as error:
        before = line[: error.start]
        column = error.start - before.rfind(b"\n")
        return Broken(f"not UTF-8 at byte {column} of the line: convert the file, for example with iconv")


def _all_lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes | Broken]]:
    """Every line, the empty ones too."""
    last = 0
    for number, line in numbered_lines(stream, 1):
        yield from ((empty, b"\n") for empty in range(last + 1, number))
        yield number, line
        last = number


def parquet_rows(stream: IO[bytes], file: File) -> Rows:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(stream) as source:
            yield from _table_rows(source.iter_batches(batch_size=BATCH_ROWS))
    except pyarrow.lib.ArrowException as error:
        raise DataError(f"{file.name} is not a parquet file: {str(error).splitlines()[0]}") from None


def arrow_rows(stream: IO[bytes], file: File) -> Rows:
    """Arrow's file format, or its stream format, which the datasets library writes."""
    import pyarrow

    try:
        try:
            opened = pyarrow.ipc.open_file(stream)
            batches = (opened.get_batch(number) for number in range(opened.num_record_batches))
        except pyarrow.ArrowInvalid:
            stream.seek(0)
            batches = iter(pyarrow.ipc.open_stream(stream))
        yield from _table_rows(batches)
    except pyarrow.lib.ArrowException as error:
        raise DataError(f"{file.name} is not an arrow file: {str(error).splitlines()[0]}") from None


def _table_rows(batches: Iterator[Any]) -> Rows:
    number = 0
    for whole in batches:
        for start in range(0, whole.num_rows, BATCH_ROWS):
            batch = whole.slice(start, BATCH_ROWS)
            large = batch.nbytes > raw.ROW_BYTES
            for place in range(batch.num_rows) if large else ():
                size = batch.slice(place, 1).nbytes
                number += 1
                row = Broken(too_large(size)) if size > raw.ROW_BYTES else batch.slice(place, 1).to_pylist()[0]
                yield number, row if isinstance(row, Broken) else without_padding(row)
            for row in () if large else batch.to_pylist():
                number += 1
                yield number, without_padding(row)


def without_padding(row: dict[str, Any]) -> dict[str, Any]:
    """The row without the empty fields of its messages and tools: a table gives every object all the fields that any
    object of the column has, and null to those that were not there."""
    return {name: _unpadded(value) if isinstance(value, list | dict) else value for name, value in row.items()}


def _unpadded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _unpadded(item) for name, item in value.items() if item is not None}
    return [_unpadded(item) for item in value] if isinstance(value, list) else value


READERS: dict[str, Callable[..., Rows]] = {
    "jsonl": jsonl_rows,
    "json": json_rows,
    "csv": csv_rows,
    "tsv": csv_rows,
    "text": text_rows,
    "parquet": parquet_rows,
    "arrow": arrow_rows,
}
