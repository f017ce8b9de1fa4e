"""One answer while it is written: its tokens so far, its text, why it ended. Knows no model and no neighbours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.answering.drawing import Drawer
from finetune.answering.growing import Growing
from finetune.answering.settings import Settings


@dataclass(frozen=True)
class Piece:
    """What was written since the last one. `ended`: "stop", "length", "cancelled" or "failed"; None while it goes on.
    `why`: what failed."""

    text: str
    ended: str | None = None
    why: str = ""


def nobody(piece: Piece) -> None:
    """For answers that are looked at once they are whole."""
    del piece


@dataclass(frozen=True)
class Terms:
    """What all answers of a run share. `stop_ids`: the tokens that end an answer."""

    tokenizer: Any
    stop_ids: frozenset[int]
    device: Any


class Writing:
    """`ids`: the prompt; `new`: what was drawn after it. `cancelled` may be set by anybody at any time."""

    def __init__(
        self, ids: Sequence[int], settings: Settings, tell: Callable[[Piece], None] = nobody, raw: bool = False
    ) -> None:
        self.ids, self.settings, self.tell, self.raw = list(ids), settings, tell, raw
        self.new: list[int] = []
        self.ended: str | None = None
        self.why = ""
        self.cancelled = False
        self._begun = False

    def begin(self, terms: Terms) -> None:
        """Ready to draw. Once: an answer that was put back goes on where it was."""
        if self._begun:
            return
        self._begun = True
        texts, tokens = _stops(self.settings.stop, terms.tokenizer)
        self.stop_ids = terms.stop_ids | tokens
        self.growing = Growing(terms.tokenizer, texts, self.raw)
        self.drawer = Drawer(self.settings, terms.device)

    @property
    def all_ids(self) -> list[int]:
        return [*self.ids, *self.new]

    @property
    def stopped(self) -> bool:
        """Whether it ended by itself."""
        return self.ended == "stop"

    @property
    def text(self) -> str:
        return self.growing.answer

    def draw(self, logits_V: Any) -> None:
        self.take(self.drawer.draw(logits_V, self.ids, self.new))

    def take(self, token: int) -> None:
        """The next token, drawn."""
        self.new.append(token)
        ends = token in self.stop_ids
        if self.raw or not ends:
            self.growing.add(token)
        if ends or self.growing.stopped:
            self.end("stop")
        elif len(self.new) >= self.settings.max_new_tokens:
            self.end("length")
        else:
            text = self.growing.fresh()
            if text:
                self.tell(Piece(text))

    def end(self, ended: str, why: str = "") -> None:
        if self.ended is not None:
            return
        self.ended, self.why, text = ended, why, ""
        if self._begun:
            self.growing.close()
            if self.growing.stopped and ended == "length":
                self.ended = "stop"
            text = self.growing.fresh(closed=True)
        self.tell(Piece(text, self.ended, why))


def _stops(stop: tuple[str, ...], tokenizer: Any) -> tuple[tuple[str, ...], frozenset[int]]:
    """Texts to look for, and special tokens, which never become text."""
    special = {str(token): number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    tokens = frozenset(special[text] for text in stop if text in special)
    return tuple(text for text in stop if text not in special), tokens
