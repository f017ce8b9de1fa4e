"""How llama.cpp makes tokens of a text with a vocabulary of SentencePiece's kind, for where llama.cpp itself is not
installed: special tokens first, then always the pair of neighbours whose token has the highest score. Knows no file."""

import heapq
import re
from collections.abc import Iterator, Mapping, Sequence

from finetune.exporting.gguf_tokens import CONTROL, UNKNOWN, USER_DEFINED

SPACE = "\u2581"


class LlamaSplit:
    """`prefixed`: every piece of text after a special token, and the first, gets a leading space."""

    def __init__(self, tokens: Sequence[str], types: Sequence[int], scores: Sequence[float], prefixed: bool) -> None:
        self.numbers: Mapping[str, int] = {text: number for number, text in enumerate(tokens)}
        self.scores, self.prefixed = scores, prefixed
        special = [text for text, kind in zip(tokens, types, strict=True) if kind in (CONTROL, UNKNOWN, USER_DEFINED)]
        longest_first = sorted(filter(None, special), key=len, reverse=True)
        self._special = frozenset(special)
        self._apart = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None

    def ids(self, text: str) -> list[int]:
        """Token ids, special tokens in the text included; a begin token is not added."""
        found: list[int] = []
        after_special = True
        for part in filter(None, self._apart.split(text) if self._apart else [text]):
            if part in self._special:
                found.append(self.numbers[part])
                after_special = True
                continue
            lead = " " if self.prefixed and after_special else ""
            found += self._of_text((lead + part).replace(" ", SPACE))
            after_special = False
        return found

    def _of_text(self, text: str) -> Iterator[int]:
        pieces: list[str] = list(text)
        after = list(range(1, len(pieces) + 1))
        before = list(range(-1, len(pieces) - 1))
        waiting: list[tuple[float, int, int, str]] = []

        def propose(left: int, right: int) -> None:
            if left >= 0 and right < len(pieces):
                joined = pieces[left] + pieces[right]
                if joined in self.numbers:
                    heapq.heappush(waiting, (-self.scores[self.numbers[joined]], left, right, joined))

        for place in range(1, len(pieces)):
            propose(place - 1, place)
        while waiting:
            _, left, right, joined = heapq.heappop(waiting)
            if not pieces[left] or pieces[left] + pieces[right] != joined or after[left] != right:
                continue
            pieces[left], pieces[right] = joined, ""
            after[left] = after[right]
            if after[right] < len(pieces):
                before[after[right]] = left
            propose(before[left], left)
            propose(left, after[left])
        for piece in filter(None, pieces):
            yield from self._of_piece(piece)

    def _of_piece(self, piece: str) -> Iterator[int]:
        """Its token, or those of its bytes."""
        if piece in self.numbers:
            yield self.numbers[piece]
            return
        for byte in piece.encode("utf-8"):
            yield self.numbers[f"<0x{byte:02X}>"]
