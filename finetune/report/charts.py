"""Which figures of a run's metrics are drawn, and how they are called. Knows no page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from finetune.recipe.measures import FIGURES
from finetune.report.curves import Line, Point, chart
from finetune.report.reading import Run, is_number


@dataclass(frozen=True)
class Figure:
    """`names`: metrics that are drawn together, and what their lines are called."""

    title: str
    names: tuple[tuple[str, str], ...]
    wide: bool = False


FIRST = (
    Figure("Loss", (("loss", "training"), ("eval_loss", "validation")), wide=True),
    Figure("Learning rate", (("learning_rate", "learning rate"),)),
    Figure("Gradient norm", (("grad_norm", "gradient norm"),), wide=True),
)
PAIRED = (
    ("rewards/margins", "Margin between chosen and rejected"),
    ("rewards/accuracies", "Pairs the right way round"),
    ("margin", "Margin between chosen and rejected"),
    ("accuracy", "Pairs the right way round"),
    ("reward", "Reward"),
    ("completions/mean_length", "Tokens of an answer"),
    ("entropy", "Entropy"),
    ("kl", "Distance from the reference"),
    ("mean_token_accuracy", "Tokens foreseen"),
)
"""Figures that training and validation both may have."""


def figures_of(runs: Sequence[Run]) -> list[Figure]:
    """Those that any of the runs has, in the order of the page."""
    there = {name for run in runs for row in run.metrics for name, value in row.items() if is_number(value)}
    found = list(FIRST)
    for name, title in PAIRED:
        found.append(Figure(title, ((name, "training"), (f"eval_{name}", "validation"))))
    drawn = {name for figure in found for name, _ in figure.names}
    found += [
        Figure(_title(name), ((f"eval_{name}", "validation"),), wide=name == "perplexity")
        for name in FIGURES
        if f"eval_{name}" not in drawn
    ]
    return [figure for figure in found if any(name in there for name, _ in figure.names)]


def _title(name: str) -> str:
    return name[0].upper() + name[1:].replace("_", " ")


def charts_of(run: Run) -> str:
    """All courses of one run."""
    drawn = [
        chart(figure.title, [_own(run, name, called) for name, called in figure.names], wide=figure.wide)
        for figure in figures_of([run])
    ]
    speed = chart("Throughput", [Line("throughput", throughput(run), "train")], "tokens per second")
    return "".join([*drawn[:2], speed, *drawn[2:]])


def _own(run: Run, name: str, called: str) -> Line:
    measured = name.startswith("eval_")
    return Line(called, run.course(name), "valid" if measured else "train", measured)


def throughput(run: Run) -> list[Point]:
    """Tokens per second between two lines of metrics, measurements left out of the time."""
    return list(_speeds(run))


def _speeds(run: Run) -> Iterator[Point]:
    before: tuple[float, float] | None = None
    paused = 0.0
    for row in run.metrics:
        if is_number(row.get("eval_runtime")):
            paused += row["eval_runtime"]
        if not all(is_number(row.get(name)) for name in ("loss", "seconds", "num_input_tokens_seen", "step")):
            continue
        now = (row["num_input_tokens_seen"], row["seconds"])
        if before is not None and now[0] > before[0]:
            seconds = now[1] - before[1] - paused
            if seconds > 0:
                yield float(row["step"]), (now[0] - before[0]) / seconds
        before, paused = now, 0.0


def charts_together(runs: Sequence[tuple[str, Run]]) -> str:
    """The courses of several runs, a line each; training and validation in charts of their own."""
    found = []
    for figure in figures_of([run for _, run in runs]):
        for name, called in figure.names:
            lines = [
                Line(label, run.course(name), f"r{number % 8}", name.startswith("eval_"))
                for number, (label, run) in enumerate(runs)
            ]
            kind = f", {called}" if len(figure.names) > 1 else ""
            found.append(chart(f"{figure.title}{kind}", lines, wide=figure.wide))
    speed = [Line(label, throughput(run), f"r{number % 8}") for number, (label, run) in enumerate(runs)]
    return "".join([*found, chart("Throughput", speed, "tokens per second")])
