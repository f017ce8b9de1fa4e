"""What rewards answers in a recipe -> what it reads from outside: a function's file with the code that it imports, or
the model that a reward model stands on. Runs no code and loads no weights."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from finetune.locking import digests
from finetune.locking.code import imported
from finetune.recipe.recipe import Recipe
from finetune.recipe.reward_models import ADAPTER_CONFIG, base_in, weights_folder
from finetune.recipe.rewards import FunctionName, parsed


def rewards_of(recipe: Recipe) -> Iterator[tuple[int, FunctionName | str]]:
    """(number, the function or the model) of each."""
    yield from enumerate(map(parsed, (recipe.trl and recipe.trl.reward_funcs) or ()))


def function_item(found: FunctionName, written: str) -> dict[str, Any]:
    """What tells a function: its file's bytes, and those of the modules that it imports from beside installed
    packages."""
    own = digests.of_files(imported(found.file).files)
    return {"path": written, "sha256": found.sha256, **({"imports": own} if own else {})}


def packages_of(recipe: Recipe) -> set[str]:
    """Installed packages that reward functions import."""
    functions = [found for _, found in rewards_of(recipe) if isinstance(found, FunctionName)]
    return {name for found in functions for name in imported(found.file).packages}


def base_named(model: str, commit: str | None) -> str | None:
    """The model on which a reward model's adapter stands; None for a whole model, and where nothing tells. Of a model
    of the hub, its one small file is downloaded."""
    folder = weights_folder(model)
    config: Path | None = Path(folder) / ADAPTER_CONFIG
    if not Path(folder).is_dir():
        config = _downloaded(model, commit) if commit else None
    with suppress(OSError, ValueError, KeyError, TypeError):
        return base_in(config) if config is not None and config.is_file() else None
    return None


def _downloaded(model: str, commit: str) -> Path | None:
    from httpx import HTTPError
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(model, ADAPTER_CONFIG, revision=commit))
    except (EntryNotFoundError, HfHubHTTPError, HTTPError, HFValidationError, OSError, ValueError):
        return None  # a whole model has none
