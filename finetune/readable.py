"""Values, types and calls in words, for people. Judges none of them."""

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from finetune.compare import ABSENT, Change
from finetune.schema import BOUNDS

BOUND_SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
SHORT = 16
"""Characters of a value beyond which an overview leaves it out."""


def plain(value: Any) -> Any:
    """A recipe's value as JSON has it."""
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_none=True)
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def value_text(value: Any) -> str:
    """As one would write it in a recipe, on one line; "unset" for null."""
    value = plain(value)
    if value is None:
        return "unset"
    if value == ABSENT and isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, str) and value.isprintable() and value.strip():
        return value
    return json.dumps(value, ensure_ascii=False)


def call_text(target: str) -> str:
    """A dotted target without its packages: `SFTConfig`, `AutoTokenizer.from_pretrained`."""
    parts = target.split(".")
    return ".".join(parts[-2:]) if len(parts) > 1 and parts[-2][:1].isupper() else parts[-1]


def reach_texts(changes: Iterable[Change], value: Any = None, short: bool = True) -> list[str]:
    """A text for each call: `trl.SFTConfig(seed, data_seed)`; `peft.LoraConfig(…)` where it is made or not at all.

    An argument's present value is shown where it is not the key's own. `short`, for narrow columns: without packages
    and long values, with spaces to fold at: `SFTConfig: seed, data_seed`."""
    calls: dict[tuple[str, str, int], list[str]] = {}
    for change in changes:
        arguments = calls.setdefault((change.stage, change.target, change.number), [])
        if not change.argument:
            arguments.insert(0, "…")
            continue
        arguments.append(change.argument + _present(change.one, value, short))
    texts = []
    for (_, target, number), arguments in calls.items():
        name = (call_text(target) if short else target) + (f" #{number}" if number > 1 else "")
        listed = ", ".join(arguments)
        whole = "…" in arguments
        texts.append(f"{name}(…)" if whole else f"{name}: {listed}" if short else f"{name}({listed})")
    return list(dict.fromkeys(texts))


def _present(current: Any, value: Any, short: bool) -> str:
    text = json.dumps(current, ensure_ascii=False)
    if current == ABSENT or current == plain(value) or (short and len(text) > SHORT):
        return ""
    return f"={text}"


def type_text(schema: dict[str, Any]) -> str:
    """The type that a JSON Schema of a key describes; that a key may be left out is not repeated."""
    schema = {BOUNDS.get(name, name): value for name, value in schema.items()}
    limits = [f"{sign} {schema[name]:g}" for name, sign in BOUND_SIGNS.items() if name in schema]
    return " and ".join([_kind(schema), *limits[1:]]) if not limits else f"{_kind(schema)} {' and '.join(limits)}"


def _kind(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        branches = [type_text(branch) for branch in schema["anyOf"] if branch != {"type": "null"}]
        if branches == ["whole number", "number"]:
            return "whole number, or a share below 1"
        return " or ".join(dict.fromkeys(branches))
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{value_text(schema['const'])}`"
    if "$ref" in schema or schema.get("properties"):
        return "mapping of the keys below"
    kind = schema.get("type")
    if kind == "array":
        inner = type_text(schema.get("items", {}))
        return f"list of {PLURALS.get(inner, inner)}"
    if kind == "object":
        held = schema.get("additionalProperties")
        names = type_text(schema["propertyNames"]) if "enum" in schema.get("propertyNames", {}) else "text"
        return f"mapping: {names} -> {type_text(held) if isinstance(held, dict) and held else 'any value'}"
    return KINDS.get(str(kind), "any value")


KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
PLURALS = {"text": "texts", "mapping of the keys below": "mappings of the keys below", "whole number": "whole numbers"}
