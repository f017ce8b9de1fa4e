"""Columns of local rows, by the first of them: where a tool learns other tokens of other rows. Opens no address, and no
file but those that the draft names."""

import csv
import json
from pathlib import Path
from typing import Any

from finetune.importing.draft import Draft

LONGEST = 2_000_000
"""Bytes of a file that are read."""
ABOVE = 3


def columns(draft: Draft) -> frozenset[str]:
    """Of the first source, where its rows lie beside the imported file or above it; empty where they do not."""
    path = _path(draft)
    if path is None:
        return frozenset()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read(LONGEST)
        return frozenset(_first(text, path.suffix.lower()))
    except (OSError, ValueError, RecursionError, csv.Error):
        return frozenset()


def _path(draft: Draft) -> Path | None:
    entry = draft.datasets[0] if draft.datasets else {}
    name = entry["data_files"].value if "data_files" in entry else entry["path"].value if "path" in entry else ""
    if not isinstance(name, str) or Path(name).suffix.lower() not in (".json", ".jsonl", ".csv", ".tsv"):
        return None
    start = Path(draft.file).resolve().parent
    for folder in (start, *list(start.parents)[:ABOVE]):
        if (folder / name).is_file():
            return folder / name
    return None


def _first(text: str, ending: str) -> list[str]:
    if ending in (".csv", ".tsv"):
        return next(csv.reader(text.splitlines(), delimiter="\t" if ending == ".tsv" else ","), [])
    start = text.lstrip()
    if start.startswith("["):
        start = start[1:].lstrip()
    row: Any = json.JSONDecoder().raw_decode(start)[0]
    return list(row) if isinstance(row, dict) else []
