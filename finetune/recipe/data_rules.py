"""What may not stand together in the entries of datasets, and in the keys of lengths. Looks at written values only;
knows no file."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from finetune.recipe.expression import BadExpression, compiled


def taken_rows(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys that choose rows and contradict each other or count for nothing."""
    for list_key in ("datasets", "test_datasets"):
        entries = values.get(list_key)
        for entry in entries if isinstance(entries, list) else ():
            for message in _of_entry(entry) if isinstance(entry, dict) else ():
                yield list_key, message
    entries = values.get("datasets")
    units = (
        [entry.get("weight_unit") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    )
    if values.get("streaming") and "tokens" in units:
        yield "streaming", "`streaming: true` mixes by tokens where rows are packed, else by rows: remove `weight_unit`"
    if values.get("streaming") and not values.get("max_steps"):
        yield "streaming", "`streaming: true` reads what the steps of a run need: say how many with `max_steps`"
    if values.get("truncation_side") == "left" and values.get("excess_length_strategy") != "truncate":
        yield "truncation_side", "`truncation_side` counts only with `excess_length_strategy: truncate`"


def _of_entry(entry: Mapping[str, Any]) -> Iterator[str]:
    shards, index = entry.get("shards"), entry.get("shards_idx")
    if index and not shards:
        yield "`shards_idx` counts only with `shards`"
    elif isinstance(index, int) and isinstance(shards, int) and index >= shards:
        yield f"`shards_idx: {index}` is none of {shards} shards, which count from 0"
    text, weight = entry.get("filter"), entry.get("weight")
    if isinstance(text, str) and text:
        try:
            compiled(text)
        except BadExpression as error:
            yield f"`filter: {text[:80]}` is no expression over a row: {error}"
    draws = isinstance(weight, float) and not weight.is_integer()
    if entry.get("weight_unit") == "tokens" and not draws:
        yield "`weight_unit: tokens` counts only with a fraction in `weight`"
    if entry.get("sample_seed") and not entry.get("max_rows") and not draws:
        yield "`sample_seed` counts only with `max_rows` or a fraction in `weight`"


def row_keys(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys about rows that the entry's form does not read, and prompt formats with a place that nothing fills."""
    for list_key in ("datasets", "test_datasets"):
        entries = values.get(list_key)
        for entry in entries if isinstance(entries, list) else ():
            for message in _of_form(entry) if isinstance(entry, dict) else ():
                yield list_key, message


def template_of(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A template without its text, or a text without its name, in a recipe or an entry of its data."""
    named, text = values.get("chat_template"), values.get("chat_template_jinja")
    if named == "jinja" and not text:
        yield "chat_template", "`chat_template: jinja` needs the template in `chat_template_jinja`"
    if text and named != "jinja":
        yield "chat_template_jinja", "this template counts only with `chat_template: jinja`"


def _of_form(entry: Mapping[str, Any]) -> Iterator[str]:
    yield from (message for _, message in template_of(entry))
    kind = entry.get("type")
    if kind is None:
        return
    shown = "a mapping" if isinstance(kind, dict) else kind
    if kind not in ("chat_template", "prompt_completion"):
        for key in MESSAGE_KEYS:
            if entry.get(key) and not (key == "field_system" and kind in TASKS):
                yield f"`{key}` counts only with `type: chat_template`; a row of `type: {shown}` has no messages"
    turns = isinstance(kind, dict) and kind.get("as_turns") is True
    if entry.get("chat_template") and not turns and kind not in ("chat_template", "prompt_completion", *TASKS):
        yield f"`chat_template` counts only with messages; a row of `type: {shown}` is not written by a template"
    if kind != "completion" and entry.get("field"):
        yield "`field` counts only with `type: completion`; it names the column of a plain text"
    for key in ("format", "no_input_format", "system_format") if isinstance(kind, dict) else ():
        allowed = {"system"} if key == "system_format" else {"instruction", "input"}
        text = str(kind.get(key) or "").replace("{{", "").replace("}}", "")
        for name in PLACE.findall(text):
            if name not in allowed and name in PLACES:
                yield (
                    f"`type.{key}` holds {{{name}}}, which is not filled in there; the answer follows the prompt by "
                    "itself, and a brace that is meant as one is doubled"
                )


MESSAGE_KEYS = (
    "field_messages",
    "message_property_mappings",
    "roles",
    "field_system",
    "field_tools",
    "field_thinking",
    "template_thinking_key",
    "split_thinking",
    "message_field_training",
    "message_field_training_detail",
)
TASKS = ("question_answer", "summarization", "translation")
PLACE = re.compile(r"\{(\w+)\}")
PLACES = ("instruction", "input", "system", "output", "response", "answer", "question", "prompt", "completion")
"""Names that people write for a place; other words in braces are text."""
