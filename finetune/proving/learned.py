"""Whether what is learned is what the rows say: each answer's words among the learned tokens, no question's, and the
token that ends an answer. Looks at the token ids and labels of all documents that a row makes, beside its meaning."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.data.prepared import Prepared
from finetune.formats.meaning import Conversation, Judged, Meaning, PreferencePair, Row, Segments
from finetune.rendering.lengths import IGNORED


@dataclass(frozen=True)
class Wish:
    """What a recipe asks for. `asks_too`: questions are learned, too; `last_alone`: of a conversation's answers, only
    the last."""

    asks_too: bool
    last_alone: bool


@dataclass
class Learned:
    """Counts over the rows. `wanted`: answers that are to be learned; `found`: those whose words are; `asked`:
    questions of which none is to be learned; `leaked`: those that are; `ended`: answers whose learned tokens hold an
    end; `several` and `none`: rows that make more than one document, and rows that make none."""

    documents: int = 0
    several: int = 0
    none: int = 0
    tokens: int = 0
    learned: int = 0
    wanted: int = 0
    found: int = 0
    asked: int = 0
    leaked: int = 0
    ended: int = 0
    missing: str = ""


def looked_at(prepared: Prepared, tokenizer: Any, rows: Sequence[Row], wish: Wish) -> Learned:
    """Each row is compared with all documents that it makes; `rows`: those that are taken."""
    made, texts = Learned(), defaultdict(list)
    for source, number, ids, labels in prepared.rows("train"):
        kept = [token for token, label in zip(ids, labels, strict=True) if label != IGNORED]
        made.documents += 1
        made.tokens += len(ids)
        made.learned += len(kept)
        made.ended += bool(set(kept) & set(prepared.stop_ids))
        texts[source, number].append(_plain(tokenizer.decode(kept, skip_special_tokens=False)))
    for row in rows:
        own = texts[row.source, row.number]
        made.several += len(own) > 1
        made.none += not own
        if own:
            _compare(made, ("".join(own), tokenizer), row.meaning, wish)  # a long row may be split amid an answer
    return made


def _plain(text: str) -> str:
    """Without white space, which tokenizers decode in their own ways."""
    return "".join(text.split())


def _written(text: str, tokenizer: Any) -> str:
    """As the tokenizer gives it back, which may fold letters, or know no token for some."""
    return _plain(tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"], skip_special_tokens=False))


def _compare(made: Learned, found: tuple[str, Any], meaning: Meaning, wish: Wish) -> None:
    """`found`: what is learned, and the tokenizer that wrote it."""
    learned, tokenizer = found
    said = list(_said(meaning))
    if wish.last_alone:
        answers = [place for place, (_, is_answer) in enumerate(said) if is_answer]
        said = [one for place, one in enumerate(said) if place not in answers[:-1]]
    for text, wanted in said:
        plain = _plain(text)
        if not plain:
            continue
        if wanted:
            there = plain in learned or _written(text, tokenizer) in learned
            made.wanted += 1
            made.found += there
            made.missing = made.missing or ("" if there else text[:60])
        elif not wish.asks_too and len(plain) > 12:
            made.asked += 1
            made.leaked += plain in learned


def _said(meaning: Meaning) -> Iterator[tuple[str, bool]]:
    """(text of the row, whether it is an answer)."""
    if isinstance(meaning, Segments):
        yield from meaning.pieces
    elif isinstance(meaning, Conversation):
        for message in meaning.messages:
            if message.learned is not None or message.spans:
                continue  # the row says itself what is learned of it
            yield message.content, message.role == "assistant"
    elif isinstance(meaning, PreferencePair | Judged):
        return
