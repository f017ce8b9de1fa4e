"""Rows that can be learned from and are hardly meant so: answers without a word, and conversations after whose last
answer somebody else speaks. Looks at a row's meaning alone."""

import re
from collections.abc import Collection, Iterator

from finetune.formats.meaning import Conversation, Message, Segments
from finetune.rendering.lengths import Lost
from finetune.rendering.unwritten import THOUGHTS

EMPTY, OPEN, GARBLED = "empty", "open", "garbled"
MOST = 0.5
"""Share of a source's rows from which on conversations that end with a question are no habit of the data's."""
MISREAD = re.compile(
    "\u00c3[\u0080-\u00ba\u00bc-\u00bf\u0152-\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]|\u00e2\u20ac|\ufffd"
)
"""Letters of UTF-8 that were read as Latin-1 or Windows-1252, and the sign for what could not be read at all."""


def oddities(meaning: Conversation | Segments, learned: Collection[str] | None) -> tuple[str, ...]:
    """Of EMPTY, OPEN and GARBLED what a row is. `learned`: roles whose turns are; None for all."""
    if isinstance(meaning, Segments):
        said = [text for text, answer in meaning.pieces if answer]
        empty = bool(said) and not any(text.strip() for text in said)
        return _those((EMPTY, empty), (GARBLED, any(is_garbled(text) for text, _ in meaning.pieces)))
    messages = meaning.messages
    answers = [one for one in messages if one.role == "assistant" and one.learned is not False]
    last = messages[-1] if messages and learned is not None else None
    return _those(
        (EMPTY, any(map(_says_nothing, answers))),
        (OPEN, last is not None and last.learned is None and last.role not in (learned or ())),
        (GARBLED, any(is_garbled(one.content) for one in messages)),
    )


def _those(*kinds: tuple[str, bool]) -> tuple[str, ...]:
    return tuple([kind for kind, holds in kinds if holds])


def is_garbled(text: str) -> bool:
    return not text.isascii() and MISREAD.search(text) is not None


def _says_nothing(message: Message) -> bool:
    extra = message.extra
    return not message.content.strip() and not extra.get("tool_calls") and not any(map(extra.get, THOUGHTS))


def odd_texts(source: str, lost: Lost) -> Iterator[str]:
    """Warnings about a source, of which so many rows are odd."""
    rows = lost.rows
    if lost.empty:
        yield (
            f"warning: {source}: {lost.empty:,} of {rows:,} rows have an answer without a word: they teach to say "
            "nothing. Mend them, or leave them out with datasets.filter"
        )
    if lost.open > MOST * rows:
        yield (
            f"warning: {source}: {lost.open:,} of {rows:,} rows end with a turn that is not learned: nothing is, from "
            "the last answer on. Are the roles the right way round (datasets.roles)?"
        )
    if lost.garbled:
        yield (
            f"warning: {source}: {lost.garbled:,} of {rows:,} rows hold letters that were read in a wrong encoding, "
            "such as \u00c3\u00bc for \u00fc, or \ufffd: convert the file anew from what it was made of"
        )
    if lost.unknown:
        yield (
            f"warning: {source}: {lost.unknown:,} of {rows:,} rows hold letters that this tokenizer cannot write: it "
            "puts its token for what is unknown in their place, and the model learns that"
        )
