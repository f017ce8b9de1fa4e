"""Where a recipe's relative paths lead: beside the file that wrote them, then in the working directory. Looks whether
things are there; opens none."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetune.errors import Fault
from finetune.recipe.data import DatasetEntry
from finetune.recipe.recipe import Recipe
from finetune.recipe.source import Path_, Source

DATA_ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".txt", ".arrow")


def anchored(recipe: Recipe, source: Source) -> tuple[Recipe, list[Fault]]:
    """The recipe with its relative input paths as they are reached from the working directory, and warnings about data
    files that are not there (no error: a recipe may be checked where its data is not)."""
    warnings: list[Fault] = []

    def anchor(text: str, key: Path_) -> str:
        path = Path(os.path.expanduser(text))  # noqa: PTH111 - Path's raises for ~~
        written = source.where(key).file
        folder = Path(written if written in source.files else source.name).parent
        if not path.is_absolute() and _exists(folder / path):
            return os.path.normpath(folder / path)
        return str(path) if text.startswith("~") else text

    def entries(key: str, found: list[DatasetEntry] | None) -> list[DatasetEntry] | None:
        new = []
        for number, entry in enumerate(found or []):
            path = anchor(entry.path, (key, number, "path"))
            if path.lower().endswith(DATA_ENDINGS) and not _exists(Path(path)):
                message = f"there is no file `{entry.path}` beside the recipe or in the working directory"
                warnings.append(Fault(message, source.where((key, number, "path")), "warning", "FT022"))
            new.append(entry.model_copy(update={"path": path}))
        return new if found is not None else None

    update: dict[str, Any] = {
        "base_model": _absolute_folder(anchor(recipe.base_model, ("base_model",))),
        "tokenizer_config": recipe.tokenizer_config
        and _absolute_folder(anchor(recipe.tokenizer_config, ("tokenizer_config",))),
        "datasets": entries("datasets", recipe.datasets),
        "test_datasets": entries("test_datasets", recipe.test_datasets),
    }
    update = {key: value for key, value in update.items() if value is not None}
    warnings += _pinning(recipe, update["base_model"], source)
    # Only what was written counts as written: model_copy would mark test_datasets as set.
    return recipe.model_copy(update=update), warnings


def _pinning(recipe: Recipe, base_model: str, source: Source) -> Iterator[Fault]:
    if recipe.trust_remote_code and not recipe.revision_of_model:
        message = (
            "`trust_remote_code` runs the repository's code as it is that day; pin `revision_of_model` to a commit"
        )
        yield Fault(message, source.where(("trust_remote_code",)), "warning", "FT021")
    if recipe.revision_of_model and _exists(Path(base_model)) and not recipe.trust_remote_code:
        message = "`revision_of_model` changes nothing: base_model is a local folder"
        yield Fault(message, source.where(("revision_of_model",)), "warning", "FT011")


def _exists(path: Path) -> bool:
    """os.path.exists answers where Path.exists raises: for names that are too long or hold a null byte."""
    return os.path.exists(path)  # noqa: PTH110


def _absolute_folder(name: str) -> str:
    """A local model by its whole path, since the adapter's config keeps it for whoever loads the adapter elsewhere."""
    return os.path.abspath(name) if os.path.isdir(name) else name  # noqa: PTH100, PTH112
