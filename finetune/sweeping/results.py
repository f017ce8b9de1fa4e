"""The trials of a sweep as rows: for the terminal, for sweep.json and for the page. Decides which is the best."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from finetune.recipe.sweep import SweepSection
from finetune.sweeping.space import Values, short
from finetune.sweeping.study import values_of


@dataclass(frozen=True)
class Row:
    """`course`: step -> the figure while the trial trained."""

    number: int
    state: str
    value: float | None
    values: Values
    course: dict[int, float]
    seconds: float
    reason: str


@dataclass(frozen=True)
class Results:
    """`best`: the number of the best complete trial."""

    recipe: str
    sweep: SweepSection
    rows: Sequence[Row]
    best: int | None

    def as_json(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe,
            "method": self.sweep.method,
            "metric": self.sweep.figure,
            "direction": "maximize" if self.sweep.maximizes else "minimize",
            "best": self.best,
            "trials": [asdict(row) for row in self.rows],
        }


STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}


def results(recipe: str, sweep: SweepSection, trials: Sequence[Any]) -> Results:
    rows = []
    for trial in trials:
        if trial.state.name == "WAITING":
            continue
        facts = trial.user_attrs
        state = "interrupted" if facts.get("reason") == "interrupted" else STATES[trial.state.name]
        value = trial.value if state == "complete" else None
        course = dict(trial.intermediate_values)
        values = values_of(sweep, trial.params)
        rows.append(Row(trial.number, state, value, values, course, facts.get("seconds", 0.0), facts.get("reason", "")))
    complete = [row for row in rows if row.value is not None]
    pick = max if sweep.maximizes else min
    best = pick(complete, key=lambda row: (row.value, -row.number if sweep.maximizes else row.number), default=None)
    return Results(recipe, sweep, rows, best.number if best else None)


def in_order(found: Results) -> list[Row]:
    """The best first; those without a value last."""
    sign = -1 if found.sweep.maximizes else 1
    return sorted(found.rows, key=lambda row: (row.value is None, sign * (row.value or 0), row.number))


def table(found: Results) -> Table:
    shown = Table(title=f"Trials by {found.sweep.figure}", title_justify="left")
    for name in ("trial", found.sweep.figure, *found.sweep.parameters, "state", "seconds"):
        shown.add_column(name, justify="left" if name == "state" else "right", overflow="fold")
    for row in in_order(found):
        value = "" if row.value is None else f"{row.value:.4g}"
        state = row.state + (f": {row.reason}" if row.reason and row.state == "failed" else "")
        tried = [short(row.values[key]) if key in row.values else "" for key in found.sweep.parameters]
        cells = [f"{row.number:03}", value, *tried, state, f"{row.seconds:.0f}"]
        shown.add_row(*map(escape, cells), style="bold green" if row.number == found.best else None)
    return shown
