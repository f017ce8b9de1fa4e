"""JSON text -> raw rows: a row a line, an array of rows, or objects one after the other. Knows nothing of what a row
means."""

import io
import json
from collections.abc import Mapping
from typing import IO, Any

from finetune.data import raw
from finetune.data.raw import BLOCK, DECODER, Broken, File, NamedTwice, Rows, numbered_lines, too_large, why_not
from finetune.errors import DataError, Fault, Where

SPACE = " \t\r\n"


def jsonl_rows(stream: Any, file: File, first_line: int | None = 1) -> Rows:
    """A row a line; empty lines are none."""
    for number, line in numbered_lines(stream, first_line or 1):
        if number == 1 and file.kind == "jsonl" and isinstance(line, bytes) and line.lstrip().startswith(b"["):
            why = "this is one JSON array, and a .jsonl file has a row a line: give it a name that ends in .json"
            raise DataError(Fault(why, Where(file.name, 1, 1)))
        yield number, _parsed(line) if isinstance(line, bytes) else line


def _parsed(line: bytes) -> Any:
    try:
        return DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        why = "this line is not UTF-8 from here on: convert the file, for example with iconv"
        return Broken(why, error.start + 1)
    except json.JSONDecodeError as error:
        return Broken(f"this line is not JSON: {error.msg}", error.colno)
    except (ValueError, RecursionError) as error:
        return Broken(f"this line cannot be read: {why_not(error)}", 1)


def json_rows(stream: IO[bytes], file: File) -> Rows:
    """A .json file is an array of rows; one row a line is accepted too, as people name such files, and objects that
    follow each other."""
    head = b""
    while not head.lstrip(b"\xef\xbb\xbf \t\r\n") and (block := stream.read(4096)):
        head += block
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start.startswith(b"["):
        head += stream.readline(raw.ROW_BYTES) if b"\n" not in start else b""
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    rest = io.BufferedReader(_Rejoined(head, stream))
    if start.startswith(b"[") or _goes_on(start.split(b"\n")[0]):
        rows = _Values(io.TextIOWrapper(rest, encoding="utf-8-sig"), file, start.startswith(b"[")).rows()
    else:
        rows = jsonl_rows(rest, file)
    yield from _more_than_one(rows, file)


def _goes_on(line: bytes) -> bool:
    """Whether a line is the beginning of a JSON object that ends on a later one."""
    try:
        text = line.decode("utf-8").rstrip()
        json.loads(text)
    except json.JSONDecodeError as error:
        return text.startswith("{") and error.pos >= len(text)
    except (ValueError, RecursionError):
        return False
    return False


def _more_than_one(rows: Rows, file: File) -> Rows:
    """The same. DataError if the only row is no row but a whole table."""
    first, second = next(rows, None), next(rows, None)
    if first and not second and isinstance(first[1], Mapping) and (why := _whole_table(first[1])):
        raise DataError(Fault(why, Where(file.name)))
    yield from (row for row in (first, second) if row)
    yield from rows


def _whole_table(row: Mapping[str, Any]) -> str:
    """What an object holds, if that is all rows of a file; else nothing."""
    columns = list(row.values())
    if len(columns) > 1 and all(isinstance(column, dict) and "0" in column for column in columns):
        return "this file is one object of columns. Write its rows: pandas.read_json(A).to_json(B, orient='records')"
    lists = all(isinstance(column, list) and column and isinstance(column[0], str) for column in columns)
    if len(columns) > 1 and lists and len({len(column) for column in columns}) == 1:
        return "this file is one object of columns, each a list. Write an array of rows: [{...}, {...}]"
    for name, column in row.items():
        items = column if isinstance(column, list) else []
        first = items[0] if items and isinstance(items[0], dict) else {}
        if first and not first.keys() & {"role", "from", "speaker", "user", "content", "value", "function", "name"}:
            return f"this file is one object whose rows are under {name!r}. Write that array alone into the file"
    return ""


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes were already read."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._head[: len(buffer)] if self._head else self._rest.read(len(buffer))
        self._head = self._head[len(block) :]
        buffer[: len(block)] = block
        return len(block)


class _Values:
    """JSON values in a text, each parsed when its text is there; only that much is held. They are items of one array,
    or stand one after the other."""

    def __init__(self, text: io.TextIOWrapper, file: File, array: bool) -> None:
        self._text, self._file, self._array = text, file, array
        self._buffer, self._place, self._more = text.read(BLOCK), 0, True
        self._line, self._before, self._number = 1, 0, 0
        """The buffer's first line, how many of its characters stand before the buffer, and the values so far."""

    def rows(self) -> Rows:
        if self._array:
            self._next()
            self._place += 1
        while self._begins():
            row = self._value()
            self._number += 1
            yield self._number, row
        if self._array:
            self._place += 1
            if self._next():
                raise self._fault("after the array there is more", self._place)

    def _begins(self) -> bool:
        """Step to the next value; whether there is one."""
        sign = self._next()
        if not self._array:
            return bool(sign)
        if sign == "]":
            return False
        if self._number:
            if sign != ",":
                raise self._fault(f"Expecting ',' or ']' behind row {self._number}", self._place)
            self._place += 1
            self._next()
        return True

    def _next(self) -> str:
        """The next character that is not white space; nothing at the end."""
        while True:
            while self._place < len(self._buffer) and self._buffer[self._place] in SPACE:
                self._place += 1
            if self._place < len(self._buffer):
                return self._buffer[self._place]
            if not self._more:
                return ""
            self._read(BLOCK)

    def _read(self, length: int) -> None:
        """Let go of what was read, and take in more."""
        place, buffer = self._place, self._buffer
        added = self._text.read(length)
        self._line += buffer.count("\n", 0, place)
        self._before = place - buffer.rfind("\n", 0, place) - 1 + (0 if "\n" in buffer[:place] else self._before)
        self._buffer, self._place, self._more = buffer[place:] + added, 0, bool(added)

    def _value(self) -> Any:
        while True:
            try:
                row, end = DECODER.raw_decode(self._buffer, self._place)
                # A number at the buffer's end may go on behind it.
                if not self._more or end < len(self._buffer):
                    length, self._place = end - self._place, end
                    return Broken(too_large(length)) if length > raw.ROW_BYTES else row
            except NamedTwice as error:
                raise self._fault(str(error), self._place) from None
            except (ValueError, RecursionError) as error:
                left = len(self._buffer) - self._place
                if not self._more or left > raw.ROW_BYTES:
                    raise self._bad(error, left) from None
            self._read(max(BLOCK, len(self._buffer) - self._place))

    def _bad(self, error: Exception, left: int) -> DataError:
        if left > raw.ROW_BYTES:
            return self._fault(too_large(left), self._place)
        if isinstance(error, json.JSONDecodeError):
            return self._fault(f"not JSON: {error.msg}", error.pos)
        return self._fault(f"cannot be read: {why_not(error)}", self._place)

    def _fault(self, why: str, place: int) -> DataError:
        before = self._buffer[:place]
        column = place - before.rfind("\n") + (0 if "\n" in before else self._before)
        where = Where(self._file.name, self._line + before.count("\n"), column)
        return DataError(Fault(f"row {self._number + 1}: {why}", where))
