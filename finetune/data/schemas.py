"""How many rows a file has, and whether the tables of one source have the same columns. Reads no more than it needs."""

from collections.abc import Sequence
from typing import Any

from finetune.data.files import DataFile, raw_rows
from finetune.data.opening import opened
from finetune.errors import DataError, Fault, Where

TABLES = ("parquet", "arrow")


def count_rows(file: DataFile) -> int:
    """Rows of a file, the bad ones too."""
    if file.kind == "parquet":
        from pyarrow import ArrowInvalid, parquet

        try:
            with opened(file.path, file.compression, True) as stream, parquet.ParquetFile(stream) as table:
                return int(table.metadata.num_rows)
        except ArrowInvalid:
            pass  # the reader says what is wrong
    if file.kind == "jsonl":
        from finetune.data.raw import numbered_lines

        with opened(file.path, file.compression) as stream:
            return sum(1 for _ in numbered_lines(stream, 1))
    return sum(1 for _ in raw_rows(file))


def refuse_other_schemas(files: Sequence[DataFile]) -> None:
    """DataError naming the first table whose columns differ from those of the first."""
    tables = [file for file in files if file.kind in TABLES]
    if len(tables) < 2:
        return
    first = _columns(tables[0])
    for file in tables[1:]:
        columns = _columns(file)
        differences = [
            f"{name}: {columns.get(name, 'missing')} here, {first.get(name, 'missing')} there"
            for name in sorted(first.keys() | columns.keys())
            if columns.get(name) != first.get(name) and "null" not in (columns.get(name), first.get(name))
        ]
        if differences:
            raise DataError(
                Fault(
                    f"its columns differ from those of {tables[0].name} ({'; '.join(differences[:5])}). Files of one "
                    "source must be alike: choose some with data_files, or make an entry of datasets for each kind",
                    Where(file.name),
                )
            )


def _columns(file: DataFile) -> dict[str, str]:
    """Name -> type as text, with types that hold the same written the same."""
    import pyarrow

    with opened(file.path, file.compression, True) as stream:
        try:
            schema = _schema(file.kind, stream)
        except pyarrow.ArrowInvalid as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{file.name} is not {_article(file.kind)} file: {reason}") from None
    return {field.name: str(field.type).replace("large_", "").replace("_view", "") for field in schema}


def _article(kind: str) -> str:
    return f"an {kind}" if kind == "arrow" else f"a {kind}"


def _schema(kind: str, stream: Any) -> Any:
    import pyarrow
    from pyarrow import parquet

    if kind == "parquet":
        return parquet.read_schema(stream)
    try:
        return pyarrow.ipc.open_file(stream).schema
    except pyarrow.ArrowInvalid:
        stream.seek(0)
        return pyarrow.ipc.open_stream(stream).schema
