"""A run's plan and what is wanted -> the rows to evaluate: its own validation rows, or others read as its own are."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from finetune import previewing
from finetune.data.prepared import Prepared
from finetune.errors import DataError, UsageError
from finetune.formats import FORMATS
from finetune.formats.meaning import Fields
from finetune.plan import Call, Plan

Pair = tuple[list[int], list[int]]
WHOLE = {"filter": None, "shards": None, "shards_idx": 0, "max_rows": None, "weight": 1.0, "unit": "rows", "seed": 0}


def rows_of(plan: Plan, data: str | None, form: str | None, limit: int | None) -> tuple[str, list[Pair], Any]:
    """(their name, (token ids, labels) of each row, the tokenizer). DataError if there is none, or a row is bad."""
    if data is not None:
        plan, purpose = _reading(plan, data, form), "train"
    else:
        purpose = "validation"
    looked = previewing.prepare(plan)
    prepared: Prepared = looked.data
    if purpose not in prepared.purposes:
        raise UsageError("the run has no validation rows: name some with --data FILE")
    if prepared.facts["kind"] != "rows":
        raise UsageError(
            "the run learned from preferences or rewards, which are no answers to compare with: name rows that have "
            "answers with --data FILE --type TYPE, for example --type chat_template"
        )
    rows: list[Pair] = []
    for _, _, ids, labels in prepared.rows(purpose):
        rows.append((ids, labels))
        if len(rows) == limit:
            break
    return data or "validation rows", rows, looked.tokenizer


def _reading(plan: Plan, data: str, form: str | None) -> Plan:
    """The plan with this data alone, read, rendered and labelled as its first entry, unless it is of another form."""
    if form is not None and form not in FORMATS:
        raise UsageError(f"--type {form}: there is no such form; there are {', '.join(FORMATS)}")
    opening = next(call for call in plan.stage("format") if call.target.endswith(".open_source"))
    path = str(Path(data).resolve()) if Path(data).exists() else data
    source: Mapping[str, Any] = opening.arguments["source"]
    changes: dict[str, Any] = {"purpose": "train", "path": path}
    changes["source"] = {**source, "take": WHOLE, "stream": None, "files": dict.fromkeys(source.get("files", {}))}
    changes["fields"] = {**opening.arguments["fields"], "group": 0}
    if form is not None:
        changes["form"], changes["fields"] = form, asdict(Fields())
    calls = [replace(opening, arguments={**opening.arguments, **changes})]
    calls += [call for call in plan.stage("format") if not call.target.endswith((".open_source", ".pack_documents"))]
    calls = [_unselected(call) for call in calls if ".shapes." not in call.target]
    return replace(plan, calls={**plan.calls, "format": tuple(calls)})


def _unselected(call: Call) -> Call:
    if not call.target.endswith("Place.prepare"):
        return call
    given = call.arguments
    selection = {**given["selection"], "val_set_size": 0.0, "deduplicate": False, "shuffle": None}
    changed = {"selection": selection, "labels": [given["labels"][0]]}
    return replace(call, arguments={**given, **changed})


def refuse_empty(rows: list[Pair], name: str) -> None:
    if not rows:
        raise DataError(f"{name}: no row is left to evaluate")
