"""A hub id -> its commit and its rows, through the hub's and the datasets library. Knows the hub; knows no file and no
format."""

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.data.choosing import base_of
from finetune.data.readers import without_padding
from finetune.errors import DataError

COMMIT = re.compile(r"[0-9a-f]{40}")
AT = re.compile(r"^hf://datasets/[^@]+@([0-9a-f]{40})/")


def commit_of(path: str, revision: str | None, data_files: Sequence[str]) -> str | None:
    """The commit that a revision is now; None offline, where only what was downloaded before can be used. DataError
    if the hub does not have it, lets nobody in, or cannot be reached: the datasets library would quietly take what it
    downloaded before, of whatever revision."""
    from httpx import HTTPError
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        found = HfApi().dataset_info(path, revision=revision)
    except RevisionNotFoundError:
        raise DataError(f"hub dataset {path} has no revision {revision!r}: correct datasets.revision") from None
    except GatedRepoError:
        page = f"{constants.ENDPOINT}/datasets/{path}"
        raise DataError(
            f"hub dataset {path} asks to accept its terms: do so at {page}, then run: hf auth login"
        ) from None
    except RepositoryNotFoundError:
        raise DataError(
            f"{path} is no local file, and the hub has no such dataset: check the spelling; for a private one, run: "
            "hf auth login"
        ) from None
    except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
        raise DataError(
            f"{path} is no local file, and the hub cannot be asked for it: {_first_line(error)}. Check the network; "
            "with HF_HUB_OFFLINE=1 what was downloaded before is used"
        ) from None
    names = [one.rfilename for one in found.siblings or ()]
    for pattern in data_files:
        if "://" not in pattern and not any(fnmatch.fnmatch(name, pattern.lstrip("./")) for name in names):
            shown = ", ".join(names[:8])
            raise DataError(f"hub dataset {path} has no file {pattern} (it has {shown}): correct datasets.data_files")
    return found.sha


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
        _is_of(dataset, path, hub["revision"])
        for number, row in enumerate(dataset, 1):
            yield number, without_padding(row)
    except (DatasetsError, OSError, ValueError) as error:
        raise DataError(f"dataset {path!r} is no local file and cannot be read from the hub: {_why(error)}") from error


def _is_of(dataset: Any, path: str, revision: str | None) -> None:
    """DataError if these are not the rows of the commit that is asked for. Offline, the library takes what it
    downloaded last, of whatever commit."""
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE or not COMMIT.fullmatch(revision or ""):
        return
    # Where the rows lie, the last folder is the commit; what is streamed tells the addresses it came from.
    here = {Path(file["filename"]).parent.name for file in getattr(dataset, "cache_files", None) or ()}
    here |= {found[1] for name in dataset.info.download_checksums or () if (found := AT.search(name))}
    if here != {revision}:
        told = ", ".join(sorted(here)) or "another"
        raise DataError(
            f"hub dataset {path} is asked for at commit {revision}, and what was downloaded last is {told}. "
            "HF_HUB_OFFLINE is set: unset it to load that commit"
        )


def _why(error: Exception) -> str:
    from huggingface_hub import constants

    reason = _first_line(error)
    if constants.HF_HUB_OFFLINE:
        return (
            f"{reason}. HF_HUB_OFFLINE is set, so only what was downloaded before can be used: unset it, or name a "
            "local file or folder"
        )
    return f"{reason}. Check datasets.name, datasets.split and the network"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300].rstrip(".")
