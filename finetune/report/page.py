"""A run's folder as one page: figures, courses, answers, data, plan, versions. Whatever is missing or damaged is left
out or named; a run of any state has a page. Loads nothing from anywhere."""

import json
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Any

from finetune.preview.page import drawn_bars, legend, shown_row
from finetune.report.charts import charts_of
from finetune.report.curves import short
from finetune.report.evaluated import evaluations
from finetune.report.looking import FILE, bars_of, shown_rows
from finetune.report.pieces import (
    arrow,
    badge,
    contents,
    duration,
    facts,
    folded,
    frame,
    section,
    table,
    text,
    tiles,
)
from finetune.report.reading import Run, is_number

LOG_LINES = 60
ANSWERS = 200


def page(run: Run) -> str:
    """The whole page."""
    name = run.recipe or run.name
    body = "".join([*_why(run), *(_part(run, title, made) for title, made in PARTS.items()), _damaged(run)])
    head = f"<h1>{escape(name)} {badge(run.status)}</h1>{facts(_head(run))}{contents(body)}"
    return frame(f"{name}: {run.status}", [head, body])


def _part(run: Run, title: str, made: Callable[[Run], str]) -> str:
    """A part of the page; a line where a file holds something else than a run writes."""
    try:
        inside = made(run)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        inside = f"<p>This cannot be shown: a file of the run is not as a run writes it ({escape(repr(error))}).</p>"
    return section(title, inside) if title else inside


def _head(run: Run) -> dict[str, str]:
    keys = run.keys
    method = str(keys.get("rl") or ("reward model" if keys.get("reward_model") else "supervised"))
    return {
        "run": str(run.path.resolve()),
        "model": str(keys.get("base_model") or ""),
        "trained": f"{method}, {keys.get('adapter') or 'all weights'}" if keys else "",
        "began": run.began,
        "ended": str(run.marker.get("ended") or ""),
        "went on from": "; ".join(str(row.get("checkpoint") or row) for row in run.rows("resumed.jsonl")),
        "overrides": " ".join(map(str, run.origin.get("overrides") or [])) if run.keys else "",
    }


def _why(run: Run) -> Iterator[str]:
    why = run.marker.get("why")
    if why:
        yield f'<p class="why">{escape(str(why))}</p>'
    elif run.status == "killed":
        yield '<p class="why">The process that trained is gone, and left no word of its end.</p>'


def _tiles(run: Run) -> dict[str, str]:
    losses = [value for _, value in run.course("loss")] or [value for _, value in run.course("train_loss")]
    measured = [value for _, value in run.course("eval_loss")]
    said = run.marker
    best = said.get("best") or {}
    found = {
        "steps": f"{run.steps:,}" if is_number(run.steps) else "",
        "training loss": arrow(losses[0], losses[-1]) if losses else "",
        "validation loss": arrow(measured[0], measured[-1]) if measured else "",
        "validation perplexity": _figure(said.get("perplexity")),
        f"best {said.get('figure', '').removeprefix('eval_')}": (
            f"{short(best['value'])} at step {best['step']}" if is_number(best.get("value")) else ""
        ),
        "saved weights": str(said.get("weights") or "") if best else "",
        "tokens per second": f"{said['tokens_per_second']:,.0f}" if is_number(said.get("tokens_per_second")) else "",
        "training time": duration(run.seconds),
        "whole time": duration(run.wall_seconds),
        "peak memory": f"{said['peak_memory_gib']:.2f} GiB" if is_number(said.get("peak_memory_gib")) else "",
        "answers that stopped": f"{said['stopped']} of {said['asked']}" if said.get("asked") else "",
    }
    for name, both in (said.get("measures") or {}).items():
        found[name] = arrow(both.get("first"), both.get("last"))
    return found


def _figure(value: Any) -> str:
    return short(value) if is_number(value) else ""


def _plots(run: Run) -> str:
    drawn = charts_of(run)
    return f'<div class="plots">{drawn}</div>' if drawn else ""


def _answers(run: Run) -> str:
    rows = []
    for row in run.rows("answers.json")[:ANSWERS]:
        cells = [_text(row.get("question")), _said(row.get("before")), _said(row.get("after"))]
        rows.append([*cells, _text(row.get("expected"))])
    heads = ["question", "before", "after", *(["expected"] if any(row[3] for row in rows) else [])]
    return table(heads, rows, dict.fromkeys(range(len(heads)), "text"))


def _text(given: Any) -> str:
    return escape(str(given or ""))


def _said(answer: Any) -> str:
    if not isinstance(answer, dict):
        return ""
    mark = "" if answer.get("stopped", True) else " <small>did not stop</small>"
    return _text(answer.get("text")) + mark


def _scores(run: Run) -> str:
    rows = []
    for row in run.rows("scores.json")[:ANSWERS]:
        given = [
            f"{both['chosen']:+.2f} / {both['rejected']:+.2f}"
            for both in (row.get("before"), row.get("after"))
            if isinstance(both, dict)
        ]
        rows.append([_text(row.get(name)) for name in ("question", "chosen", "rejected")] + given)
    heads = ["question", "chosen", "rejected", "scores before", "scores after"]
    return table(heads, rows, dict.fromkeys(range(3), "text"))


def _data(run: Run) -> str:
    counted, looked = run.mapping("data.json"), run.mapping(FILE)
    rows = []
    for purpose in dict.fromkeys((*counted, *looked)):
        one = counted.get(purpose) or {}
        bars = drawn_bars(bars_of(looked[purpose]), looked[purpose]["longest"]) if purpose in looked else ""
        tokens = one.get("tokens", 0)
        share = f"{one.get('trained_tokens', 0) / tokens:.1%}" if tokens else ""
        numbers = [f"{one[name]:,}" if name in one else "" for name in ("kept", "dropped", "truncated", "tokens")]
        rows.append(["training" if purpose == "train" else escape(purpose), *numbers, share, bars])
    heads = ["", "rows", "dropped", "cut", "tokens", "learned", "tokens a row"]
    skipped = len(run.rows("skipped_rows.jsonl"))
    said = f"<p>{skipped:,} bad rows were left out; skipped_rows.jsonl names them.</p>" if skipped else ""
    shown = "".join(
        shown_row(row, number == 0 and purpose == "train")
        for purpose in looked
        for number, row in enumerate(shown_rows(looked[purpose]))
    )
    return table(heads, rows, {6: "left wide"}) + _sources(counted) + said + (legend() + shown if shown else "")


def _sources(counted: Mapping[str, Any]) -> str:
    """What each file lost, where there are several or any lost something."""
    rows = []
    for purpose, one in counted.items():
        for source, lost in (one.get("sources") or {}).items():
            names = ("rows", "too_long", "too_short", "skipped", "truncated", "unlearned")
            rows.append([escape(source), escape(purpose), *(f"{lost.get(name, 0):,}" for name in names)])
    heads = ["file", "for", "rows", "too long", "too short", "bad", "cut", "silent"]
    return folded(f"{len(rows)} files", f'<div class="inside">{table(heads, rows)}</div>') if rows else ""


def _recipe(run: Run) -> str:
    given = [("As written", run.text("recipe.yaml")), ("Composed", run.text("recipe.composed.yaml"))]
    return "".join(folded(title, text(said)) for title, said in given if said)


def _plan(run: Run) -> Iterator[str]:
    plan = run.mapping("plan.json")
    notes = [str(note) for note in plan.get("notes") or []]
    if notes:
        yield "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>"
    for stage, calls in (plan.get("stages") or {}).items():
        if not calls:
            continue
        listed = "".join(map(_call, calls))
        yield folded(f"{stage}: {len(calls)} call{'s' * (len(calls) > 1)}", f'<div class="inside">{listed}</div>')


def _call(call: Mapping[str, Any]) -> str:
    given = [_argument(*pair) for pair in call.get("arguments", {}).items()]
    return f"<p><code>{escape(str(call.get('target')))}</code></p>{table(['argument', 'value'], given, {1: 'left'})}"


def _argument(name: str, value: Any) -> list[str]:
    return [f"<code>{escape(name)}</code>", f"<code>{escape(json.dumps(value, ensure_ascii=False))}</code>"]


def _machine(run: Run) -> str:
    machine = run.mapping("machine.json")
    gpus = [f"{gpu.get('name', 'GPU')}" for gpu in machine.get("gpus") or [] if isinstance(gpu, dict)]
    known = {
        "finetune": str(machine.get("finetune", "")),
        "python": str(machine.get("python", "")),
        "platform": str(machine.get("platform", "")),
        "cores": str(machine.get("cores", "")),
        "GPU": ", ".join(gpus) or ("none" if machine else ""),
    }
    return facts(known | {name: str(version) for name, version in (machine.get("packages") or {}).items()})


def _log(run: Run) -> str:
    """The end of what the libraries said, where something ended badly."""
    if run.status == "finished":
        return ""
    said = run.tail("run.log", LOG_LINES)
    return folded(f"the last {LOG_LINES} lines of run.log", text(said), is_open=run.status == "failed") if said else ""


PARTS: dict[str, Callable[[Run], str]] = {
    "": lambda run: tiles(_tiles(run)),
    "Curves": _plots,
    "Answers before and after": lambda run: _answers(run) + _scores(run),
    "Evaluation": evaluations,
    "Data": _data,
    "Recipe": _recipe,
    "Plan": lambda run: "".join(_plan(run)),
    "Machine and versions": _machine,
    "Log": _log,
}
"""Heading -> what makes the part below it."""


def _damaged(run: Run) -> str:
    rows = [[escape(name), escape(why)] for name, why in run.damaged.items()]
    return section("Files that could not be read", table(["file", "why"], rows, {1: "left"}))
