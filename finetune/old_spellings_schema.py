"""Old spellings in the JSON Schema, marked deprecated, so that an editor accepts and strikes them through."""

from typing import Any

from finetune.recipe import dataset_spellings, old_fsdp, old_keys, spellings


def add_old_spellings(schema: dict[str, Any]) -> None:
    properties = schema["properties"]
    for old, new in spellings.ATTENTION.items():
        properties[old] = _old(f"attn_implementation: {new}", _or_off({"type": "boolean"}))
    for old, (key, value) in spellings.NUMBER_TYPES.items():
        properties[old] = _old(f"{key}: {str(value).lower()}", _or_off({"type": "boolean"}))
    inner = schema["$defs"]["BnbConfig"]["properties"]
    for old in spellings.QUANTIZATION:
        properties[old] = inner[old] | {"description": f"Old spelling of bnb_config_kwargs.{old}.", "deprecated": True}
    length = properties["sequence_len"]["anyOf"]
    properties["batch_size"] = _old("gradient_accumulation_steps", _or_off({"type": "integer", "minimum": 0}))
    properties["max_packed_sequence_len"] = _old("sample_packing: true", _or_off(*length))
    properties["base_model_config"] = _old("base_model", _or_off({"type": "string"}))
    named = [{"$ref": "#/$defs/SpecialTokens", "deprecated": True}, {"$ref": "#/$defs/blank"}]
    properties["tokens"]["anyOf"] += named
    properties["torch_dtype"] = _old("bf16 and fp16", _or_off({"type": "string"}))
    sources = _or_off({"type": ["string", "array", "object"]})
    properties["pretraining_dataset"] = _old("datasets with type: completion", sources)
    properties["fsdp"] = _old("fsdp_version: 2", _or_off({"type": ["boolean", "string", "array"]}))
    properties["fsdp_version"]["anyOf"].append({"const": 1, "deprecated": True})
    for key in old_keys.OVERRIDES:
        properties[key] = {"description": properties[key]["description"]} | _or_off({"const": old_keys.ROUTERS})
    properties["model_type"]["anyOf"].append({"const": old_keys.SCORES, "deprecated": True})
    _old_fsdp(schema["$defs"]["FsdpConfig"]["properties"])
    for key, values in spellings.VALUES.items():
        properties[key]["anyOf"] = [*properties[key].get("anyOf", []), {"enum": list(values), "deprecated": True}]
    for old, new in spellings.RENAMED.items():
        properties[old] = properties[new] | {"description": f"Old spelling of {new}.", "deprecated": True}
    entry = schema["$defs"]["DatasetEntry"]
    _old_entries(entry["properties"])
    _template(entry["properties"], properties["chat_template"])
    entry["anyOf"] = [{"required": [key]} for key in ("path", "data_path")]
    entry.pop("required", None)


def _old(today: str, shape: dict[str, Any]) -> dict[str, Any]:
    return {"description": f"Old spelling of {today}.", "deprecated": True} | shape


def _or_off(*shapes: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [*shapes, {"$ref": "#/$defs/off"}]}


def _old_entries(entry: dict[str, Any]) -> None:
    kinds = f"^({'|'.join(sorted(dataset_spellings.FILE_TYPES))}|sharegpt([._:].*)?|chat_template\\.(default|load))$"
    entry["type"]["anyOf"].append({"type": "string", "pattern": kinds, "deprecated": True})
    text = {"type": ["string", "null"]}
    entry["ds_type"]["anyOf"].append({"enum": [*dataset_spellings.OTHER_KINDS], "deprecated": True})
    named = {"anyOf": [{"enum": [*dataset_spellings.CONVERSATIONS]}, {"$ref": "#/$defs/notWritten"}]}
    entry["conversation"] = _old("chat_template", named)
    for old, new in dataset_spellings.RENAMED.items():
        entry[old] = _old(new, {"anyOf": [entry[new], {"type": "null"}]})
    for old, new in dataset_spellings.PROPERTIES.items():
        entry[old] = _old(f"message_property_mappings.{new}", text | {"minLength": 1})


def _old_fsdp(inside: dict[str, Any]) -> None:
    for key in (old_fsdp.VERSION, "version"):
        inside[key] = _old("fsdp_version: 2 at the top level", _or_off({"enum": [1, 2]}))
    inside["sharding_strategy"] = _old(old_fsdp.AGAIN, _or_off({"type": ["string", "integer"]}))
    for key in [key for key in inside if key != old_fsdp.VERSION]:
        inside[f"{old_fsdp.PREFIX}{key}"] = inside[key] | {"description": f"Old spelling of {key}.", "deprecated": True}


def _template(entry: dict[str, Any], whole: dict[str, Any]) -> None:
    """One template holds for all datasets; written in an entry it means the recipe's."""
    off: dict[str, Any] = {"enum": [None, False, [], {}, 0]}
    named = {"anyOf": [*whole["anyOf"], off], "not": {"const": "jinja"}}
    entry["chat_template"] = _old("the recipe's chat_template", named)
