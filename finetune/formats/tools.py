"""Tool definitions and tool calls as a template reads them: values instead of JSON text, without the nulls with which
Arrow fills up mappings of different keys. Knows no template."""

import json
from collections.abc import Mapping
from typing import Any

from finetune.formats.meaning import BadRow, kind_of


def parsed(text: str, what: str) -> Any:
    """The value of a JSON text, nulls included. BadRow if it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"{what} is not JSON: {error}") from None


def without_padding(value: Any) -> Any:
    """The value without keys that are null; nulls in lists stay."""
    if isinstance(value, Mapping):
        return {key: without_padding(item) for key, item in value.items() if item is not None}
    return [without_padding(item) for item in value] if isinstance(value, list) else value


def definitions(given: Any, column: str) -> tuple[Mapping[str, Any], ...] | None:
    """The tools of a row, from a list of them or its JSON text. None if there are none; BadRow for anything else."""
    given = parsed(given, f"`{column}`") if isinstance(given, str) and given.strip() else without_padding(given)
    if not given:
        return None
    if not isinstance(given, list):
        raise BadRow(f"`{column}` is {kind_of(given)}, not a list of tools")
    return tuple(_definition(tool, number, column) for number, tool in enumerate(given, 1))


def _definition(tool: Any, number: int, column: str) -> Mapping[str, Any]:
    what = f"tool {number} of `{column}`"
    tool = parsed(tool, what) if isinstance(tool, str) else tool
    if not isinstance(tool, Mapping):
        raise BadRow(f"{what} is {kind_of(tool)}, not a mapping with a name and parameters")
    inner = tool.get("function")
    holder = inner if isinstance(inner, Mapping) else tool
    if not isinstance(holder.get("parameters"), str):
        return tool
    whole = {**holder, "parameters": parsed(holder["parameters"], f"`parameters` of {what}")}
    return {**tool, "function": whole} if holder is inner else whole


def calls(given: Any, turn: int) -> list[Any]:
    """A message's tool calls; arguments as values. BadRow for what is no list of calls or no JSON."""
    given = parsed(given, f"turn {turn}: `tool_calls`") if isinstance(given, str) else without_padding(given)
    if not isinstance(given, list) or not all(isinstance(call, Mapping) for call in given):
        raise BadRow(f"turn {turn}: `tool_calls` is no list of calls")
    return [_call(call, turn) for call in given]


def _call(call: dict[str, Any], turn: int) -> dict[str, Any]:
    inner = call.get("function")
    holder = inner if isinstance(inner, dict) else call
    if isinstance(holder.get("arguments"), str):
        holder["arguments"] = parsed(holder["arguments"], f"turn {turn}: `arguments` of a tool call")
    return call
