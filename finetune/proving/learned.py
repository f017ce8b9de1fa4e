"""Whether what is learned is what the rows say: each answer's words among the learned tokens, no question's, and the
token that ends an answer. Looks at token ids and labels beside the rows' own meaning."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.data.prepared import Prepared
from finetune.formats.meaning import Conversation, Judged, Meaning, PreferencePair, Segments
from finetune.rendering.lengths import IGNORED

Document = tuple[list[int], list[int]]


@dataclass
class Learned:
    """Counts over the rows. `wanted`: answers that are to be learned; `found`: those whose words are; `asked`:
    questions of which none is to be learned; `leaked`: those that are; `ended`: answers whose learned tokens hold an
    end."""

    documents: int = 0
    tokens: int = 0
    learned: int = 0
    wanted: int = 0
    found: int = 0
    asked: int = 0
    leaked: int = 0
    ended: int = 0
    missing: str = ""


def looked_at(prepared: Prepared, tokenizer: Any, rows: Sequence[Meaning], asks_too: bool) -> Learned:
    """`rows`: the meaning of each document, in order, where they stand one to one; `asks_too`: the recipe learns
    questions too."""
    made = Learned()
    documents = [(ids, labels) for _, _, ids, labels in prepared.rows("train")]
    for ids, labels in documents:
        kept = [token for token, label in zip(ids, labels, strict=True) if label != IGNORED]
        made.documents += 1
        made.tokens += len(ids)
        made.learned += len(kept)
        made.ended += bool(set(kept) & set(prepared.stop_ids))
    if len(rows) == len(documents):
        for (ids, labels), meaning in zip(documents, rows, strict=True):
            _compare(made, _text(ids, labels, tokenizer), meaning, asks_too)
    return made


def _text(ids: Sequence[int], labels: Sequence[int], tokenizer: Any) -> str:
    kept = [token for token, label in zip(ids, labels, strict=True) if label != IGNORED]
    return _plain(tokenizer.decode(kept, skip_special_tokens=False))


def _plain(text: str) -> str:
    """Without white space, which tokenizers decode in their own ways."""
    return "".join(text.split())


def _compare(made: Learned, learned: str, meaning: Meaning, asks_too: bool) -> None:
    for text, wanted in _said(meaning):
        plain = _plain(text)
        if not plain:
            continue
        if wanted:
            made.wanted += 1
            made.found += plain in learned
            made.missing = made.missing or ("" if plain in learned else text[:60])
        elif not asks_too and len(plain) > 12:
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
