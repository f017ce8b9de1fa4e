"""The evaluations that a run's folder holds, as parts of a page. Knows no model."""

from collections.abc import Mapping
from html import escape
from typing import Any

from finetune.report.curves import short
from finetune.report.pieces import folded, table
from finetune.report.reading import Run, is_number

FOLDER = "evaluations"
WORST = 20


def evaluations(run: Run) -> str:
    """All of them, by name."""
    try:
        names = sorted(path.name for path in (run.path / FOLDER).glob("*.json"))
    except OSError:
        return ""
    return "".join(_one(run.mapping(f"{FOLDER}/{name}"), name.removesuffix(".json")) for name in names)


def _one(found: Mapping[str, Any], name: str) -> str:
    figures = found.get("figures")
    if not isinstance(figures, dict):
        return ""
    of = f"{found['data']}, {found.get('rows', 0):,} rows" if found.get("data") else "tasks"
    said = f"{name}: {of}"
    sides = [side for side in ("base", "tuned") if any(side in one for one in figures.values())]
    heads = ["figure", *sides, *(["difference"] if len(sides) > 1 else [])]
    rows = [_figure(name, one, heads[1:]) for name, one in figures.items()]
    worst = folded("The worst answers", f'<div class="inside">{_worst(found.get("worst") or [])}</div>')
    note = "<small>in brackets: 95 of 100 draws of rows lie there</small>"
    return f"<p>{escape(said)}<br>{note}</p>{table(heads, rows)}{worst if found.get('worst') else ''}"


def _figure(name: str, one: Mapping[str, Any], columns: list[str]) -> list[str]:
    cells = [escape(name)]
    for column in columns:
        value = one.get(column)
        cells.append(between(value) if isinstance(value, dict) else "")
    return cells


def between(value: Mapping[str, Any]) -> str:
    """A figure with where it may well lie, as HTML."""
    shown = short(value["value"]) if is_number(value.get("value")) else "–"
    if not is_number(value.get("low")) or not is_number(value.get("high")):
        return shown
    return f"{shown} <small>[{short(value['low'])}, {short(value['high'])}]</small>"


def _worst(rows: list[Any]) -> str:
    known = [row for row in rows if isinstance(row, dict)][:WORST]
    names = ["question", "expected", "base", "tuned"]
    names = [name for name in names if any(name in row for row in known)]
    cells = [[*(escape(str(row.get(name, ""))) for name in names), _score(row.get("score"))] for row in known]
    return table([*names, "score"], cells, dict.fromkeys(range(len(names)), "text"))


def _score(value: Any) -> str:
    return short(value) if is_number(value) else ""
