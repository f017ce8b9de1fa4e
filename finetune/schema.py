"""The JSON Schema of a recipe, generated from the models, for editors and CI. Says what may be written; what may not
stand together is checked by the program."""

import json
from collections.abc import Iterable
from typing import Any

from pydantic.fields import FieldInfo

from finetune.codes import CODES
from finetune.old_spellings_schema import add_old_spellings
from finetune.recipe import foreign
from finetune.recipe.base import CLEAN_NUMBER, LARGEST, Section, key_texts
from finetune.recipe.data import DatasetEntry
from finetune.recipe.header import Header
from finetune.recipe.method import TrlConfig
from finetune.recipe.model import BnbConfig, SpecialTokens
from finetune.recipe.parallel import FsdpConfig
from finetune.recipe.recipe import Recipe
from finetune.recipe.rows import MessageProperties, PromptFormat
from finetune.recipe.surviving import LIBRARIES
from finetune.recipe.sweep import SweepRange, SweepSection
from finetune.recipe.waived import ANY

_NOTHING: list[Any] = [None, False, "", [], {}, 0]
FILLED: dict[str, Any] = {"type": "string", "pattern": r"\$\{"}
"""`${...}`, filled in from elsewhere: it may stand where any value may."""
_WORDS = {"type": "string", "pattern": r"^\s*([Ff][Aa][Ll][Ss][Ee]|[Nn][Oo][Nn][Ee]|[Nn][Uu][Ll][Ll]|[Nn][Oo])\s*$"}
_SAYS_NO: list[Any] = [{"enum": _NOTHING}, _WORDS, FILLED]
DEFS: dict[str, Any] = {
    "off": {"anyOf": [*_SAYS_NO, {"$ref": "#/$defs/blank"}]},
    "blank": {"type": "object", "additionalProperties": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/blank"}]}},
    "leftEmpty": {"anyOf": [{"enum": [None, ""]}, FILLED]},
    "offButZero": {"allOf": [{"$ref": "#/$defs/off"}, {"not": {"type": "number"}}]},
    "unset": {"anyOf": [{"enum": _NOTHING}, FILLED]},
    "notWritten": {"anyOf": [{"type": "null"}, FILLED]},
}
MODELS: tuple[type[Section], ...] = (
    DatasetEntry,
    SpecialTokens,
    MessageProperties,
    PromptFormat,
    BnbConfig,
    TrlConfig,
    FsdpConfig,
    SweepSection,
    SweepRange,
)


def recipe_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a recipe file."""
    schema = Recipe.model_json_schema()
    header = Header.model_json_schema()
    schema["properties"] |= header["properties"]
    schema["$defs"] |= header.pop("$defs", {})
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
    _foreign(schema["properties"], foreign.RECIPE_KEYS, "")
    _foreign(schema["$defs"]["DatasetEntry"]["properties"], foreign.DATASET_KEYS, "datasets")
    _foreign(schema["$defs"]["TrlConfig"]["properties"], foreign.TRL_KEYS, "trl")
    _foreign(schema["$defs"]["FsdpConfig"]["properties"], foreign.FSDP_KEYS, "fsdp_config")
    schema["$defs"] |= DEFS
    add_old_spellings(schema)
    _names(schema["properties"])
    for key in ("datasets", "test_datasets"):
        _one_entry_too(schema["properties"][key])
    required = [key for key in schema.pop("required") if key != "datasets"]
    whole = {"required": required, "anyOf": [{"required": ["datasets"]}, {"required": ["pretraining_dataset"]}]}
    schema |= {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "finetune recipe",
        "description": "A fine-tuning recipe; the keys are Axolotl's where Axolotl has them.",
        # What a file extends may bring the keys that it lacks.
        "if": {"not": {"required": ["extends"], "properties": {"extends": {"type": ["string", "array"]}}}},
        "then": whole,
    }
    return schema


def _names(keys: dict[str, Any]) -> None:
    """Only warnings and notes can be silenced, and what may differ from a checkpoint is a key: an editor lists them."""
    known = [code for code, what in CODES.items() if what.severity != "error"]
    for branch in keys["silence"]["anyOf"]:
        if "propertyNames" in branch:
            branch["propertyNames"] = {"enum": known}
    for branch in keys["resume_changed"]["anyOf"]:
        if "items" in branch:
            branch["items"] = {"anyOf": [{"enum": [*Recipe.model_fields, LIBRARIES]}, FILLED]}


def schema_text() -> str:
    return json.dumps(recipe_schema(), indent=2, ensure_ascii=False) + "\n"


def _lenient(field: dict[str, Any]) -> dict[str, Any]:
    """Numbers may be written as text ("2e-4"); and a whole number as 3.0, which JSON Schema allows by itself."""
    field = {BOUNDS.get(key, key): value for key, value in field.items()}
    for pattern, shape in field.pop("patternProperties", {}).items():
        # Names that do not fit the pattern are refused, not left open.
        field |= {"propertyNames": {"pattern": pattern}, "additionalProperties": shape}
    for inside in ("items", "additionalProperties"):
        if isinstance(field.get(inside), dict):
            field[inside] = _lenient(field[inside])
    if field.get("type") in ("number", "integer") and "const" not in field:
        number = {key: field.pop(key) for key in ("type", *BOUNDS.values()) if key in field}
        if number["type"] == "integer":
            number.setdefault("maximum", LARGEST)
        return {"anyOf": [number, {"type": "string", "pattern": NUMBER_TEXT}]} | field
    if "anyOf" in field:
        branches: list[dict[str, Any]] = []
        for branch in _steps(field):
            lenient = _lenient(branch)
            branches += lenient["anyOf"] if "anyOf" in lenient and "anyOf" not in branch else [lenient]
        unique = [branch for number, branch in enumerate(branches) if branch not in branches[:number]]
        return {**field, "anyOf": unique}
    return field


NUMBER_TEXT = f"^\\s*{CLEAN_NUMBER.pattern}\\s*$|{FILLED['pattern']}"


def _steps(field: dict[str, Any]) -> list[dict[str, Any]]:
    """The branches of a value; of steps, which are whole or a share, with the bounds of each."""
    branches: list[dict[str, Any]] = field["anyOf"]
    if "minimum" not in field:
        return branches
    least = {"minimum": field.pop("minimum")}
    share = least | {"exclusiveMaximum": 1}
    return [branch | (share if branch.get("type") == "number" else least) for branch in branches]


# pydantic's own words, left in the schema where a validator of ours stands before its number.
BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}


def _optional(field: dict[str, Any], known: FieldInfo) -> dict[str, Any]:
    """null means "as if not written" for every key that may be left out; so does a value that asks for nothing where
    the default is to be unset."""
    unset = known.default is None and known is not Header.model_fields["silence"]
    nothing = {"$ref": "#/$defs/unset" if unset else "#/$defs/notWritten"}
    outer = {key: field.pop(key) for key in ("description", "default", "examples", "title") if key in field}
    branches = field["anyOf"] if set(field) == {"anyOf"} else [field]
    branches = [branch for branch in branches if branch != {"type": "null"}]
    return outer | {"anyOf": [*branches, nothing]}


def _foreign(properties: dict[str, Any], keys: frozenset[str], inside: str) -> None:
    for key in sorted(keys):
        accepted, why = foreign.WAIVERS[inside].get(key, ((), ""))
        text = f"Accepted, and without effect: {why}." if why else f"{foreign.refusal(key, inside)}."
        if accepted is ANY:
            properties[key] = {"description": text}
            continue
        off = "offButZero" if key in foreign.ZERO_IS_ON else "off"
        off = "leftEmpty" if key in foreign.NO_IS_A_SETTING else off
        branches: list[dict[str, Any]] = [{"$ref": f"#/$defs/{off}"}]
        if key in foreign.OFF_AT_ONE:
            branches.append({"enum": [1]})
        for one in accepted:
            branches.append(_list_of(accepted) if isinstance(one, list) else {"const": one})
        properties[key] = {"description": text} | (branches[0] if len(branches) == 1 else {"anyOf": branches})


def _list_of(accepted: Iterable[list[Any]]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": {"enum": [item for items in accepted for item in items]}}


def _one_entry_too(field: dict[str, Any]) -> None:
    one = {"$ref": "#/$defs/DatasetEntry"}
    if "anyOf" in field:
        field["anyOf"] += [one, FILLED]
    else:
        outer = {key: field.pop(key) for key in ("description", "examples") if key in field}
        inner = dict(field)
        field.clear()
        field |= outer | {"anyOf": [inner, one, FILLED]}
