"""Where a source points -> its files, and a file -> its raw rows, one after the other. Knows names, kinds and folders;
knows no format and no recipe."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from finetune.data.opening import COMPRESSIONS, file_system, is_address, opened, shown
from finetune.data.raw import BLOCK, Broken
from finetune.data.readers import READERS
from finetune.errors import DataError, Fault, Where

__all__ = ["Broken", "ByteRange", "DataFile", "byte_ranges", "list_files", "raw_rows"]

KINDS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
    ".md": "text",
}
"""Ending of a name -> the reader's name."""
BUILDERS = ("json", "csv", "parquet", "arrow", "text")
"""What ds_type can say, and what stands as path where data_files names local files."""
NO_DATA = re.compile(r"(readme|licen[cs]e|changelog)\b.*|dataset_infos?\.json|dataset_dict\.json|state\.json", re.I)
"""Files that lie beside the data in a folder and are none."""
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Split -> the words by which a file's name in a folder tells that it belongs to it, as on the hub."""


@dataclass(frozen=True)
class DataFile:
    """One file: a local path or an address, how it is read (a name in READERS), and its compression. `sample_by`: what
    a row of a text file is: line, paragraph or document."""

    path: str
    kind: str
    compression: str | None = None
    sample_by: str = "line"

    @property
    def name(self) -> str:
        """The path for messages and reports."""
        return shown(self.path)

    @property
    def is_table(self) -> bool:
        return self.kind in ("parquet", "arrow")

    @property
    def divisible(self) -> bool:
        """Whether byte_ranges can divide it: local, one row a line, not compressed."""
        return self.kind == "jsonl" and self.compression is None and not is_address(self.path)


class ByteRange(NamedTuple):
    """The lines of a file that begin in [start, end). `first_line`: number of the first of them, from 1."""

    start: int
    end: int
    first_line: int | None


def list_files(
    path: str,
    data_files: Sequence[str] | None = None,
    ds_type: str | None = None,
    *,
    split: str = "train",
    sample_by: str | None = None,
) -> list[DataFile] | None:
    """The files of a source in the order in which they are read; None if it is a hub id.

    `split` chooses among the files of a folder whose names tell one. DataError if there is nothing to read, or if it
    is not clear what."""
    expanded = os.path.expanduser(path)  # noqa: PTH111 - Path's raises for ~~
    if path in BUILDERS and data_files and not os.path.lexists(expanded):
        found, ds_type = [file for name in data_files for file in _matching(name)], ds_type or path
    elif _is_folder(expanded):
        found = _in_folder(expanded, data_files, ds_type, split)
    elif _is_pattern(expanded):
        found = _matching(expanded)
    elif is_address(path) or os.path.lexists(expanded):
        found = [expanded]
    elif path.startswith((".", "/", "~")) or kind_of(path)[0] is not None:
        raise DataError(f"there is no data file {path} (looked beside the recipe and in the working directory)")
    else:
        return None
    if data_files and not _is_folder(expanded) and path not in BUILDERS:
        raise DataError(f"{path} is a file, so data_files cannot choose in it: remove datasets.data_files")
    return [_data_file(name, ds_type, sample_by) for name in found]


def kind_of(name: str) -> tuple[str | None, str | None]:
    """(the reader's name or None, the compression or None) as a file's name tells them."""
    name = name.split("?")[0] if is_address(name) else name
    stem, ending = os.path.splitext(name.lower())  # noqa: PTH122 - addresses too
    compression = COMPRESSIONS.get(ending)
    if compression:
        ending = os.path.splitext(stem)[1]  # noqa: PTH122
    return KINDS.get(ending), compression


def raw_rows(file: DataFile, part: ByteRange | None = None) -> Iterator[tuple[int, Any]]:
    """(number, row) of one file, read as they are asked for; a row that cannot be read comes as Broken. Numbers count
    from 1: lines of a .jsonl or .txt file, rows of every other.

    `part`: only the lines of one of its byte_ranges. DataError if the file as a whole cannot be read."""
    try:
        with opened(file.path, file.compression, file.is_table) as stream:
            if not file.is_table and (part is None or part.start == 0):
                _refuse_utf16(stream, file)
            if part is None or part.end < 0:
                yield from READERS[file.kind](stream, file)
            else:
                stream.seek(part.start)
                yield from READERS[file.kind](_Bounded(stream, part), file, part.first_line)
    except UnicodeDecodeError as error:
        raise _not_utf8(file, error) from None


def _refuse_utf16(stream: Any, file: DataFile) -> None:
    start = stream.peek(4)[:4]
    text = start[:1] in b'[{"' and start[1:2] == b"\0"
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or start[:1] == b"\0" or text:
        raise DataError(
            f"{file.name} is UTF-16 or binary, and text is read as UTF-8. Convert it: iconv -f UTF-16 -t UTF-8 "
            f"{file.name} > NEW, and name that"
        )


def _not_utf8(file: DataFile, error: UnicodeDecodeError) -> DataError:
    """With the place, which a reader that decodes in blocks does not know."""
    advice = "not UTF-8 from here on: convert the file, for example with iconv"
    if file.is_table:
        return DataError(f"{file.name} holds text that is not UTF-8 ({error.reason}): write the file anew")
    with opened(file.path, file.compression) as stream:
        number = 0
        while line := stream.readline(BLOCK):
            number += 1
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as wrong:
                if wrong.end < len(line) or line.endswith(b"\n") or len(line) < BLOCK:
                    return DataError(Fault(advice, Where(file.name, number, wrong.start + 1)))
    return DataError(f"{file.name} is not UTF-8: convert it, for example with iconv")


class _Bounded:
    """The lines of a stream that begin before a range's end."""

    def __init__(self, stream: IO[bytes], part: ByteRange) -> None:
        self._stream, self._left = stream, part.end - part.start

    def readline(self, size: int = -1) -> bytes:
        if self._left <= 0:
            return b""
        line = self._stream.readline(size)
        self._left -= len(line)
        return line


def byte_ranges(file: DataFile, parts: int) -> list[ByteRange]:
    """At most `parts` ranges of about equal size, each beginning with a line, which together are the whole file. One
    range, which ends at -1, if the file is not divisible."""
    if not file.divisible:
        return [ByteRange(0, -1, 1)]
    with opened(file.path) as stream:
        size = stream.seek(0, os.SEEK_END)
        starts = [0]
        for number in range(1, parts):
            stream.seek(max(size * number // parts - 1, starts[-1]))
            stream.readline()
            if starts[-1] < stream.tell() < size:
                starts.append(stream.tell())
        stream.seek(0)
        ranges, line = [], 1
        for start, end in zip(starts, [*starts[1:], size], strict=True):
            ranges.append(ByteRange(start, end, line))
            line += _line_ends(stream, end - start)
    return ranges


def _line_ends(stream: IO[bytes], length: int) -> int:
    found = 0
    while length > 0:
        block = stream.read(min(length, 2**22))
        if not block:
            break
        found += block.count(b"\n")
        length -= len(block)
    return found


def _data_file(name: str, ds_type: str | None, sample_by: str | None) -> DataFile:
    kind, compression = kind_of(name)
    if ds_type is not None and not (ds_type == "json" and kind == "jsonl") and not (ds_type == "csv" and kind == "tsv"):
        kind = ds_type
    if kind is None:
        endings = ", ".join(KINDS)
        raise DataError(
            f"{shown(name)}: files of type `{Path(name).suffix}` are not read; use {endings}, or say with "
            "datasets.ds_type what it is"
        )
    return DataFile(name, kind, compression, sample_by or ("document" if ".md" in name.lower()[-7:] else "line"))


def _is_pattern(path: str) -> bool:
    return bool(re.search(r"[*?\[]", path)) and not os.path.lexists(path) and not path.startswith(("http:", "https:"))


def _is_folder(path: str) -> bool:
    if not is_address(path):
        return os.path.isdir(path)  # noqa: PTH112 - Path's raises for names that are too long
    if kind_of(path)[0] is not None or path.startswith(("http:", "https:")) or _is_pattern(path):
        return False
    system, inner = file_system(path)
    return bool(system.isdir(inner))


def _matching(pattern: str) -> list[str]:
    """The files that a pattern names, sorted; a name without wildcards names itself."""
    if not _is_pattern(pattern):
        return [pattern]
    if is_address(pattern):
        system, inner = file_system(pattern)
        found = [system.unstrip_protocol(name) for name in system.glob(inner)]
    else:
        found = [name for name in glob.glob(pattern, recursive=True) if os.path.isfile(name)]  # noqa: PTH113, PTH207
    if not found:
        raise DataError(f"no file matches {shown(pattern)} (looked beside the recipe and in the working directory)")
    return sorted(found)


def _in_folder(folder: str, data_files: Sequence[str] | None, ds_type: str | None, split: str) -> list[str]:
    if data_files:
        return [file for name in data_files for file in _matching(f"{folder.rstrip('/')}/{name}")]
    if is_address(folder):
        system, inner = file_system(folder)
        names = sorted(system.unstrip_protocol(name) for name in system.find(inner))
    else:
        names = sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())
    inside = {name: name[len(folder) :].strip("/") for name in names}
    names = [name for name in names if not re.search(r"(^|/)\.", inside[name])]
    names = [name for name in names if not NO_DATA.fullmatch(os.path.basename(name))]  # noqa: PTH119
    kinds = {name: kind for name in names if (kind := kind_of(name)[0]) is not None}
    if ds_type is not None:
        same = {"json": ("json", "jsonl"), "csv": ("csv", "tsv")}.get(ds_type, (ds_type,))
        kinds = {name: kind for name, kind in kinds.items() if kind in same}
    elif set(kinds.values()) - {"text"}:
        # Notes lie beside tables; texts are the data only where there is nothing else.
        kinds = {name: kind for name, kind in kinds.items() if kind != "text"}
    if not kinds:
        raise DataError(f"the folder {shown(folder)} holds no {ds_type or 'data'} files ({', '.join(KINDS)})")
    if len(set(kinds.values())) > 1 and ds_type is None:
        found = ", ".join(sorted(set(kinds.values())))
        raise DataError(f"the folder {shown(folder)} holds files of several kinds ({found}): choose with ds_type")
    return _of_split({name: inside[name] for name in kinds}, split.split("[")[0], folder)


def _of_split(files: dict[str, str], split: str, folder: str) -> list[str]:
    """The files whose names tell the split; all of them where no name tells one."""
    told = {name: found for name, inner in files.items() if (found := _split_told(inner))}
    chosen = [name for name in files if told.get(name) == split]
    if chosen:
        return chosen
    if told or split != "train":
        splits = ", ".join(sorted(set(told.values()))) or "train"
        raise DataError(
            f"the folder {shown(folder)} has no split {split!r}: its files' names tell {splits}. Set datasets.split, "
            "or name the files with datasets.data_files"
        )
    return list(files)


def _split_told(name: str) -> str | None:
    for split, words in SPLITS.items():
        if re.search(rf"(^|[-._ /])({'|'.join(words)})([-._ /0-9]|$)", name.lower()):
            return split
    return None
