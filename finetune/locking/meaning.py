"""A checked recipe -> its meaning, without what may differ between machines and people: keys that count, and the calls
they come to. Knows no file's content, no library and no hub."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.continuing import HARMLESS
from finetune.data.files import BUILDERS
from finetune.data.opening import is_address
from finetune.locking.digests import of_json
from finetune.locking.inputs import named_template, templates_of
from finetune.machine import Machine, assumed
from finetune.plan import STAGES
from finetune.recipe.load import Checked
from finetune.recipe.recipe import Recipe
from finetune.recipe.rewards import FunctionName, parsed
from finetune.recipe.source import Path_
from finetune.resolve import resolve

FREE = HARMLESS - {"recipe_version"} | {"dataset_prepared_path", "dataset_num_proc"}
"""Keys on which neither the weights nor the order of rows hang: a lock does not hold them, and they may change."""
INPUTS = ("base_model", "tokenizer_config", "lora_model_dir")
OUTPUT_DIR = "output_dir"
FROM_ENVIRONMENT = "${oc.env"


def keys_of(recipe: Recipe) -> dict[str, Any]:
    """Key -> value, of those that count and are not at their default. What is told by its content or by its commit (the
    paths of models, data, templates, rewards) is left out."""
    values = recipe.model_dump(mode="json", exclude_defaults=True)
    for key in (*FREE, *INPUTS):
        values.pop(key, None)
    for place, jinja in templates_of(recipe):
        if named_template(jinja):
            _drop(values, place)
    for key in ("datasets", "test_datasets"):
        for entry in values.get(key) or ():
            path = entry.pop("path", "")
            if path in BUILDERS and "data_files" in entry:
                entry.pop("data_files")
                entry["path"] = path
    if (values.get("trl") or {}).get("reward_funcs"):
        values["trl"]["reward_funcs"] = [_name_alone(text) for text in values["trl"]["reward_funcs"]]
    return dict(sorted(values.items()))


def _name_alone(text: str) -> str:
    found = parsed(text)
    return found.name if isinstance(found, FunctionName) else "a model"


def _drop(values: Any, place: Path_) -> None:
    for part in place[:-1]:
        values = values[part]
    values.pop(place[-1], None)


def flat(values: Any, inside: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of each value that holds no other."""
    pairs = values.items() if isinstance(values, Mapping) else enumerate(values)
    for key, value in pairs:
        if isinstance(value, Mapping | list) and value:
            yield from flat(value, f"{inside}{key}.")
        else:
            yield f"{inside}{key}", value


def shown_keys(keys: Mapping[str, Any], raw: Any) -> dict[str, Any]:
    """The keys as a lock shows them: what comes from the environment stays the variable's name, since it may differ
    between people and is nobody else's business."""

    def shown(value: Any, raw: Any) -> Any:
        if isinstance(raw, str) and FROM_ENVIRONMENT in raw:
            return raw
        if isinstance(value, Mapping):
            return {key: shown(one, raw.get(key) if isinstance(raw, Mapping) else None) for key, one in value.items()}
        if isinstance(value, list):
            rest = raw if isinstance(raw, list) and len(raw) == len(value) else [None] * len(value)
            return [shown(*both) for both in zip(value, rest, strict=True)]
        return value

    found: dict[str, Any] = shown(keys, raw)
    return found


def extended(checked: Checked) -> list[str]:
    """The files that the recipe stands on, relative to it."""
    first, *others = checked.source.files or ("",)
    folder = Path(first).resolve().parent
    names = {os.path.relpath(Path(name).resolve(), folder).replace(os.sep, "/") for name in others}
    return sorted(names)


def calls_of(recipe: Recipe) -> dict[str, str]:
    """Stage -> digest of its calls, on a machine with an assumed GPU and on one without any, so that every machine
    comes to the same. In the place of paths stand their keys; free keys are at their defaults."""
    plain = _without_places(recipe)
    plans = [resolve(plain, machine) for machine in (assumed(), Machine(packages=assumed().packages))]
    return {stage: of_json([[call.as_json() for call in plan.calls[stage]] for plan in plans]) for stage in STAGES}


def _without_places(recipe: Recipe) -> Recipe:
    values = recipe.model_dump(exclude_unset=True)
    values = {key: value for key, value in values.items() if key not in FREE} | {OUTPUT_DIR: OUTPUT_DIR}
    for key in INPUTS:
        if values.get(key):
            values[key] = key
    for place, jinja in templates_of(recipe):
        if named_template(jinja):
            _replace(values, place, "the template's file")
    for key in ("datasets", "test_datasets"):
        for number, entry in enumerate(values.get(key) or ()):
            _without_path(entry, f"{key}.{number}")
    if (values.get("trl") or {}).get("reward_funcs"):
        values["trl"]["reward_funcs"] = [_placeless(text) for text in values["trl"]["reward_funcs"]]
    return Recipe.model_validate(values)


def _without_path(entry: dict[str, Any], name: str) -> None:
    if entry["path"] in BUILDERS and entry.get("data_files"):
        entry["data_files"] = [name]
    else:
        entry["path"] = f"https://{name}" if is_address(entry["path"]) else name


def _replace(values: Any, place: Sequence[str | int], value: Any) -> None:
    for part in place[:-1]:
        values = values[part]
    values[place[-1]] = value


def _placeless(text: str) -> str:
    found = parsed(text)
    return str(FunctionName("rewards.py", found.name)) if isinstance(found, FunctionName) else "a model"
