"""Talk to what a run trained, with the run's own template, stop tokens and sampling. Trains nothing; writes nothing but
what `/save` is told to."""

import contextlib
import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from finetune.answering.settings import Settings, changed
from finetune.answering.writers import Writers
from finetune.answering.writing import Piece, Writing
from finetune.errors import FinetuneError, ModelError, UsageError
from finetune.formats.meaning import BadRow, Message
from finetune.generation import Prompt, prompt_for, prompt_text
from finetune.trained import Trained

HELP = """/reset            forget the conversation
/system TEXT      begin anew with this system message; without TEXT: with none
/undo             take back the last question and its answer
/retry            answer the last question again
/compare          the base model's answer beside this one's, or no longer
/raw              show special tokens and what the template makes of the question, or no longer
/set NAME VALUE   temperature, top_p, top_k, min_p, repetition_penalty, max_new_tokens, seed
/save FILE        keep the conversation as one line of JSON that can be trained on
/help             this
an empty line or Ctrl-D ends; Ctrl-C ends an answer; a line that ends in \\ goes on in the next"""


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
        self.console.print(Text(text), end="", soft_wrap=True)

    def _beside(self, question: str, asked: Message) -> None:
        """Both answers in two columns; in a pipe one after the other."""
        sides = {"base": self.base_said, "tuned": self.said}
        texts, rows = dict.fromkeys(sides, ""), {}
        live = self.console.is_terminal
        with Live(_panels(texts), console=self.console, refresh_per_second=12) if live else nullcontext() as shown:

            def grow(side: str, piece: Piece) -> None:
                texts[side] += piece.text
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
        talk.ask(_readable(prompt))
        return 0
    _converse(talk)
    return 0


def _readable(text: str) -> str:
    """What a terminal gave, with bytes that are no UTF-8 replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _converse(talk: Talk) -> None:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - with it, input() lets a line be edited and earlier ones be called back
    print("Type a message, or /help. An empty line or Ctrl-D ends.")
    for line in _lines():
        if not line:
            return
        try:
            if line.startswith("/"):
                _obey(line, talk)
            else:
                talk.ask(line)
        except FinetuneError as error:
            print(f"{error}\n/reset begins anew; the last question was not kept")


def _lines() -> Iterator[str]:
    """What is typed, until the input ends."""
    while True:
        try:
            line = _readable(input("> "))
            while line.endswith("\\"):
                line = line[:-1] + "\n" + _readable(input("… "))
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
            continue
        yield line.strip()


def _obey(line: str, talk: Talk) -> None:
    word, _, rest = line.partition(" ")
    rest = rest.strip()
    if word not in ORDERS:
        print(f"there is no {word}; /help says what there is")
        return
    try:
        said = ORDERS[word](talk, rest)
    except (ValueError, OSError) as error:
        said = str(error)
    if said:
        print(said)


def _reset(talk: Talk, rest: str) -> str:
    del rest
    talk.said, talk.base_said = [], []
    return "the conversation is forgotten"


def _system(talk: Talk, rest: str) -> str:
    if talk.trained.style != "chat_template":
        return "this run learned from texts without roles, which have no system message"
    talk.system, talk.said, talk.base_said = rest, [], []
    return f"begun anew, {'with' if rest else 'without'} a system message"


def _undo(talk: Talk, rest: str) -> str:
    del rest
    had = bool(talk.said)
    del talk.said[-2:], talk.base_said[-2:]
    return "taken back" if had else "there is nothing to take back"


def _retry(talk: Talk, rest: str) -> str:
    del rest
    if not talk.said:
        return "nothing was asked yet"
    question = talk.said[-2].content
    del talk.said[-2:], talk.base_said[-2:]
    if talk.settings.seed is not None:
        talk.settings = replace(talk.settings, seed=talk.settings.seed + 1)
    talk.ask(question)
    return ""


def _compare(talk: Talk, rest: str) -> str:
    del rest
    if not talk.trained.has_base:
        return "all weights were trained: there is no base model beneath"
    talk.compare = not talk.compare
    return "the base model answers too" if talk.compare else "the base model no longer answers"


def _raw(talk: Talk, rest: str) -> str:
    del rest
    talk.raw = not talk.raw
    return f"special tokens are {'shown' if talk.raw else 'hidden'}"


def _set(talk: Talk, rest: str) -> str:
    name, _, value = rest.partition(" ")
    if not name:
        return "\n".join(f"{key}: {value}" for key, value in vars(talk.settings).items())
    try:
        given = json.loads(value)
    except ValueError:
        given = value
    talk.settings = changed(talk.settings, {name: given})
    return f"{name}: {getattr(talk.settings, name)}"


def _save(talk: Talk, rest: str) -> str:
    if not rest:
        return "/save FILE: name a file; a line is added to it"
    system = [{"role": "system", "content": talk.system}] if talk.system else []
    said = [{"role": turn.role, "content": turn.content} for turn in talk.said]
    with Path(rest).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"messages": [*system, *said]}, ensure_ascii=False) + "\n")
    return f"a line was added to {rest}"


ORDERS: dict[str, Callable[[Talk, str], str]] = {
    "/reset": _reset,
    "/system": _system,
    "/undo": _undo,
    "/retry": _retry,
    "/compare": _compare,
    "/raw": _raw,
    "/set": _set,
    "/save": _save,
    "/help": lambda talk, rest: HELP,
}
