"""What a person sees while a run goes on: stages, a live bar, the closing table, answers side by side. No decisions."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from finetune.pace import in_words

SHOWN = 400
"""Characters of an answer that the table shows; answers.json in the run folder holds all."""


class LastingConsole(Console):
    """A console whose reader may leave (`finetune … | head`): the run goes on without it."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Screen:
    """The terminal. In a pipe or a log file the same facts come as plain lines, without a moving bar."""

    def __init__(self, silent: bool = False) -> None:
        self.console = LastingConsole(highlight=False, quiet=silent)
        self.progress: Progress | None = None

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False)
        logging.getLogger("finetune").info(text)

    @contextmanager
    def stage(self, doing: str) -> Iterator[None]:
        """Show what is being done while it is done, and how long it took."""
        started = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(escape(doing)):
                yield
        else:
            yield
        self.say(f"{doing} ({time.monotonic() - started:.1f} s)")

    @contextmanager
    def preparing(self) -> Iterator[Callable[[int, int, int], None]]:
        """A bar that is told (parts done, of how many or 0, rows so far); plain lines say how long it took."""
        started = time.monotonic()
        columns = (
            TextColumn("preparing data"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[rows]:,} rows"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bar:
            task = bar.add_task("preparing", total=None, rows=0)
            yield lambda done, of, rows: bar.update(task, completed=done, total=of or None, rows=rows)
        self.say(f"preparing data ({time.monotonic() - started:.1f} s)")

    @contextmanager
    def training(self) -> Iterator["TrainingLine"]:
        columns = (
            TextColumn("training"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bar:
            task = bar.add_task("training", total=None, facts="")
            yield TrainingLine(self, bar, task)

    def table(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        table = Table(title=title, show_header=False, title_justify="left")
        for name, value in rows:
            table.add_row(name, escape(value))
        self.console.print(table)

    def answers(self, answers: Sequence[dict[str, Any]]) -> None:
        """Questions with the answers before and after; an answer cut by the length limit ends in an ellipsis."""
        if not answers:
            return
        table = Table(title="Answers before and after", title_justify="left", show_lines=True)
        for column in ("question", "before", "after"):
            table.add_column(column, ratio=1, overflow="fold")
        for row in answers:
            shown = [row["question"]]
            for when in ("before", "after"):
                mark = "" if row[when]["stopped"] else " (did not stop)"
                text = row[when]["text"]
                shown.append(text[:SHOWN] + (" …" if len(text) > SHOWN else "") + mark)
            table.add_row(*map(escape, shown))
        self.console.print(table)

    def scores(self, pairs: Sequence[dict[str, Any]]) -> None:
        """Pairs of answers with what a reward model gives them before and after."""
        table = Table(title="Scores before and after", title_justify="left", show_lines=True)
        for column in ("chosen", "rejected"):
            table.add_column(column, ratio=1, overflow="fold")
        for column in ("before", "after"):
            table.add_column(f"chosen > rejected, {column}", justify="right")
        for pair in pairs:
            texts = [pair[side][:SHOWN] + (" …" if len(pair[side]) > SHOWN else "") for side in ("chosen", "rejected")]
            given = [f"{pair[when]['chosen']:+.2f}  {pair[when]['rejected']:+.2f}" for when in ("before", "after")]
            table.add_row(*map(escape, texts), *given)
        self.console.print(table)


class TrainingLine:
    """The live line of a training: a moving bar on a terminal, a line for each logging step elsewhere."""

    def __init__(self, screen: Screen, bar: Progress, task: Any) -> None:
        self.screen, self.bar, self.task = screen, bar, task
        self.total = 0

    def begin(self, total: int) -> None:
        self.total = total
        self.bar.update(self.task, total=total)

    def step(self, step: int) -> None:
        self.bar.update(self.task, completed=step)

    def pace(self, step_seconds: float, left_seconds: float) -> None:
        """What the first measured steps say of the whole."""
        self.screen.say(
            f"a step takes {step_seconds:.1f} s: about {in_words(left_seconds)} until step {self.total}, without what "
            "validation and checkpoints take"
        )

    def facts(self, step: int, facts: str, left_seconds: float | None = None) -> None:
        """`left_seconds`: until the last step, where that is known; a terminal's bar shows its own."""
        self.bar.update(self.task, facts=escape(facts))
        if not self.screen.console.is_terminal:
            left = "" if left_seconds is None else f"  about {in_words(left_seconds)} left"
            self.screen.say(f"step {step}/{self.total}  {facts}{left}" if step else f"before training  {facts}")
