"""The thread that writes answers, and how they come back to those who wait for them. Knows no HTTP."""

import asyncio
import contextlib
import copy
import logging
import threading
from collections.abc import AsyncIterator, Callable

from finetune.answering.settings import Settings
from finetune.answering.writing import Piece, Writing
from finetune.errors import FinetuneError
from finetune.formats.meaning import BadRow
from finetune.generation import Prompt, prompt_ids, refuse_unseen_tools
from finetune.serving.refusing import Refused
from finetune.trained import Trained

PAUSE_SECONDS = 0.5


class Engine:
    """`queue`: answers that may wait for a slot; more are refused at once."""

    def __init__(self, trained: Trained, slots: int, queue: int) -> None:
        self.trained, self.queue = trained, queue
        self.writers = trained.writers(slots)
        self._admitted: list[Writing] = []
        # A tokenizer is no thing for two threads: this one makes prompts, the other makes texts of tokens.
        self.tokenizer = copy.deepcopy(trained.loaded.tokenizer)
        self._reading = threading.Lock()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._write, name="writing", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ends.set()
        with self.writers.changed:
            self.writers.changed.notify_all()
        self._thread.join()
        self.writers.fail(RuntimeError("the server is going down"))

    def _write(self) -> None:
        writers = self.writers
        while not self._ends.is_set():
            with writers.changed:
                if not writers.busy:
                    writers.changed.wait(PAUSE_SECONDS)
            if not writers.busy:
                continue
            try:
                writers.step()
            except Exception as error:
                logging.getLogger(__name__).exception("a step failed")
                writers.fail(error)

    @property
    def waiting(self) -> int:
        return len(self.writers.waiting)

    def ids_of(self, prompt: Prompt) -> list[int]:
        """Refused where the template refuses the messages."""
        try:
            with self._reading:
                refuse_unseen_tools(prompt, self.tokenizer)
                return prompt_ids(prompt, self.tokenizer)
        except BadRow as bad:
            raise Refused(400, str(bad), "tools" if prompt.tools else "messages", "invalid_value") from None
        except FinetuneError as error:
            raise Refused(400, error.faults[0].message, "messages", "invalid_value") from None

    def fitting(self, ids: list[int], settings: Settings) -> Settings:
        """Refused where the prompt leaves no room for an answer."""
        try:
            return self.trained.fitting(ids, settings)
        except FinetuneError as error:
            raise Refused(400, error.faults[0].message, "messages", "context_length_exceeded") from None

    def admit(self, rows: list[Writing]) -> None:
        """All of them, or none: refused where slots and queue have no room left for them. For one thread only, so that
        nobody comes between the count and the adding."""
        room = self.queue + self.writers.slots
        if len(rows) > room:
            raise Refused(400, f"{len(rows)} answers are asked for, and {room} fit at most", "n")
        self._admitted = [row for row in self._admitted if row.ended is None]
        if len(self._admitted) + len(rows) > room:
            why = f"{len(self._admitted)} answers are written or wait already; try again shortly"
            raise Refused(429, why, None, "queue_full")
        self._admitted += rows
        for row in rows:
            self.writers.add(row)


class Coming:
    """The answers to a request, from their admission on: their pieces as they come. Whoever stops listening closes it,
    which frees the slots."""

    def __init__(self, engine: Engine, asked: list[tuple[list[int], Settings]], others: int | None = None) -> None:
        loop, came = asyncio.get_running_loop(), asyncio.Queue[tuple[int, Piece]]()
        self._engine, self._came = engine, came

        def teller(number: int) -> Callable[[Piece], None]:
            # Knows its queue, and not what holds the answers: a circle would keep them until Python looks for circles.
            def tell(piece: Piece) -> None:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                    loop.call_soon_threadsafe(came.put_nowait, (number, piece))

            return tell

        self.rows = [
            Writing(ids, settings, teller(number), others=others) for number, (ids, settings) in enumerate(asked)
        ]
        engine.admit(self.rows)

    async def pieces(self) -> AsyncIterator[tuple[int, Piece, Writing]]:
        """(which of them, what came, its answer so far), until all are whole."""
        open_ = len(self.rows)
        while open_:
            number, piece = await self._came.get()
            open_ -= piece.ended is not None
            yield number, piece, self.rows[number]

    def close(self) -> None:
        for row in self.rows:
            if row.ended is None:
                self._engine.writers.cancel(row)


def failed(piece: Piece) -> Refused | None:
    """What an answer that was not written to its end is refused with."""
    if piece.ended not in ("failed", "cancelled"):
        return None
    code = "no_memory" if "memory" in piece.why else None
    return Refused(503, f"the answer could not be written: {piece.why or piece.ended}", code=code)
