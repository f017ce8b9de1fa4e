"""Special-token text inside a row's own content: finding it, and tokenizing it as ordinary text. Knows no template and
no labels."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from finetune.rendering.labels import Span

ROWS_SHOWN = 10


class Specials:
    """The texts that a tokenizer reads as special tokens."""

    def __init__(self, tokenizer: Any) -> None:
        added = tokenizer.added_tokens_decoder
        self.ids = frozenset(tokenizer.all_special_ids) | frozenset(added)
        texts = {token.content for token in added.values() if token.special} | set(tokenizer.all_special_tokens)
        self.texts = sorted(filter(None, texts), key=lambda text: (-len(text), text))
        # Most content holds not even the beginning of one, and a few looks for that are quick.
        self._beginnings = tuple({text[:2] for text in self.texts})
        self._firsts = tuple({text[:1] for text in self.texts})
        self.pattern = re.compile("|".join(map(re.escape, self.texts)) or r"(?!)")

    def found(self, contents: Iterable[str]) -> tuple[str, ...]:
        """The special-token texts in a row's contents, each once, in order."""
        beginnings = self._beginnings
        seen: dict[str, None] = {}
        for content in contents:
            for first in self._firsts:
                if first in content:
                    break
            else:
                continue
            for beginning in beginnings:
                if beginning in content:
                    seen.update(dict.fromkeys(self.pattern.findall(content)))
                    break
        return tuple(seen)


def special_text(source: str, rows: Mapping[int, Sequence[str]]) -> str:
    """The warning about rows of a source that hold special-token text. `rows`: number of the row -> the texts."""
    numbers = ", ".join(map(str, list(rows)[:ROWS_SHOWN])) + (", ..." if len(rows) > ROWS_SHOWN else "")
    texts = ", ".join(sorted({text for found in rows.values() for text in found})[:ROWS_SHOWN])
    return (
        f"warning: {source}: {len(rows)} rows hold special-token text in their content ({texts}; rows {numbers}), "
        "which becomes those tokens. `special_tokens_in_content: text` keeps it text, `error` refuses such rows"
    )


def encode_in_parts(
    tokenizer: Any, text: str, cuts: Sequence[int], plain: Sequence[Span], specials: Specials
) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids and offsets of a text with no token across a cut, and with special-token text inside the spans `plain`
    read as the characters it is made of. The rest is tokenized as ever: a special token divides a text anyway."""
    ids: list[int] = []
    offsets: list[tuple[int, int]] = []
    for start, end, special in _parts(text, cuts, plain, specials):
        # Where special tokens are not looked for, the template's own are single parts.
        encoded = tokenizer(
            text[start:end],
            add_special_tokens=False,
            return_offsets_mapping=True,
            split_special_tokens=bool(plain) and not special,
            verbose=False,
        )
        ids += encoded["input_ids"]
        offsets += [(start + first, start + last) for first, last in encoded["offset_mapping"]]
    return ids, offsets


def _parts(text: str, cuts: Sequence[int], plain: Sequence[Span], specials: Specials) -> list[tuple[int, int, bool]]:
    """(start, end, whether it is a special token of the template) for the parts of a text."""
    own: list[Span] = []
    if plain:
        own = [
            match.span()
            for match in specials.pattern.finditer(text)
            if not any(start < match.end() and match.start() < end for start, end in plain)
        ]
    borders = sorted({0, len(text), *cuts, *(place for span in own for place in span)})
    marked = set(own)
    return [(start, end, (start, end) in marked) for start, end in pairwise(borders)]
