"""How long the rows of a recipe's data are, remembered from the last time they were prepared, so that a plan need not
read them. Found again by the planned calls and by the size and date of local files; holds no row."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetune.memory.fitting import Data
from finetune.plan import Plan

KEPT = 1024
"""The longest rows whose lengths are kept: no pass has more rows than that."""
FILES = 1000
"""Files of a folder that are looked at."""
DECIDING = (".open_source", ".Place.prepare", ".set_template", "Tokenizer.from_pretrained", "Fast.from_pretrained")
"""Calls that the lengths of rows hang on."""


def data_of(prepared: Any) -> Data | None:
    """The lengths of prepared rows; None where rows are not such that a pass is a sum of them."""
    if prepared.facts.get("kind", "rows") != "rows":
        return None
    import numpy

    documents, counted = prepared.documents("train"), prepared.counted["train"]
    lengths = numpy.sort(numpy.asarray(documents.lengths))[::-1][:KEPT].tolist()
    return Data(lengths, len(documents.lengths), counted.tokens, counted.trained_share)


def remember(plan: Plan, prepared: Any) -> None:
    """Note the lengths of prepared rows for whoever plans with them again."""
    data, place = data_of(prepared), _place(plan)
    if data is None:
        return
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(vars(data)), encoding="utf-8")
        partial.replace(place)
    except OSError:
        pass  # a convenience: whoever plans will hear of sequence_len instead


def remembered(plan: Plan) -> Data:
    """What is known of the rows' lengths without reading them."""
    try:
        found = json.loads(_place(plan).read_text("utf-8"))
        return Data(**found) if isinstance(found, dict) else Data()
    except (OSError, ValueError, TypeError):
        return Data()


def _place(plan: Plan) -> Path:
    base = os.environ.get("FINETUNE_CACHE")
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - also without a home
    folder = Path(base) if base else Path(caches) / "finetune"
    calls = [call.as_json() for _, call in plan.each() if call.target.endswith(DECIDING)]
    whole = [calls, [list(_marks(call["arguments"]["path"])) for call in calls if "path" in call["arguments"]]]
    name = hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode("utf-8", "surrogatepass")).hexdigest()
    return folder / "lengths" / f"{name}.json"


def _marks(path: str) -> Iterator[tuple[str, int, int]]:
    """Size and date of a local file, or of the files of a folder."""
    here = Path(os.path.expanduser(path))  # noqa: PTH111 - Path's raises for ~~
    try:
        files = sorted(here.rglob("*"))[:FILES] if os.path.isdir(here) else [here]  # noqa: PTH112
        for file in files:
            told = os.stat(file)  # noqa: PTH116 - also for odd names
            yield str(file), told.st_size, told.st_mtime_ns
    except (OSError, ValueError):
        return
