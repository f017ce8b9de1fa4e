"""A hub id -> its rows, through the datasets library. Knows the hub; knows no file and no format."""

from collections.abc import Iterator, Mapping
from typing import Any

from finetune.data.choosing import base_of
from finetune.data.readers import without_padding
from finetune.errors import DataError


def hub_rows(
    path: str, hub: Mapping[str, str | None], files: Mapping[str, Any], stream: bool = False
) -> Iterator[tuple[int, Any]]:
    """(number, row), from 1. `stream`: without downloading all of it first, and without the slice of its split.
    DataError if the hub does not have it, or cannot be reached."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    chosen: dict[str, Any] = {"data_files": files["data_files"]} if files.get("data_files") else {}
    if stream:
        chosen |= {"streaming": True}
        hub = {**hub, "split": base_of(hub["split"] or "train")}
    try:
        dataset = load_dataset(path, **hub, **chosen)
        for number, row in enumerate(dataset, 1):
            yield number, without_padding(row)
    except (DatasetsError, OSError, ValueError) as error:
        raise DataError(
            f"dataset {path!r} is no local file and cannot be loaded from the hub: {_why(error)}"
        ) from error


def _why(error: Exception) -> str:
    from huggingface_hub import constants

    reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
    if constants.HF_HUB_OFFLINE:
        return (
            f"{reason}. HF_HUB_OFFLINE is set, so only what was downloaded before can be used: unset it, or name a "
            "local file or folder"
        )
    return f"{reason}. Check the spelling, the network and datasets.split; for a private one, run: hf auth login"
