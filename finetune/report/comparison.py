"""Several runs on one page: their figures side by side, their courses in the same charts, what their recipes differ in,
and what each answers. Loads nothing from anywhere."""

import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from finetune.report.charts import charts_together
from finetune.report.evaluated import FOLDER, between
from finetune.report.pieces import arrow, badge, contents, duration, frame, section, size, table
from finetune.report.reading import Run, is_number

Named = Sequence[tuple[str, Run]]
OWN = ("output_dir",)
"""Keys in which runs differ by their nature."""


def comparison(runs: Sequence[Run]) -> str:
    """The whole page."""
    named = list(zip(_names(runs), runs, strict=True))
    drawn = charts_together(named)
    body = "".join(
        [
            section("Runs", _table(named)),
            section("Curves", f'<div class="plots">{drawn}</div>' if drawn else ""),
            section("What their recipes differ in", _differences(named)),
            section("Evaluations", _evaluations(named)),
            section("Answers after training", _answers(named)),
        ]
    )
    title = f"{len(runs)} runs compared"
    return frame(title, [f"<h1>{escape(title)}</h1>{contents(body)}", body])


def _names(runs: Sequence[Run]) -> list[str]:
    """Short, and different from one another."""
    parts = [run.path.resolve().parts for run in runs]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(set(parts)):
            break
    return [name if names.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(names, 1)]


def _table(named: Named) -> str:
    heads = ["run", "status", "steps", "training loss", "validation loss", "tokens/s", "time", "peak memory", "size"]
    rows = []
    for number, (name, run) in enumerate(named):
        losses = [value for _, value in run.course("loss")] or [value for _, value in run.course("train_loss")]
        measured = [value for _, value in run.course("eval_loss")]
        said = run.marker
        rows.append(
            [
                f'<span class="key r{number % 8}">{escape(name)}</span>',
                badge(run.status),
                f"{run.steps:,}" if is_number(run.steps) else "",
                arrow(losses[0], losses[-1]) if losses else "",
                arrow(measured[0], measured[-1]) if measured else "",
                f"{said['tokens_per_second']:,.0f}" if is_number(said.get("tokens_per_second")) else "",
                duration(run.seconds),
                f"{said['peak_memory_gib']:.2f} GiB" if is_number(said.get("peak_memory_gib")) else "",
                size(run.bytes()),
            ]
        )
    return table(heads, rows)


def _differences(named: Named) -> str:
    """Keys whose values in force are not the same everywhere, versions of libraries included."""
    given = [_facts(run) for _, run in named]
    keys = dict.fromkeys(key for one in given for key in one)
    rows = []
    for key in keys:
        values = [one.get(key, "") for one in given]
        if len(set(values)) > 1:
            rows.append([f"<code>{escape(key)}</code>", *(f"<code>{escape(value)}</code>" for value in values)])
    heads = ["key", *(name for name, _ in named)]
    return table(heads, rows, dict.fromkeys(range(1, len(heads)), "left")) or "<p>nothing</p>"


def _facts(run: Run) -> dict[str, str]:
    packages = run.mapping("machine.json").get("packages")
    found = {key: value for key, value in _leaves(run.keys) if key.split(".")[0] not in OWN}
    if isinstance(packages, dict):
        found |= {f"{name} (version)": str(value) for name, value in packages.items()}
    counted = {purpose: one for purpose, one in run.mapping("data.json").items() if isinstance(one, dict)}
    for purpose, one in counted.items():
        found[f"{purpose} rows"] = str(one.get("kept", ""))
        found[f"{purpose} tokens"] = str(one.get("tokens", ""))
    return found


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each value inside with the way to it, `datasets.0.path` for one; a list of plain values is one."""
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        parts = enumerate(value)
    elif path:
        yield path, json.dumps(value, ensure_ascii=False)
    for name, item in parts:
        yield from _leaves(item, f"{path}.{name}" if path else str(name))


def _evaluations(named: Named) -> str:
    """Each figure of evaluations of one name, run by run."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for name, run in named:
        for path in sorted((run.path / FOLDER).glob("*.json")):
            figures = run.mapping(f"{FOLDER}/{path.name}").get("figures")
            for figure, one in (figures if isinstance(figures, dict) else {}).items():
                found.setdefault((path.stem, figure), {})[name] = _tuned(one)
    rows = [[escape(f"{of}: {figure}"), *(by.get(name, "") for name, _ in named)] for (of, figure), by in found.items()]
    return table(["figure", *(name for name, _ in named)], rows)


def _tuned(one: Any) -> str:
    value = one.get("tuned") if isinstance(one, dict) else None
    return between(value) if isinstance(value, dict) and is_number(value.get("value")) else ""


def _answers(named: Named) -> str:
    by_question: dict[str, dict[str, str]] = {}
    for name, run in named:
        for row in run.rows("answers.json"):
            after = row.get("after")
            if isinstance(after, dict):
                by_question.setdefault(str(row.get("question", "")), {})[name] = str(after.get("text", ""))
    heads = ["question", *(name for name, _ in named)]
    rows = [
        [escape(question), *(escape(said.get(name, "")) for name, _ in named)] for question, said in by_question.items()
    ]
    return table(heads, rows, dict.fromkeys(range(len(heads)), "text"))
