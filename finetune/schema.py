"""The JSON Schema of a recipe, generated from the models, for editors and CI. Says what may be written; what may not
stand together is checked by the program."""

import json
from collections.abc import Iterable
from typing import Any

from pydantic.fields import FieldInfo

from finetune.old_spellings_schema import add_old_spellings
from finetune.recipe import foreign
from finetune.recipe.base import CLEAN_NUMBER, Section, key_texts
from finetune.recipe.data import DatasetEntry, MessageProperties
from finetune.recipe.header import Header
from finetune.recipe.model import BnbConfig, SpecialTokens
from finetune.recipe.recipe import Recipe
from finetune.recipe.waived import ANY, DATASET_WAIVED, WAIVED

_NOTHING: list[Any] = [None, False, "", [], {}, 0, "false", "none", "no", "null"]
OFF: dict[str, Any] = {"anyOf": [{"enum": _NOTHING}, {"type": "object", "additionalProperties": {"enum": _NOTHING}}]}
UNSET: dict[str, Any] = {"enum": [None, "", False, 0, [], {}]}
MODELS: tuple[type[Section], ...] = (DatasetEntry, SpecialTokens, MessageProperties, BnbConfig)


def recipe_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a recipe file."""
    schema = Recipe.model_json_schema()
    header = Header.model_json_schema()
    schema["properties"] |= header["properties"]
    parts: tuple[tuple[type[Section], dict[str, Any]], ...] = (
        (Recipe, schema),
        (Header, header),
        *((model, schema["$defs"][model.__name__]) for model in MODELS),
    )
    for model, found in parts:
        texts = key_texts(model)
        for key, field in found["properties"].items():
            if key not in texts:
                continue  # the header's, which come with their own model
            lenient = _lenient(field)
            lenient["description"] = texts[key]
            lenient = lenient if key in found.get("required", []) else _optional(lenient, model.model_fields[key])
            (schema if model is Header else found)["properties"][key] = lenient
    _foreign(schema["properties"], foreign.RECIPE_KEYS, False)
    _foreign(schema["$defs"]["DatasetEntry"]["properties"], foreign.DATASET_KEYS, True)
    schema["$defs"] |= {"off": OFF, "unset": UNSET}
    add_old_spellings(schema)
    for key in ("datasets", "test_datasets"):
        _one_entry_too(schema["properties"][key])
    required = [key for key in schema.pop("required") if key != "datasets"]
    whole = {"required": required, "anyOf": [{"required": ["datasets"]}, {"required": ["pretraining_dataset"]}]}
    schema |= {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "finetune recipe",
        "description": "A fine-tuning recipe; the keys are Axolotl's where Axolotl has them.",
        # What a file extends may bring the keys that it lacks.
        "if": {"not": {"required": ["extends"]}},
        "then": whole,
    }
    return schema


def schema_text() -> str:
    return json.dumps(recipe_schema(), indent=2, ensure_ascii=False) + "\n"


def _lenient(field: dict[str, Any]) -> dict[str, Any]:
    """Numbers may be written as text ("2e-4"); and a whole number as 3.0, which JSON Schema allows by itself."""
    field = {BOUNDS.get(key, key): value for key, value in field.items()}
    if field.get("type") in ("number", "integer"):
        number = {key: field.pop(key) for key in ("type", *BOUNDS.values()) if key in field}
        rest = field
        return {"anyOf": [number, {"type": "string", "pattern": f"^{CLEAN_NUMBER.pattern}$"}]} | rest
    if "anyOf" in field:
        branches: list[dict[str, Any]] = []
        for branch in field["anyOf"]:
            lenient = _lenient(branch)
            branches += lenient["anyOf"] if "anyOf" in lenient and "anyOf" not in branch else [lenient]
        unique = [branch for number, branch in enumerate(branches) if branch not in branches[:number]]
        return {**field, "anyOf": unique}
    return field


# pydantic's own words, left in the schema where a validator of ours stands before its number.
BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}


def _optional(field: dict[str, Any], known: FieldInfo) -> dict[str, Any]:
    """null means "as if not written" for every key that may be left out; so does a value that asks for nothing where
    the default is to be unset."""
    nothing: dict[str, Any] = {"$ref": "#/$defs/unset"} if known.default is None else {"type": "null"}
    outer = {key: field.pop(key) for key in ("description", "default", "examples", "title") if key in field}
    branches = field["anyOf"] if set(field) == {"anyOf"} else [field]
    branches = [branch for branch in branches if branch != {"type": "null"}]
    return outer | {"anyOf": [*branches, nothing]}


def _foreign(properties: dict[str, Any], keys: frozenset[str], dataset: bool) -> None:
    for key in sorted(keys):
        table = DATASET_WAIVED if dataset else WAIVED
        accepted, why = table.get(key, ((), ""))
        text = f"Accepted, and without effect: {why}." if why else f"{foreign.refusal(key, dataset)}."
        if accepted is ANY:
            properties[key] = {"description": text}
            continue
        branches: list[dict[str, Any]] = [{"$ref": "#/$defs/off"}]
        if key in foreign.OFF_AT_ONE:
            branches.append({"enum": [1]})
        for one in accepted:
            branches.append(_list_of(accepted) if isinstance(one, list) else {"const": one})
        properties[key] = {"description": text} | (branches[0] if len(branches) == 1 else {"anyOf": branches})


def _list_of(accepted: Iterable[list[Any]]) -> dict[str, Any]:
    return {"type": "array", "items": {"enum": [item for items in accepted for item in items]}}


def _one_entry_too(field: dict[str, Any]) -> None:
    one = {"$ref": "#/$defs/DatasetEntry"}
    if "anyOf" in field:
        field["anyOf"].append(one)
    else:
        outer = {key: field.pop(key) for key in ("description", "examples") if key in field}
        inner = dict(field)
        field.clear()
        field |= outer | {"anyOf": [inner, one]}
