"""A file's bytes -> its raw rows, one reader for each kind. Knows the kinds; knows no format, no folder and no recipe.

A row that cannot be read comes as Broken, so that the rows after it can be; a file that cannot raises DataError."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Protocol

from finetune.errors import DataError, Fault, Where

ROW_BYTES = 32 * 2**20
"""A longer row is broken: no model learns it as one, and it would fill the memory."""
BATCH_ROWS = 256
BLOCK = 2**20


@dataclass(frozen=True)
class Broken:
    """A row that cannot be read: why and how to mend it, and the column of the line where that is known."""

    why: str
    column: int = 0


class File(Protocol):
    """What readers ask of a data file."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def sample_by(self) -> str: ...


Rows = Iterator[tuple[int, Any]]


def jsonl_rows(stream: Any, file: File, first_line: int | None = 1) -> Rows:
    """A row a line; empty lines are none."""
    del file
    for number, line in numbered_lines(stream, first_line or 1):
        yield number, _parsed(line) if isinstance(line, bytes) else line


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


def too_large(length: int) -> str:
    return (
        f"this row has {length / 2**20:,.0f} MB, and a row has at most {ROW_BYTES // 2**20}: cut the document into "
        "several rows, or remove it"
    )


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Broken(
            f"this line is not UTF-8 (byte {error.start + 1} of it): convert the file, for example with iconv"
        )
    except json.JSONDecodeError as error:
        return Broken(f"this line is not JSON: {error.msg}", error.colno)
    except (ValueError, RecursionError) as error:
        return Broken(f"this line cannot be read: {str(error) or type(error).__name__}")


def json_rows(stream: IO[bytes], file: File) -> Rows:
    """A .json file is an array of rows; one row a line is accepted too, as people name such files."""
    head = b""
    while not head.lstrip(b"\xef\xbb\xbf \t\r\n") and (block := stream.read(4096)):
        head += block
    rest = io.BufferedReader(_Rejoined(head, stream))
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        yield from _array_rows(io.TextIOWrapper(rest, encoding="utf-8-sig"), file)
    else:
        yield from jsonl_rows(rest, file)


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes were already read."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._head[: len(buffer)] if self._head else self._rest.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(block)] = block
        return len(block)


def _array_rows(text: io.TextIOWrapper, file: File) -> Rows:
    """The items of one JSON array, each parsed when its text is there; only that much is held."""
    decoder, number, line, before = json.JSONDecoder(), 0, 1, 0
    buffer, place, more = text.read(BLOCK), 0, True
    place = buffer.index("[") + 1
    while True:
        while place < len(buffer) and buffer[place] in " \t\r\n,":
            place += 1
        if place < len(buffer) and buffer[place] == "]":
            return
        try:
            row, end = decoder.raw_decode(buffer, place)
            # A number at the buffer's end may go on behind it.
            if more and end == len(buffer):
                raise json.JSONDecodeError("cut off", buffer, end)
        except (ValueError, RecursionError) as error:
            if not more or len(buffer) - place > ROW_BYTES:
                raise _bad_item(error, file, (buffer, place, line, before), number + 1) from None
            added = text.read(max(BLOCK, len(buffer) - place))
            line += buffer.count("\n", 0, place)
            # Characters of its line that stand before what is kept.
            before = place - buffer.rfind("\n", 0, place) - 1 + (0 if "\n" in buffer[:place] else before)
            buffer, place, more = buffer[place:] + added, 0, bool(added)
            continue
        yield number + 1, Broken(too_large(end - place)) if end - place > ROW_BYTES else row
        number, place = number + 1, end


def _bad_item(error: Exception, file: File, at: tuple[str, int, int, int], number: int) -> DataError:
    buffer, place, line, before = at
    if len(buffer) - place > ROW_BYTES:
        return DataError(Fault(f"row {number}: {too_large(len(buffer) - place)}", Where(file.name)))
    if isinstance(error, json.JSONDecodeError):
        column = error.pos - buffer.rfind("\n", 0, error.pos) + (0 if "\n" in buffer[: error.pos] else before)
        where = Where(file.name, line + buffer.count("\n", 0, error.pos), column)
        return DataError(Fault(f"row {number} of the array is not JSON: {error.msg}", where))
    return DataError(Fault(f"row {number} of the array cannot be read: {error}", Where(file.name)))


def csv_rows(stream: IO[bytes], file: File) -> Rows:
    """Records below the line of names. A record with more cells than names is broken; absent ones are null."""
    import csv

    csv.field_size_limit(2**31 - 1)  # a document may be longer than the module's cautious 128 KiB
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    try:
        reader = csv.DictReader(text, delimiter="\t" if file.kind == "tsv" else ",", restkey="")
        names = list(reader.fieldnames or ())
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"{file.name}: the column {', '.join(twice)} is there twice; only one could count")
        for number, row in enumerate(reader, 1):
            extra = row.get("") if "" not in names else None
            if isinstance(extra, list):
                cells = len(names) + len(extra)
                yield number, Broken(f"this record has {cells} cells, and the first line names {len(names)}: quote it")
            elif sum(len(cell) for cell in row.values() if cell) > ROW_BYTES:
                yield number, Broken(too_large(sum(len(cell) for cell in row.values() if cell)))
            else:
                yield number, row
    except csv.Error as error:
        raise DataError(f"{file.name} is not CSV: {error}") from None
    finally:
        text.detach()


def text_rows(stream: IO[bytes], file: File) -> Rows:
    """{"text": ...} for each line, paragraph (parted by empty lines) or the whole document."""
    if file.sample_by == "document":
        whole = stream.read(ROW_BYTES + 1)
        if len(whole) > ROW_BYTES:
            yield 1, Broken(too_large(len(whole)).replace("has", "has more than", 1))
        elif whole.strip():
            yield 1, {"text": whole.decode("utf-8-sig")}
        return
    begun, lines = 0, b""
    for number, line in _all_lines(stream):
        if isinstance(line, Broken):
            yield number, line
        elif file.sample_by == "line":
            if not line.isspace():
                yield number, {"text": line.decode("utf-8").rstrip("\r\n")}
        elif not line.isspace():
            begun, lines = begun or number, lines + line
        elif lines:
            yield begun, {"text": lines.decode("utf-8").rstrip("\r\n")}
            begun, lines = 0, b""
    if lines:
        yield begun, {"text": lines.decode("utf-8").rstrip("\r\n")}


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
    except pyarrow.ArrowInvalid as error:
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
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{file.name} is not an arrow file: {str(error).splitlines()[0]}") from None


def _table_rows(batches: Iterator[Any]) -> Rows:
    number = 0
    for whole in batches:
        for start in range(0, whole.num_rows, BATCH_ROWS):
            batch = whole.slice(start, BATCH_ROWS)
            large = batch.nbytes > ROW_BYTES
            for place in range(batch.num_rows) if large else ():
                size = batch.slice(place, 1).nbytes
                number += 1
                row = Broken(too_large(size)) if size > ROW_BYTES else batch.slice(place, 1).to_pylist()[0]
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
