"""Figures that follow from a recipe: rows in a step, steps of a run, tokens of a step. Imports no heavy library.

Counts the rows of local files where that takes a moment; never asks the hub and never reads a row's meaning."""

import csv
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

from finetune.recipe.data import DatasetEntry
from finetune.recipe.recipe import Recipe

COUNTED_BYTES = 50_000_000
"""Files larger than this are not counted."""
PARSED_BYTES = 3_000_000
"""The same for .json and .csv, which must be parsed to be counted."""
SECONDS = 0.1
"""Time after which counting is given up."""


def effective_batch(recipe: Recipe, processes: int = 1) -> int:
    """Rows that one optimizer step learns from; packed, each of them holds several rows of the data."""
    return recipe.rows_at_once * recipe.gradient_accumulation_steps * processes


def enough_of(entry: DatasetEntry, section: Recipe, processes: int) -> dict[str, int | None]:
    """How much of a source is read when it is streamed: its part, by weight, of what the steps train on, and of the
    validation rows. Packed or joined it is counted in tokens, else in rows as they reach the trainer."""
    part = entry.weight / sum(other.weight for other in section.datasets)
    rows = effective_batch(section, processes) * (section.max_steps or 1)
    kept = section.val_set_size
    wanted = rows / (1 - kept) if kept < 1 else rows + kept
    if section.sample_packing or section.text_chunks == "joined":
        return {"max_rows": entry.max_rows, "examples": None, "tokens": math.ceil(wanted * part * section.sequence_len)}
    return {"max_rows": entry.max_rows, "examples": math.ceil(wanted * part), "tokens": None}


def tokens_per_step(recipe: Recipe) -> int:
    """Tokens of one optimizer step at most."""
    return effective_batch(recipe) * recipe.sequence_len


def steps(recipe: Recipe, rows: int | None) -> int | None:
    """Optimizer steps of the run with this many training rows; None where that cannot be known before the run.

    Counted as transformers' Trainer does; rows that are dropped for their length make it less."""
    if recipe.max_steps:
        return recipe.max_steps
    if rows is None or recipe.sample_packing:
        return None
    batches = math.ceil(rows / recipe.rows_at_once)
    per_epoch = max(math.ceil(batches / recipe.gradient_accumulation_steps), 1)
    return math.ceil(recipe.num_epochs * per_epoch)


def count_rows(recipe: Recipe) -> int | None:
    """Training rows of local .jsonl, .json, .csv and .txt files, less the validation rows; None where a source is
    elsewhere, large or not readable.

    With val_set_size as a share it is the expected number: which rows are kept hangs on their content."""
    deadline = time.monotonic() + SECONDS
    total = 0
    for entry in recipe.datasets:
        rows = _rows_taken(entry, deadline)
        if rows is None or recipe.dataset_exact_deduplication:
            return None
        total += rows
    kept = recipe.val_set_size
    return max(round(total * (1 - kept)) if kept < 1 else total - int(kept), 0)


def _rows_taken(entry: DatasetEntry, deadline: float) -> int | None:
    """Rows of a source after max_rows and weight; None where it hangs on what is in them, or where they stand."""
    if (
        entry.weight_unit == "tokens"
        or entry.filter
        or entry.shards
        or entry.data_files
        or entry.ds_type
        or entry.sample_by
        or entry.split != "train"
    ):
        return None
    rows = _rows_of(Path(os.path.expanduser(entry.path)), deadline)  # noqa: PTH111 - Path's raises for ~~
    if rows is None:
        return None
    return math.floor(min(rows, entry.max_rows or rows) * entry.weight + 0.5)


def _rows_of(path: Path, deadline: float) -> int | None:
    count = COUNTERS.get(path.suffix.lower())
    if count is None:
        return None
    try:
        size = os.path.getsize(path) if os.path.isfile(path) else None  # noqa: PTH113, PTH202 - also for odd names
        return None if size is None or size > COUNTED_BYTES else count(path, size, deadline)
    except (OSError, ValueError, RecursionError, csv.Error):
        return None  # the run says what is wrong with the file


def _lines(path: Path, size: int, deadline: float) -> int | None:
    """Lines that hold something."""
    del size
    found = 0
    with path.open("rb") as file:
        for number, line in enumerate(file):
            found += not line.isspace()
            if number % 1000 == 0 and time.monotonic() > deadline:
                return None
    return found


def _json(path: Path, size: int, deadline: float) -> int | None:
    """Items of an array; where the file is none, it holds a row a line."""
    with path.open(encoding="utf-8-sig") as file:
        start = file.read(4096).lstrip()
    if not start.startswith("["):
        return _lines(path, size, deadline)
    return None if size > PARSED_BYTES else len(json.loads(path.read_text("utf-8-sig")))


def _table(path: Path, size: int, deadline: float) -> int | None:
    """Records below the line of names; a quoted field may hold line ends."""
    del deadline
    if size > PARSED_BYTES:
        return None
    csv.field_size_limit(2**31 - 1)
    with path.open(encoding="utf-8-sig", newline="") as file:
        return max(sum(1 for record in csv.reader(file) if record) - 1, 0)


COUNTERS: dict[str, Callable[[Path, int, float], int | None]] = {
    ".jsonl": _lines,
    ".json": _json,
    ".csv": _table,
    ".txt": _lines,
}
