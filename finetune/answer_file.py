"""Prompts of a file -> their answers in another, many at a time. The file appears whole; what was answered before the
program was stopped is kept beside it, and the same command goes on from there."""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from finetune import __version__
from finetune.answering.prompt_rows import Wanted
from finetune.answering.writing import Writing
from finetune.errors import DataError, Fault, FinetuneError, RunFolderError
from finetune.formats.meaning import BadRow
from finetune.trained import Trained

LINE_EVERY_SECONDS = 10.0


@dataclass
class Counts:
    """`done` and `kept` answers, of which `kept` were there already; `stopped`: ended by themselves."""

    rows: int
    kept: int = 0
    done: int = 0
    stopped: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Order:
    """`place`: the file to write; `slots`: answers that are written at the same time; `base`: by the base model."""

    place: Path
    slots: int
    base: bool
    watch: Callable[[Counts], None]


def answer_file(trained: Trained, rows: list[Wanted], order: Order) -> Counts:
    """Answer every row. RunFolderError if the file cannot be written, DataError if a prompt does not fit the model."""
    place, watch = order.place, order.watch
    begun = place.with_name(f".{place.name}.partial")
    writings = _writings(trained, rows)
    counts = Counts(len(rows))
    try:
        with _kept(begun, _digest(trained, rows, order.base)) as (file, answers):
            counts.kept = counts.done = len(answers)
            counts.stopped = sum(answer["ended"] == "stop" for answer in answers.values())
            watch(counts)
            try:
                for wanted, answer in _answered(trained, rows, writings, answers, order.slots):
                    answers[wanted.number] = answer
                    file.write(json.dumps(answer | {"row": wanted.number}, ensure_ascii=False) + "\n")
                    file.flush()
                    counts.done += 1
                    counts.stopped += answer["ended"] == "stop"
                    counts.tokens += answer["answer_tokens"]
                    watch(counts)
            except KeyboardInterrupt as stop:
                stop.add_note(f"{counts.done} of {counts.rows} answers are kept; the same command goes on after them")
                raise
            _publish(place, rows, answers)
        begun.unlink()
    except OSError as error:
        raise RunFolderError(f"{place} cannot be written: {error.strerror or error}") from None
    return counts


def _writings(trained: Trained, rows: list[Wanted]) -> dict[int, Writing]:
    """Of every row, before the first is asked: a prompt that does not fit must not cost the others' time."""
    found, faults = {}, []
    for row in rows:
        try:
            found[row.number] = trained.writing(row.prompt, row.settings)
        except (FinetuneError, BadRow) as error:
            faults.append(Fault(str(error), row.where))
    if faults:
        raise DataError(*faults[:20])
    return found


def _answered(
    trained: Trained, rows: list[Wanted], writings: Mapping[int, Writing], known: Mapping[int, Any], slots: int
) -> Iterator[tuple[Wanted, dict[str, Any]]]:
    """Each answer as soon as it is whole."""
    writers = trained.writers(slots)
    open_ = [row for row in rows if row.number not in known]
    for row in open_:
        writers.add(writings[row.number])
    while open_:
        writers.step()
        still = []
        for row in open_:
            writing = writings[row.number]
            if writing.ended is None:
                still.append(row)
                continue
            if writing.ended == "failed":
                raise DataError(f"line {row.number} could not be answered: {writing.why}. Lower --at-once")
            yield (
                row,
                {
                    "answer": writing.text,
                    "ended": writing.ended,
                    "prompt_tokens": len(writing.ids),
                    "answer_tokens": len(writing.new),
                },
            )
        open_ = still


def _digest(trained: Trained, rows: list[Wanted], base: bool) -> str:
    """Of all that the answers hang on."""
    run = trained.run.read("run.json")
    facts: list[Any] = [
        __version__,
        base,
        str(trained.run.path.resolve()),
        run.get("ended"),
        trained.plan.as_json()["stages"]["load"],
    ]
    facts += [[dict(row.row), row.number, asdict(row.settings)] for row in rows]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@contextmanager
def _kept(begun: Path, digest: str) -> Iterator[tuple[TextIO, dict[int, dict[str, Any]]]]:
    """The file of what was answered so far, and that; empty where it was of other prompts or settings."""
    with begun.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunFolderError(f"{begun} is being written by another process. Wait, or stop it") from None
        file.seek(0)
        head, *lines = file.read().split("\n")
        answers: dict[int, dict[str, Any]] = {}
        if head == digest:
            for line in lines[:-1]:  # the last one was not written to its end, or is empty
                answer = json.loads(line)
                answers[answer.pop("row")] = answer
        file.seek(0)
        file.truncate()
        file.write(digest + "\n")
        file.writelines(json.dumps(answer | {"row": row}, ensure_ascii=False) + "\n" for row, answer in answers.items())
        file.flush()
        yield file, answers


def _publish(place: Path, rows: list[Wanted], answers: Mapping[int, Mapping[str, Any]]) -> None:
    """Every row with its answer, in the order of the prompts."""
    whole = place.with_name(f".{place.name}.whole")
    with whole.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps({**row.row, **answers[row.number]}, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    whole.replace(place)


class Told:
    """Says how far it is: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, bar: Any, task: Any, say: Callable[[str], None]) -> None:
        self.bar, self.task, self.say = bar, task, say
        self.last = time.monotonic()

    def __call__(self, counts: Counts) -> None:
        self.bar.update(self.task, completed=counts.done, total=counts.rows)
        now = time.monotonic()
        if not self.bar.console.is_terminal and now - self.last > LINE_EVERY_SECONDS:
            self.last = now
            self.say(f"{counts.done} of {counts.rows} answers, {counts.tokens:,} tokens")
