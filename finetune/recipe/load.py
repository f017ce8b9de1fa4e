"""Recipe file + overrides -> a checked Recipe, or every fault with its place. Touches the disk only to read the recipe
and to see where its relative paths lead; knows no library."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from finetune.errors import Fault, RecipeError
from finetune.recipe import foreign
from finetune.recipe.base import Section
from finetune.recipe.compose import interpolate, override
from finetune.recipe.data import DatasetEntry, MessageProperties
from finetune.recipe.model import SpecialTokens
from finetune.recipe.recipe import Recipe
from finetune.recipe.rules import broken_rules
from finetune.recipe.source import Path_, Source, read_file
from finetune.recipe.spellings import today

FOREIGN: dict[type[Section], frozenset[str]] = {
    Recipe: foreign.RECIPE_KEYS,
    DatasetEntry: foreign.DATASET_KEYS,
    SpecialTokens: frozenset(),
}
DATA_ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".txt", ".arrow")


@dataclass(frozen=True)
class Checked:
    """A recipe that passed, with where its lines stand and what should be said about them."""

    recipe: Recipe
    source: Source
    notes: tuple[Fault, ...]


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Checked:
    """The checked recipe of a file. RecipeError with every fault at once."""
    source = interpolate(override(read_file(path), overrides))
    source, notes, faults = today(source)
    values, refused = _without_off(source.data, source)
    faults += refused
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        faults += _faults_of(error, source)
    faults += [Fault(message, source.where((key,))) for key, message in broken_rules(values)]
    if faults:
        raise RecipeError(*sorted(set(faults), key=lambda fault: (fault.where is None, fault.where)))
    source = Source(source.name, values, source.lines)
    recipe, warnings = _anchored(recipe, path.parent, source)
    return Checked(recipe, source, (*notes, *warnings))


def _without_off(data: Mapping[str, Any], source: Source) -> tuple[dict[str, Any], list[Fault]]:
    """The values that ask for something; faults for foreign keys that are on. null always means "as if not written"."""
    faults: list[Fault] = []

    def kept(values: Mapping[str, Any], path: Path_, model: type[Section]) -> Iterator[tuple[str, Any]]:
        for key, value in values.items():
            if key in FOREIGN[model]:
                if not foreign.is_off(value):
                    faults.append(Fault(foreign.refusal(key), source.where((*path, key))))
            elif key not in model.model_fields or not _says_nothing(value):
                yield key, value

    tokens = data.get("special_tokens")
    if isinstance(tokens, dict):
        data = {**data, "special_tokens": dict(kept(tokens, ("special_tokens",), SpecialTokens))}
    values = dict(kept(data, (), Recipe))
    for key in ("datasets", "test_datasets"):
        if isinstance(values.get(key), list):
            values[key] = [
                dict(kept(entry, (key, number), DatasetEntry)) if isinstance(entry, dict) else entry
                for number, entry in enumerate(values[key])
            ]
    return values, faults


def _says_nothing(value: Any) -> bool:
    """null, or a mapping of nothing but null: people leave whole blocks of keys empty."""
    return value is None or (isinstance(value, dict) and all(item is None for item in value.values()))


def _faults_of(error: ValidationError, source: Source) -> Iterator[Fault]:
    seen: set[Path_] = set()
    for detail in error.errors(include_url=False):
        path: Path_ = tuple(part for part in detail["loc"])
        while path and path not in source.lines and detail["type"] not in ("missing", "extra_forbidden"):
            path = path[:-1]  # the rest names a branch of a union, not a line
        if path in seen and path:
            continue  # one fault a line: a union reports once per branch
        seen.add(path)
        yield Fault(_message(detail, path, source), source.where(path))


def _message(detail: Any, path: Path_, source: Source) -> str:
    key, kind, value = ".".join(map(str, path)), detail["type"], detail["input"]
    if kind == "missing":
        return f"`{key}` is missing and has no default"
    if kind == "extra_forbidden":
        import difflib

        name = str(path[-1])
        near = difflib.get_close_matches(name, _known_keys(path), n=1, cutoff=0.7) or difflib.get_close_matches(
            name, sorted(foreign.RECIPE_KEYS), n=1, cutoff=0.85
        )
        hint = f"did you mean `{near[0]}`?" if near else "`finetune schema` lists the keys there are"
        return f"unknown key `{key}`; {hint}"
    shown = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    shown = "null" if value is None else shown
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"`{key}: {shown[:80]}` should be a mapping of keys"
    if kind == "string_too_short":
        return f"`{key}` is empty; write a value, or remove the line"
    wanted = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if kind in ("bool_type", "literal_error", "bool_parsing") and str(value).lower() in ("yes", "on", "no", "off"):
        wanted += "; in YAML 1.2 this word is text: write true or false"
    return f"`{key}: {shown[:80]}` should be {wanted}"


def _known_keys(path: Path_) -> list[str]:
    if len(path) == 1:
        return list(Recipe.model_fields)
    if path[0] == "special_tokens":
        return list(SpecialTokens.model_fields)
    if "message_property_mappings" in path:
        return list(MessageProperties.model_fields)
    return list(DatasetEntry.model_fields)


def _anchored(recipe: Recipe, folder: Path, source: Source) -> tuple[Recipe, list[Fault]]:
    """The recipe with its relative input paths as they are reached from the working directory, and warnings about data
    files that are not there (no error: a recipe may be checked where its data is not)."""
    warnings: list[Fault] = []

    def anchor(text: str) -> str:
        path = Path(text).expanduser()
        if not path.is_absolute() and _exists(folder / path):
            return os.path.normpath(folder / path)
        return str(path) if text.startswith("~") else text

    def entries(key: str, found: list[DatasetEntry] | None) -> list[DatasetEntry] | None:
        new = []
        for number, entry in enumerate(found or []):
            path = anchor(entry.path)
            if path.lower().endswith(DATA_ENDINGS) and not _exists(Path(path)):
                message = f"there is no file `{entry.path}` beside the recipe or in the working directory"
                warnings.append(Fault(message, source.where((key, number, "path")), "warning"))
            new.append(entry.model_copy(update={"path": path}))
        return new if found is not None else None

    update = {
        "base_model": _absolute_folder(anchor(recipe.base_model)),
        "datasets": entries("datasets", recipe.datasets),
        "test_datasets": entries("test_datasets", recipe.test_datasets),
    }
    update = {key: value for key, value in update.items() if value is not None}
    if recipe.trust_remote_code and not recipe.revision_of_model:
        message = (
            "`trust_remote_code` runs the repository's code as it is that day; pin `revision_of_model` to a commit"
        )
        warnings.append(Fault(message, source.where(("trust_remote_code",)), "warning"))
    if recipe.revision_of_model and _exists(Path(anchor(recipe.base_model))):
        message = "`revision_of_model` changes nothing: base_model is a local folder"
        warnings.append(Fault(message, source.where(("revision_of_model",)), "warning"))
    # Only what was written counts as written: model_copy would mark test_datasets as set.
    return recipe.model_copy(update=update), warnings


def _exists(path: Path) -> bool:
    """os.path.exists answers where Path.exists raises: for names that are too long or hold a null byte."""
    return os.path.exists(path)  # noqa: PTH110


def _absolute_folder(name: str) -> str:
    """A local model by its whole path, since the adapter's config keeps it for whoever loads the adapter elsewhere."""
    return os.path.abspath(name) if os.path.isdir(name) else name  # noqa: PTH100, PTH112
