"""A name on the hub and a revision -> its commit: asked of the hub, else read from what was downloaded before.
Downloads nothing."""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from finetune.errors import DataError, FinetuneError, ModelError

COMMIT = re.compile(r"[0-9a-f]{40}")
PATIENCE_S = 20.0


@dataclass(frozen=True)
class Repository:
    """`kind`: model or dataset. `key`: where the recipe names it, for messages."""

    kind: str
    name: str
    revision: str | None
    key: str

    def error(self, message: str) -> FinetuneError:
        return (DataError if self.kind == "dataset" else ModelError)(message)


def go_offline() -> None:
    """From here on no library asks the hub."""
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    for name, switch in (("huggingface_hub.constants", "HF_HUB_OFFLINE"), ("datasets.config", "HF_HUB_OFFLINE")):
        if name in sys.modules:
            setattr(sys.modules[name], switch, True)


def commit_of(what: Repository) -> str:
    """The commit that a revision is now; where the hub cannot be reached, the one that was downloaded last. ModelError
    or DataError if there is neither."""
    from httpx import HTTPError
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(what.name)
    except HFValidationError:
        raise _nowhere(what) from None
    if what.revision and COMMIT.fullmatch(what.revision):
        return what.revision
    if constants.HF_HUB_OFFLINE:
        return _downloaded(what, "offline, only what was downloaded before is known")
    try:
        found = HfApi().repo_info(what.name, repo_type=what.kind, revision=what.revision, timeout=PATIENCE_S).sha
    except RevisionNotFoundError:
        raise what.error(f"{what.key}: {what.name} has no revision {what.revision!r} on the hub: correct it") from None
    except GatedRepoError:
        raise what.error(
            f"{what.key}: {what.name} asks to accept its terms on the hub; then run: hf auth login"
        ) from None
    except RepositoryNotFoundError:
        raise _nowhere(what) from None
    except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
        return _downloaded(what, f"the hub cannot be asked ({_first_line(error)})")
    if found is None:
        raise what.error(f"{what.key}: the hub tells no commit of {what.name}")
    return found


def _nowhere(what: Repository) -> FinetuneError:
    return what.error(
        f"{what.key}: {what.name} is no local file or folder (looked beside the recipe and in the working directory), "
        f"and the hub has no such {what.kind}: check the spelling; for a private one: hf auth login"
    )


def _downloaded(what: Repository, why: str) -> str:
    """The commit that the hub's cache on this machine has for the revision."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=what.name, repo_type=what.kind)
    try:
        found = (folder / "refs" / (what.revision or "main")).read_text("ascii").strip()
    except (OSError, ValueError):
        found = ""
    if not found and what.kind == "dataset" and what.revision in (None, "main"):
        found = _prepared(what.name)
    if COMMIT.fullmatch(found):
        return found
    command = f"hf download {what.name}" + " --repo-type dataset" * (what.kind == "dataset")
    raise what.error(
        f"{what.key}: the commit of {what.name} is not known: {why}, and nothing of it lies in "
        f"{constants.HF_HUB_CACHE}. Check the network, download it ({command}), or name a local copy"
    )


def _prepared(name: str) -> str:
    """The commit of the rows of a dataset that would be loaded offline: those that were downloaded last."""
    from datasets import config
    from datasets.naming import camelcase_to_snakecase

    owner, slash, last = name.rpartition("/")
    folder = Path(config.HF_DATASETS_CACHE) / f"{owner}{'___' if slash else ''}{camelcase_to_snakecase(last)}"
    found = [path for path in folder.glob("*/*/*") if path.is_dir()]
    newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
    return newest.name if newest else ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
