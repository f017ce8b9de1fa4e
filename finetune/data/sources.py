"""A dataset entry -> rows with their meaning. Knows files, the hub and formats; knows no tokenizer."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finetune.errors import DataError, Fault, Where
from finetune.formats import FORMATS
from finetune.formats.meaning import BadRow, Fields, Row

FAULTS_SHOWN = 10


def read_rows(
    *, purpose: str, path: str, form: str | None, hub: Mapping[str, str | None], fields: Mapping[str, Any]
) -> list[Row]:
    """Every row of one source. `hub`: split, name and revision of a hub dataset; `fields`: those of meaning.Fields.

    DataError if the source is missing, empty, in no known form, or has bad rows (the first ten are listed)."""
    del purpose  # the caller's: training or validation
    local = Path(os.path.expanduser(path))  # noqa: PTH111 - Path's raises for ~~
    found: Iterator[tuple[int, Any]]
    if local.is_file():
        _one_split(path, hub)
        found = _file_rows(local)
    elif local.is_dir():
        raise DataError(f"{path} is a folder; name the file in it (.jsonl, .json, .csv or .parquet)")
    elif path.startswith((".", "/", "~")) or local.suffix in READERS:
        raise DataError(f"there is no data file {path} (looked beside the recipe and in the working directory)")
    else:
        found = _hub_rows(path, hub)
    rows, faults = _meanings(found, path, form, Fields(**fields))
    if faults:
        more = f" ({len(faults) - FAULTS_SHOWN} more rows are bad too)" if len(faults) > FAULTS_SHOWN else ""
        last = [Fault(f"no row of {path} was used{more}")] if more else []
        raise DataError(*faults[:FAULTS_SHOWN], *last)
    if not rows:
        raise DataError(f"{path} holds no rows")
    return rows


def _one_split(path: str, hub: Mapping[str, str | None]) -> None:
    """DataError if a file is asked for what only a hub dataset has."""
    for key, plain in (("split", "train"), ("name", None), ("revision", None)):
        if hub[key] != plain:
            raise DataError(
                f"{path} is a file, which has no {key} {hub[key]!r}: remove datasets.{key}, or put the rows you "
                "mean into a file of their own"
            )


def _meanings(
    found: Iterator[tuple[int, Any]], path: str, form: str | None, fields: Fields
) -> tuple[list[Row], list[Fault]]:
    rows: list[Row] = []
    faults: list[Fault] = []
    for number, raw in found:
        try:
            if not isinstance(raw, Mapping):
                raise BadRow(f"a row must be an object of columns, and this is a {type(raw).__name__}")
            form = form or _detected(raw, path)
            rows.append(Row(path, number, FORMATS[form].read(raw, fields)))
        except BadRow as bad:
            faults.append(Fault(f"row {number}: {bad}", Where(path)))
    return rows, faults


def _detected(row: Mapping[str, Any], path: str) -> str:
    """The format whose columns the first row has. DataError if there is none."""
    for form, module in FORMATS.items():
        if module.matches(row):
            return form
    forms = "; ".join(f"{form}: {module.COLUMNS}" for form, module in FORMATS.items())
    columns = ", ".join(f"`{name}`" for name in row) or "no columns"
    raise DataError(f"{path}: the rows have {columns}, which fits no known form ({forms}). Set datasets.type")


def _file_rows(path: Path) -> Iterator[tuple[int, Any]]:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: files of type `{path.suffix}` are not read; use {', '.join(READERS)}")
    try:
        yield from reader(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}): convert it, for example with iconv") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """A .json file is an array of rows; one row a line is accepted too, as people name such files."""
    with path.open(encoding="utf-8-sig") as file:
        start = file.read(4096).lstrip()
    if not start.startswith("["):
        yield from _jsonl_rows(path)
        return
    try:
        rows = json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise _not_json(error, path, "this") from None
    yield from enumerate(rows, 1)


def _jsonl_rows(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _not_json(error, path, "this line", number) from None


def _not_json(error: Exception, path: Path, what: str, line: int = 0) -> DataError:
    if isinstance(error, json.JSONDecodeError):
        return DataError(Fault(f"{what} is not JSON: {error.msg}", Where(str(path), line or error.lineno, error.colno)))
    if isinstance(error, UnicodeDecodeError):
        raise error
    return DataError(Fault(f"{what} cannot be read: {str(error) or type(error).__name__}", Where(str(path), line)))


def _parquet_rows(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            batches = (row for batch in file.iter_batches() for row in batch.to_pylist())
            yield from enumerate(batches, 1)
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{path} is not a parquet file: {str(error).splitlines()[0]}") from None


def _csv_rows(path: Path) -> Iterator[tuple[int, Any]]:
    import csv

    csv.field_size_limit(2**31 - 1)  # a document may be longer than the module's cautious 128 KiB
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or ())
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise DataError(f"{path}: the column {', '.join(twice)} is there twice; only one could count")
            yield from enumerate(reader, 1)
        except csv.Error as error:
            raise DataError(f"{path} is not CSV: {error}") from None


READERS = {".jsonl": _jsonl_rows, ".json": _json_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}


def _hub_rows(path: str, hub: Mapping[str, str | None]) -> Iterator[tuple[int, Any]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        dataset = load_dataset(path, **hub)
    except (DatasetsError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:300]
        raise DataError(
            f"dataset {path!r} is no local file and cannot be loaded from the hub: {reason}. "
            "Check the spelling, the network and datasets.split"
        ) from error
    yield from enumerate(dataset, 1)
