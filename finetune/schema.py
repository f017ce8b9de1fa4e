"""The JSON Schema of a recipe, generated from the models, for editors and CI. Says what may be written; what may not
stand together is checked by the program."""

import json
from typing import Any

from finetune.recipe import foreign
from finetune.recipe.base import CLEAN_NUMBER, key_texts
from finetune.recipe.data import DatasetEntry, MessageProperties
from finetune.recipe.model import SpecialTokens
from finetune.recipe.recipe import Recipe
from finetune.recipe.spellings import ATTENTION, FILE_TYPES, RENAMED

OFF: dict[str, Any] = {"enum": [None, False, "", [], {}]}


def recipe_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a recipe file."""
    schema = Recipe.model_json_schema()
    for model, found in (
        (Recipe, schema),
        (DatasetEntry, schema["$defs"]["DatasetEntry"]),
        (SpecialTokens, schema["$defs"]["SpecialTokens"]),
        (MessageProperties, schema["$defs"]["MessageProperties"]),
    ):
        texts = key_texts(model)
        for key, field in found["properties"].items():
            lenient = _lenient(field)
            lenient["description"] = texts[key]
            found["properties"][key] = _nullable(lenient) if key not in found.get("required", []) else lenient
    _foreign(schema["properties"], foreign.RECIPE_KEYS)
    _foreign(schema["$defs"]["DatasetEntry"]["properties"], foreign.DATASET_KEYS)
    _old_spellings(schema)
    for key in ("datasets", "test_datasets"):
        _one_entry_too(schema["properties"][key])
    schema |= {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "finetune recipe",
        "description": "A fine-tuning recipe; the keys are Axolotl's where Axolotl has them.",
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


def _nullable(field: dict[str, Any]) -> dict[str, Any]:
    """null means "as if not written" for every key that may be left out."""
    if {"type": "null"} in field.get("anyOf", []):
        return field
    outer = {key: field.pop(key) for key in ("description", "default", "examples", "title") if key in field}
    branches = field["anyOf"] if set(field) == {"anyOf"} else [field]
    return outer | {"anyOf": [*branches, {"type": "null"}]}


def _foreign(properties: dict[str, Any], keys: frozenset[str]) -> None:
    for key in sorted(keys):
        properties[key] = OFF | {"description": f"{foreign.refusal(key)}."}


def _old_spellings(schema: dict[str, Any]) -> None:
    properties = schema["properties"]
    for old, new in RENAMED.items():
        properties[old] = properties[new] | {"description": f"Old spelling of {new}.", "deprecated": True}
    for old, new in ATTENTION.items():
        text = f"Old spelling of attn_implementation: {new}."
        properties[old] = {"type": ["boolean", "null"], "description": text, "deprecated": True}
    entry = schema["$defs"]["DatasetEntry"]["properties"]
    kinds = {"type": "string", "pattern": f"^({'|'.join(sorted(FILE_TYPES))}|sharegpt.*)$", "deprecated": True}
    entry["type"]["anyOf"].append(kinds)
    entry["ds_type"] = {"type": ["string", "null"], "deprecated": True}
    for old in ("role", "content"):
        text = f"Old spelling of message_property_mappings.{old}."
        entry[f"message_field_{old}"] = {"type": ["string", "null"], "description": text, "deprecated": True}


def _one_entry_too(field: dict[str, Any]) -> None:
    one = {"$ref": "#/$defs/DatasetEntry"}
    if "anyOf" in field:
        field["anyOf"].append(one)
    else:
        outer = {key: field.pop(key) for key in ("description", "examples") if key in field}
        inner = dict(field)
        field.clear()
        field |= outer | {"anyOf": [inner, one]}
