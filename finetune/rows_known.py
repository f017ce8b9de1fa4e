"""What tells the rows of a run from others: a digest of every value. Knows no checkpoint."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def data_facts(datasets: Mapping[str, Any]) -> dict[str, Any]:
    """What tells the rows that are trained and measured on, by purpose."""
    return {
        purpose: {"digest": digest_of(rows), "rows": len(rows) if hasattr(rows, "__len__") else None}
        for purpose, rows in datasets.items()
        if rows is not None
    }


def digest_of(rows: Any) -> str | None:
    """Of every value of a datasets.Dataset, whatever file it lies in; None for rows that come as a stream."""
    table = getattr(rows, "data", None)
    if table is None or not hasattr(rows, "column_names") or getattr(rows, "_indices", None) is not None:
        return None
    found = hashlib.sha256()
    for name in sorted(rows.column_names):
        found.update(name.encode() + b"\0")
        for chunk in table.column(name).chunks:
            _feed(found, chunk)
    return found.hexdigest()


def _feed(found: Any, chunk: Any) -> None:
    import numpy
    import pyarrow

    kind = chunk.type
    if pyarrow.types.is_list(kind) and pyarrow.types.is_integer(kind.value_type) and not chunk.null_count:
        found.update(numpy.diff(chunk.offsets.to_numpy()).tobytes())
        found.update(chunk.flatten().to_numpy(zero_copy_only=False).tobytes())
    else:
        found.update(json.dumps(chunk.to_pylist(), default=str).encode())
