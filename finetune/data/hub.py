"""A hub id -> its rows, through the datasets library. Knows the hub; knows no file and no format."""

from collections.abc import Iterator, Mapping
from typing import Any

from finetune.data.readers import without_padding
from finetune.errors import DataError


def hub_rows(path: str, hub: Mapping[str, str | None], files: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
    """(number, row), from 1. DataError if the hub does not have it, or cannot be reached."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    chosen = {"data_files": files["data_files"]} if files.get("data_files") else {}
    try:
        dataset = load_dataset(path, **hub, **chosen)
    except (DatasetsError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:300]
        raise DataError(
            f"dataset {path!r} is no local file and cannot be loaded from the hub: {reason}. "
            "Check the spelling, the network and datasets.split"
        ) from error
    for number, row in enumerate(dataset, 1):
        yield number, without_padding(row)
