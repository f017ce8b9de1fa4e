"""One answer while it is written: its tokens so far, its text, why it ended. Knows no model and no neighbours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.answering.drawing import Drawer
from finetune.answering.growing import Growing
from finetune.answering.likely import Likely, likely
from finetune.answering.settings import Settings


@dataclass(frozen=True)
class Piece:
    """What was written since the last one. `ended`: "stop", "length", "cancelled" or "failed"; None while it goes on.
    `why`: what failed; `likely`: how likely its tokens were, where that was asked for."""

    text: str
    ended: str | None = None
    why: str = ""
    likely: tuple[Likely, ...] = ()


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
    """`ids`: the prompt; `new`: what was drawn after it. `others`: how many other tokens are told with each, and how
    likely all were; None: nothing of that. `cancelled` may be set by anybody at any time."""

    def __init__(
        self,
        ids: Sequence[int],
        settings: Settings,
        tell: Callable[[Piece], None] = nobody,
        raw: bool = False,
        others: int | None = None,
    ) -> None:
        self.ids, self.settings, self.tell, self.raw, self.others = list(ids), settings, tell, raw, others
        self.likely: list[Likely] = []
        self._told = 0
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
        self.tokenizer = terms.tokenizer
        self.growing = Growing(terms.tokenizer, texts, self.raw)
        self.drawer = Drawer(self.settings, terms.device)

    @property
    def is_plain(self) -> bool:
        """Whether the most likely token is taken as the model gives it, and nothing is told of it."""
        return self.settings.is_plain and self.others is None

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
        self.take(self.drawn(logits_V))

    def drawn(self, logits_V: Any) -> int:
        """The next token, which is not taken yet."""
        token = self.drawer.draw(logits_V, self.ids, self.new)
        if self.others is not None and token not in self.stop_ids:
            self.likely.append(likely(logits_V, token, self.others, self.tokenizer, self.all_ids))
        return token

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
                self.tell(Piece(text, likely=self._untold()))

    def end(self, ended: str, why: str = "") -> None:
        if self.ended is not None:
            return
        self.ended, self.why, text = ended, why, ""
        if self._begun:
            self.growing.close()
            if self.growing.stopped and ended == "length":
                self.ended = "stop"
            text = self.growing.fresh(closed=True)
        self.tell(Piece(text, self.ended, why, self._untold()))

    def _untold(self) -> tuple[Likely, ...]:
        found = tuple(self.likely[self._told :])
        self._told = len(self.likely)
        return found


def _stops(stop: tuple[str, ...], tokenizer: Any) -> tuple[tuple[str, ...], frozenset[int]]:
    """Texts to look for, and special tokens, which never become text."""
    special = {str(token): number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    tokens = frozenset(special[text] for text in stop if text in special)
    return tuple(text for text in stop if text not in special), tokens
