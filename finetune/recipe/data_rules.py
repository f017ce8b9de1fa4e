"""What may not stand together in the entries of datasets, and in the keys of lengths. Looks at written values only;
knows no file."""

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
    if entry.get("sample_seed") and not entry.get("max_rows") and not draws:
        yield "`sample_seed` counts only with `max_rows` or a fraction in `weight`"
