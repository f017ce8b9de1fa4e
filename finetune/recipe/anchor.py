"""Where a recipe's relative paths lead: beside the file that wrote them, then in the working directory. Looks whether
things are there; opens none."""

import glob
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from finetune.errors import Fault
from finetune.recipe.data import DatasetEntry
from finetune.recipe.recipe import Recipe
from finetune.recipe.reward_files import PLACE as REWARDS
from finetune.recipe.reward_files import anchored_rewards
from finetune.recipe.source import Path_, Source

KINDS = ("jsonl", "ndjson", "json", "csv", "tsv", "parquet", "txt", "md", "arrow")
DATA_ENDINGS = tuple(f".{kind}{packed}" for kind in KINDS for packed in ("", ".gz", ".bz2", ".xz", ".zst"))
TEMPLATE_ENDINGS = (".jinja", ".jinja2", ".j2")
BUILDERS = ("json", "csv", "parquet", "arrow", "text")
"""What stands as path where data_files names the local files."""


FOLDERS = ("base_model", "tokenizer_config", "lora_model_dir")


def anchored(recipe: Recipe, source: Source) -> tuple[Recipe, list[Fault]]:
    """The recipe with its relative input paths as they are reached from the working directory, and warnings about data
    files that are not there (no error: a recipe may be checked where its data is not)."""
    warnings: list[Fault] = []

    def anchor(text: str, key: Path_) -> str:
        if "://" in text:
            return text
        path = Path(os.path.expanduser(text))  # noqa: PTH111 - Path's raises for ~~
        written = source.where(key).file
        folder = Path(written if written in source.files else source.name).parent
        if not path.is_absolute() and _exists(folder / path):
            return os.path.normpath(folder / path)
        return str(path) if text.startswith("~") else text

    def entries(key: str, found: list[DatasetEntry] | None) -> list[DatasetEntry] | None:
        new = []
        for number, entry in enumerate(found or []):
            moved, names = _moved(entry, anchor, (key, number))
            if moved.chat_template_jinja:
                own = _template(moved.chat_template_jinja, anchor, (key, number, "chat_template_jinja"))
                moved = moved.model_copy(update={"chat_template_jinja": own})
            warnings.extend(_absent(names, source, (key, number)))
            new.append(moved)
        return new if found is not None else None

    folders = {key: name for key in FOLDERS if (name := getattr(recipe, key))}
    update: dict[str, Any] = {
        **{key: _absolute_folder(anchor(name, (key,))) for key, name in folders.items()},
        "chat_template_jinja": recipe.chat_template_jinja
        and _template(recipe.chat_template_jinja, anchor, ("chat_template_jinja",)),
        "datasets": entries("datasets", recipe.datasets),
        "test_datasets": entries("test_datasets", recipe.test_datasets),
    }
    update |= _rewards(recipe, source, anchor)
    update = {key: value for key, value in update.items() if value is not None}
    warnings += _pinning(recipe, update["base_model"], source)
    # Only what was written counts as written: model_copy would mark test_datasets as set.
    return recipe.model_copy(update=update), warnings


def _rewards(recipe: Recipe, source: Source, anchor: Callable[[str, Path_], str]) -> dict[str, Any]:
    if recipe.trl is None or not recipe.trl.reward_funcs:
        return {}
    rewards = anchored_rewards(recipe.trl.reward_funcs, source, lambda text: anchor(text, REWARDS))
    return {"trl": recipe.trl.model_copy(update={"reward_funcs": rewards})}


def _template(jinja: str, anchor: Callable[[str, Path_], str], place: Path_) -> str:
    """A template that is a file's name, by the path where it is reached."""
    named = jinja.endswith(TEMPLATE_ENDINGS) and "{" not in jinja and "\n" not in jinja
    return anchor(jinja, place) if named else jinja


def _moved(
    entry: DatasetEntry, anchor: Callable[[str, Path_], str], place: Path_
) -> tuple[DatasetEntry, dict[tuple[str, str], str]]:
    """The entry with its paths as they are reached; (name as written, key) -> path of what it reads."""
    path = anchor(entry.path, (*place, "path"))
    if entry.path not in BUILDERS or entry.data_files is None or _exists(Path(path)):
        return entry.model_copy(update={"path": path}), {(entry.path, "path"): path}
    written = [entry.data_files] if isinstance(entry.data_files, str) else entry.data_files
    names = {(name, "data_files"): anchor(name, (*place, "data_files")) for name in written}
    return entry.model_copy(update={"data_files": list(names.values())}), names


def _absent(names: Mapping[tuple[str, str], str], source: Source, entry: Path_) -> Iterator[Fault]:
    for (name, key), path in names.items():
        if "://" not in path and path.lower().endswith(DATA_ENDINGS) and not _exists(Path(path)):
            message = f"there is no file `{name}` beside the recipe or in the working directory"
            yield Fault(message, source.where((*entry, key)), "warning", "FT022")


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
    """Whether it is there, or some file where it is a pattern. os.path.exists answers where Path.exists raises: for
    names that are too long or hold a null byte."""
    if os.path.exists(path):  # noqa: PTH110
        return True
    return any(sign in str(path) for sign in "*?[") and bool(glob.glob(str(path)))  # noqa: PTH207


def _absolute_folder(name: str) -> str:
    """A local model by its whole path, since the adapter's config keeps it for whoever loads the adapter elsewhere."""
    return os.path.abspath(name) if os.path.isdir(name) else name  # noqa: PTH100, PTH112
