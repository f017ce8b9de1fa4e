"""`finetune evaluate`: figures of what a run trained, beside its base model."""

import argparse
import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.errors import UsageError
from finetune.recipe.measures import CLASSIFYING, MEASURES

if TYPE_CHECKING:
    from finetune.evaluating import Wish
    from finetune.evaluation.harness import Tasks

HELP = "measure what was trained, beside its base model"
USE = (
    ("finetune evaluate RUN_DIR [--data FILE]", "measure what was trained, beside its base model"),
    ("finetune evaluate RUN_DIR --tasks NAME,… [--task-folder DIR]", "by tasks of lm-eval"),
)
LONG = True


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN_DIR|RECIPE")
    parser.add_argument("--data", metavar="FILE", help="rows to measure (the run's validation rows)")
    parser.add_argument("--type", dest="form", metavar="TYPE", help="their form, where not that of the training rows")
    parser.add_argument("--metrics", metavar="NAME,…", help=", ".join(MEASURES))
    parser.add_argument("--labels", metavar="A,B,…", help="the answers there are, for accuracy, precision, recall, f1")
    parser.add_argument("--rows", type=int, metavar="N", help="the first N rows (all)")
    parser.add_argument("--max-new-tokens", type=int, default=128, metavar="N", help="of an answer at most (128)")
    parser.add_argument("--no-base", action="store_true", help="measure what was trained alone")
    parser.add_argument("--name", default="evaluation", help="of the file in RUN_DIR/evaluations (evaluation)")
    parser.add_argument("--tasks", metavar="NAME,…", help="tasks of lm-eval")
    parser.add_argument("--task-folder", type=Path, metavar="DIR", help="holds task files of your own")
    parser.add_argument("--shots", type=int, metavar="N", help="examples before each question of a task")
    parser.add_argument("--chat", action="store_true", help="put the tasks' questions by the chat template")
    parser.add_argument("--format", choices=("table", "json"), default="table")


def run(parsed: argparse.Namespace) -> int:
    from finetune.evaluating import evaluate, metrics_of, place_of
    from finetune.screen import LastingConsole, Screen
    from finetune.trained import opened

    wish = _wish(parsed)
    metrics_of(wish)
    trained = opened(parsed.run)
    screen = Screen()
    screen.console = LastingConsole(stderr=True, highlight=False)
    found = evaluate(trained, wish, screen)
    if parsed.format == "json":
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    _show(found)
    print(f"wrote {place_of(trained, wish)} and its answers; report.html shows them")
    return 0


def _wish(parsed: argparse.Namespace) -> "Wish":
    from finetune.evaluating import Wish

    for name in ("rows", "max_new_tokens"):
        value = getattr(parsed, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} {value}: write 1 or more")
    if not re.fullmatch(r"[\w][\w.-]*", parsed.name):
        raise UsageError(f"--name {parsed.name!r}: letters, digits, dots, - and _ make a name")
    metrics = _listed(parsed.metrics)
    unknown = [name for name in metrics or () if name not in MEASURES]
    if unknown:
        near = get_close_matches(unknown[0], MEASURES, n=1)
        meant = f"; did you mean {near[0]}?" if near else "."
        raise UsageError(f"--metrics: there is no {unknown[0]!r}{meant} There are {', '.join(MEASURES)}")
    if parsed.labels and metrics is not None and not CLASSIFYING & set(metrics):
        raise UsageError(f"--labels counts with {', '.join(sorted(CLASSIFYING))}, and --metrics names none of them")
    if parsed.tasks is None and (parsed.task_folder or parsed.shots is not None or parsed.chat):
        raise UsageError("--task-folder, --shots and --chat are about --tasks, which name none")
    return Wish(
        data=parsed.data,
        form=parsed.form,
        metrics=metrics,
        labels=_listed(parsed.labels) or (),
        tasks=_tasks(parsed),
        rows=parsed.rows,
        max_new_tokens=parsed.max_new_tokens,
        base=not parsed.no_base,
        name=parsed.name,
    )


def _tasks(parsed: argparse.Namespace) -> "Tasks | None":
    from finetune.evaluation.harness import Tasks

    names = _listed(parsed.tasks)
    if names is None:
        return None
    return Tasks(names, parsed.task_folder, parsed.shots, parsed.rows, parsed.chat)


def _listed(given: str | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    found = tuple(word.strip() for word in given.split(",") if word.strip())
    if not found:
        raise UsageError(f"{given!r} names nothing")
    return found


def _show(found: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    sides = list(next(iter(found["figures"].values()), {}))
    table = Table(title=escape(f"{found.get('data', 'tasks')}"), title_justify="left")
    table.add_column("figure")
    for side in sides:
        table.add_column(side, justify="right")
    for name, both in found["figures"].items():
        table.add_row(escape(name), *(escape(_between(both.get(side))) for side in sides))
    Console(highlight=False).print(table)
    if found.get("not_asked"):
        print(f"{found['not_asked']} questions leave no room for an answer and were not asked")


def _between(one: Mapping[str, Any] | None) -> str:
    if not one or one["value"] is None:
        return ""
    if one["low"] is None or one["high"] is None:
        return f"{one['value']:.4g}"
    return f"{one['value']:.4g} [{one['low']:.3g}, {one['high']:.3g}]"
