"""Who writes next: a fair queue before a bounded number of answers that are written at the same time. One thread drives
it; anybody may add or cancel. Knows no network and no file."""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from finetune.answering import alone
from finetune.answering.batch import Batch, can_share
from finetune.answering.writing import Terms, Writing

SLOTS = 32
"""Answers that are written at the same time, unless told otherwise."""
READ_AT_ONCE = 16384
"""Tokens of prompts that one pass reads, padding included; a longer one is read alone."""


class Writers:
    """`slots`: answers that are written at the same time. The first come, the first served; a short answer never waits
    for a long one while a slot is free."""

    def __init__(self, model: Any, terms: Terms, pad_id: int, slots: int = SLOTS) -> None:
        self.model, self.terms, self.pad_id = model, terms, pad_id
        self.slots = slots
        self.waiting: deque[Writing] = deque()
        self.changed = threading.Condition()
        self.batch = Batch(model, terms, pad_id) if can_share(model) else None
        self.now: list[Writing] = []

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.now or (self.batch and self.batch.rows))

    @property
    def writing(self) -> int:
        """Answers that are being written."""
        return len(self.batch.rows) if self.batch else len(self.now)

    def add(self, row: Writing) -> None:
        with self.changed:
            self.waiting.append(row)
            self.changed.notify_all()

    def cancel(self, row: Writing) -> None:
        """It gets no further token, and its slot is free after the step."""
        row.cancelled = True
        with self.changed:
            if row in self.waiting:
                self.waiting.remove(row)
                row.end("cancelled")

    def step(self) -> None:
        """A token for each that is written, after those who wait have taken the free slots."""
        if self.batch is None:
            self._one()
            return
        try:
            while new := self._next():
                self.now = new
                self.batch.join(new)
                self.now = []
            if self.batch.rows:
                self.batch.step()
        except Exception as error:
            if not _no_memory(error):
                raise
            self._make_room(error)

    def write(self, rows: Iterable[Writing]) -> None:
        """All of them, to their ends."""
        for row in rows:
            self.add(row)
        while self.busy:
            self.step()

    def fail(self, error: BaseException) -> None:
        """End everything that waits or is written, with what went wrong."""
        with self.changed:
            rows = [*(self.batch.rows if self.batch else ()), *self.now, *self.waiting]
            self.waiting.clear()
        self.now = []
        if self.batch is not None:
            self.batch.keep([])
        _failed(rows, error)

    def _one(self) -> None:
        with self.changed:
            self.now = [self.waiting.popleft()] if self.waiting else []
        for row in self.now:
            try:
                alone.write(row, self.model, self.terms, self.pad_id)
            except Exception as error:
                if not _no_memory(error):
                    raise
                _failed([row], error)
        self.now = []

    def _next(self) -> list[Writing]:
        """Those who wait, as many as there are slots and one pass may read."""
        assert self.batch is not None
        with self.changed:
            new: list[Writing] = []
            while self.waiting and len(self.batch.rows) + len(new) < self.slots:
                widest = max(len(row.all_ids) for row in (*new, self.waiting[0]))
                if new and widest * (len(new) + 1) > READ_AT_ONCE:
                    break
                new.append(self.waiting.popleft())
            return new

    def _make_room(self, error: BaseException) -> None:
        """The memory is full: all are read again, half of them at a time. One that does not fit alone fails."""
        assert self.batch is not None
        rows, self.now = [*self.batch.rows, *self.now], []
        self.batch.keep([])
        if len(rows) < 2:
            _failed(rows, error)
            return
        self.slots = len(rows) // 2
        with self.changed:
            self.waiting.extendleft(reversed(rows))


def _failed(rows: Sequence[Writing], error: BaseException) -> None:
    for row in rows:
        row.end("failed", (str(error) or type(error).__name__).splitlines()[0])


def _no_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
