"""One text of a row with what is learned of it, and where a tokenizer begins one. Knows no template."""

from dataclasses import dataclass
from typing import Any

from finetune.rendering.labels import Span


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a row. `spans`: learned characters; `closes`: whether the last of them ends with an end token;
    `flagged`: the row's own flags say what is learned; `special`: special-token texts in its own content; `cuts` and
    `plain`: as encode_in_parts takes them, empty where the text is tokenized whole; `masked`: characters of which no
    token is learned, whatever else it holds; `noted`: counters of Lost that the row raises."""

    text: str
    spans: list[Span]
    closes: bool
    flagged: bool = False
    special: tuple[str, ...] = ()
    cuts: tuple[int, ...] = ()
    plain: tuple[Span, ...] = ()
    masked: tuple[Span, ...] = ()
    noted: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        return not self.cuts and not self.plain


def begin_of_text(tokenizer: Any) -> str:
    """The begin-of-sequence token where this tokenizer puts one before plain text, else nothing."""
    begins = tokenizer("a", add_special_tokens=True)["input_ids"][:1] == [tokenizer.bos_token_id]
    return str(tokenizer.bos_token) if tokenizer.bos_token and begins else ""
