"""Old spellings in the JSON Schema, marked deprecated, so that an editor accepts and strikes them through."""

from typing import Any

from finetune.recipe import dataset_spellings, spellings


def add_old_spellings(schema: dict[str, Any]) -> None:
    properties = schema["properties"]
    for old, new in spellings.RENAMED.items():
        properties[old] = properties[new] | {"description": f"Old spelling of {new}.", "deprecated": True}
    for old, new in spellings.ATTENTION.items():
        properties[old] = _old(f"attn_implementation: {new}", {"type": ["boolean", "null"]})
    for old, (key, value) in spellings.NUMBER_TYPES.items():
        properties[old] = _old(f"{key}: {str(value).lower()}", {"type": ["boolean", "null"]})
    inner = schema["$defs"]["BnbConfig"]["properties"]
    for old in spellings.QUANTIZATION:
        properties[old] = inner[old] | {"description": f"Old spelling of bnb_config_kwargs.{old}.", "deprecated": True}
    whole = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}, {"enum": [False, ""]}]}
    text = {"type": ["string", "null"]}
    properties["batch_size"] = _old("gradient_accumulation_steps", whole)
    properties["max_packed_sequence_len"] = _old("sample_packing: true", whole)
    properties["base_model_config"] = _old("base_model", text)
    properties["tokens"]["anyOf"].append({"$ref": "#/$defs/SpecialTokens", "deprecated": True})
    properties["torch_dtype"] = _old("bf16 and fp16", text)
    sources = {"anyOf": [{"type": ["string", "null"]}, {"type": ["array", "object"]}]}
    properties["pretraining_dataset"] = _old("datasets with type: completion", sources)
    for key, values in spellings.VALUES.items():
        properties[key]["anyOf"] = [*properties[key].get("anyOf", []), {"enum": list(values), "deprecated": True}]
    _old_entries(schema["$defs"]["DatasetEntry"]["properties"])


def _old(today: str, shape: dict[str, Any]) -> dict[str, Any]:
    return {"description": f"Old spelling of {today}.", "deprecated": True} | shape


def _old_entries(entry: dict[str, Any]) -> None:
    kinds = f"^({'|'.join(sorted(spellings.FILE_TYPES))}|sharegpt([._:].*)?|chat_template\\.(default|load))$"
    entry["type"]["anyOf"].append({"type": "string", "pattern": kinds, "deprecated": True})
    text = {"type": ["string", "null"]}
    entry["ds_type"] = _old("the ending of the file's name", text)
    entry["conversation"] = _old("chat_template", {"enum": [None, *dataset_spellings.CONVERSATIONS]})
    for old, new in dataset_spellings.RENAMED.items():
        entry[old] = _old(new, text)
    for old, new in dataset_spellings.PROPERTIES.items():
        entry[old] = _old(f"message_property_mappings.{new}", text)
