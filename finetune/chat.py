"""Talk to what a run trained, with the run's own template, stop tokens and sampling. Trains nothing, writes no file."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from finetune.answering.settings import Settings, changed
from finetune.answering.writers import Writers
from finetune.answering.writing import Piece, Writing
from finetune.chat_orders import obey
from finetune.errors import FinetuneError, ModelError, UsageError
from finetune.formats.meaning import BadRow, Message
from finetune.generation import Prompt, prompt_for, prompt_text
from finetune.trained import Trained

VISIBLE = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | dict.fromkeys(
    range(0x7F, 0xA0), "\ufffd"
)
"""Characters that command a terminal -> what is shown in their place."""


@dataclass(frozen=True)
class Wish:
    """How a conversation begins, as the command line says it."""

    system: str = ""
    compare: bool = False
    raw: bool = False
    settings: tuple[tuple[str, Any], ...] = ()


@dataclass
class Talk:
    """A conversation with what a run trained and, beside it, with its base, which goes on from its own answers."""

    trained: Trained
    settings: Settings
    console: Console
    raw: bool = False
    compare: bool = False
    system: str = ""
    said: list[Message] = field(default_factory=list)
    base_said: list[Message] = field(default_factory=list)

    @property
    def writers(self) -> Writers:
        return self.trained.writers(slots=1)

    def ask(self, question: str) -> None:
        """Answer, and remember it. ModelError if the conversation no longer fits the model."""
        asked = Message("user", question)
        if self.compare:
            self._beside(question, asked)
            return
        prompt = self._prompt(question, self.said, asked)
        if self.raw:
            self.console.print(
                Text(prompt_text(prompt, self.trained.loaded.tokenizer), style="dim"), end="", soft_wrap=True
            )
        row = self._written(prompt, lambda piece: self._show(piece.text))
        self._show("\n" + _note(row))
        self._remember(self.said, asked, row)
        self.base_said = list(self.said)

    def _prompt(self, question: str, said: list[Message], asked: Message) -> Prompt:
        if self.trained.style != "chat_template":
            return prompt_for(question, self.trained.style)
        system = (Message("system", self.system),) if self.system else ()
        return Prompt(question, messages=(*system, *said, asked))

    def _written(self, prompt: Prompt, tell: Callable[[Piece], None]) -> Writing:
        """The answer; Ctrl-C ends it where it is."""
        try:
            row = self.trained.writing(prompt, self.settings, tell=tell, raw=self.raw)
        except BadRow as error:
            raise ModelError(str(error)) from None
        writers = self.writers
        writers.add(row)
        while writers.busy:
            try:
                writers.step()
            except KeyboardInterrupt:
                row.cancelled = True
        if row.ended == "failed":
            raise ModelError(f"the answer failed: {row.why}")
        return row

    def _remember(self, said: list[Message], asked: Message, row: Writing) -> None:
        if self.trained.style == "chat_template" and row.ended != "cancelled":
            text = self.trained.loaded.tokenizer.decode(row.new, skip_special_tokens=True).strip()
            said += [asked, Message("assistant", text if self.raw else row.text)]

    def _show(self, text: str) -> None:
        self.console.print(Text(self._safe(text)), end="", soft_wrap=True)

    def _safe(self, text: str) -> str:
        """On a terminal, with characters that would command it made visible: a model may write any."""
        return text.translate(VISIBLE) if self.console.is_terminal else text

    def _beside(self, question: str, asked: Message) -> None:
        """Both answers in two columns; in a pipe one after the other."""
        sides = {"base": self.base_said, "tuned": self.said}
        texts, rows = dict.fromkeys(sides, ""), {}
        live = self.console.is_terminal
        with Live(_panels(texts), console=self.console, refresh_per_second=12) if live else nullcontext() as shown:

            def grow(side: str, piece: Piece) -> None:
                texts[side] += self._safe(piece.text)
                if shown is not None:
                    shown.update(_panels(texts))

            for side, said in sides.items():
                with self.trained.as_base() if side == "base" else nullcontext():
                    prompt = self._prompt(question, said, asked)
                    row = self._written(prompt, lambda piece, side=side: grow(side, piece))  # type: ignore[misc]
                rows[side] = row
                texts[side] += _note(row)
                if not live:
                    self._show(f"[{side}] {texts[side]}\n")
        for side, said in sides.items():
            self._remember(said, asked, rows[side])


def _panels(texts: dict[str, str]) -> Table:
    beside = Table.grid(expand=True)
    for _ in texts:
        beside.add_column(ratio=1)
    beside.add_row(*(Panel(Text(text), title=side) for side, text in texts.items()))
    return beside


def _note(row: Writing) -> str:
    """What to know of how it ended, if it did not end by itself."""
    if row.ended == "length":
        return f"[cut at {len(row.new)} tokens: generation_max_new_tokens]\n"
    return "[ended by you; not kept]\n" if row.ended == "cancelled" else ""


def chat(trained: Trained, prompt: str | None, wish: Wish) -> int:
    """Answer one prompt, or every line typed until the input ends."""
    if wish.compare and not trained.has_base:
        raise UsageError("--compare: all weights were trained, so there is no base model beneath this one")
    try:
        settings = changed(trained.settings, dict(wish.settings))
    except ValueError as error:
        raise UsageError(str(error)) from None
    if wish.system and trained.style != "chat_template":
        raise UsageError("--system: this run learned from texts without roles, which have no system message")
    talk = Talk(trained, settings, Console(highlight=False), wish.raw, wish.compare, wish.system)
    if prompt is not None:
        asked = sys.stdin.read() if prompt == "-" else prompt
        if not asked.strip():
            raise UsageError("--prompt is empty: write what is to be answered, or - and pipe it in")
        talk.ask(_readable(asked.strip("\n")))
        return 0
    _converse(talk)
    return 0


def _readable(text: str) -> str:
    """What a terminal gave, with bytes that are no UTF-8 replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _converse(talk: Talk) -> None:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - with it, input() lets a line be edited and earlier ones be called back
    if typed := sys.stdin.isatty():
        print("Type a message, or /help. An empty line or Ctrl-D ends.")
    for line in _lines(typed):
        if not line and typed:
            return
        try:
            if line.startswith("/"):
                obey(line, talk)
            elif line:
                talk.ask(line)
        except FinetuneError as error:
            print(f"{error}\nThe last question was not kept; /forget drops the oldest one, /reset begins anew")


def _lines(typed: bool) -> Iterator[str]:
    """What is typed, or piped in, until the input ends."""
    marks = ("> ", "… ") if typed else ("", "")
    while True:
        try:
            line = _readable(input(marks[0]))
            while line.endswith("\\"):
                line = line[:-1] + "\n" + _readable(input(marks[1]))
        except EOFError:
            if typed:
                print()
            return
        except KeyboardInterrupt:
            if not typed:
                raise
            print()
            continue
        yield line.strip()
