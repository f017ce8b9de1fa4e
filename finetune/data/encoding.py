"""Texts -> token ids and where each token lies, by `tiktoken` where it is proved to give the same, else by
`tokenizers`. Both in one process; knows no rows and no labels."""

import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.data.bpe import FOLDS, NotTheSame, Rebuilt, byte_lengths, rebuild

Span = tuple[int, int]
ASCII = bytes(range(128))
PREFIXES = "a1! "
"""A letter, a digit, a sign and a space: which of them a character joins tells its class in every known pattern."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Tokens of one text. `starts` and `ends`: where each begins and ends, in bytes of UTF-8 (`in_bytes`) or in
    characters; sequences of numbers that never fall."""

    ids: Any
    starts: Any
    ends: Any
    in_bytes: bool

    def placed(self, text: str, spans: Sequence[Span]) -> Sequence[Span]:
        """Spans of characters in the unit of `starts` and `ends`. A span's edges lie between characters, so a token
        that holds a part of a character is inside by its bytes exactly where it is by its characters."""
        if not self.in_bytes or text.isascii():
            return spans
        edges = sorted({edge for span in spans for edge in span})
        before, byte, places = 0, 0, {}
        for edge in edges:
            byte += len(text[before:edge].encode())
            before, places[edge] = edge, byte
        return [(places[start], places[end]) for start, end in spans]

    def offsets(self, text: str) -> list[Span]:
        """Each token's characters, as `tokenizers` gives them: a part of a character counts as all of it."""
        pairs = zip(map(int, self.starts), map(int, self.ends), strict=True)
        if not self.in_bytes or text.isascii():
            return list(pairs)
        of_byte = [place for place, character in enumerate(text) for _ in character.encode()]
        return [(of_byte[start], of_byte[end - 1] + 1) for start, end in pairs]


class RustEncoder:
    """`tokenizers` itself. Its post-processor is left out: it adds special tokens, which no text here asks for, and
    may take white space off the offsets, which labels need."""

    name = "tokenizers"

    @property
    def exact(self) -> "RustEncoder":
        return self

    def __init__(self, tokenizer_json: str) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        self._tokenizer.post_processor = None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        import numpy

        return [
            Encoded(numpy.array(one.ids, dtype=numpy.uint32), _Edges(one, 0), _Edges(one, 1), False)
            for one in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        ]

    def ids(self, texts: Sequence[str]) -> Iterator[list[int]]:
        for one in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False):
            yield one.ids

    def pieces(self, text: str) -> list[Span]:
        splitter = self._tokenizer.pre_tokenizer
        return [span for _, span in splitter.pre_tokenize_str(text)]


class QuickEncoder:
    """`tokenizers` without its places, which take a quarter of its time: they follow from the tokens' lengths."""

    name = "tokenizers"

    def __init__(self, exact: RustEncoder, lengths: Mapping[int, int]) -> None:
        self.exact, self._lengths = exact, _table(lengths)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        import numpy

        ids = (numpy.array(one, dtype=numpy.uint32) for one in self.exact.ids(texts))
        return [_by_lengths(one, self._lengths) for one in ids]


def _table(lengths: Mapping[int, int]) -> Any:
    import numpy

    table = numpy.zeros(max(lengths) + 1, dtype=numpy.int32)
    table[list(lengths)] = list(lengths.values())
    return table


def _by_lengths(ids: Any, table: Any) -> Encoded:
    import numpy

    lengths = table[ids]
    ends = numpy.cumsum(lengths, dtype=numpy.int32)
    return Encoded(ids, ends - lengths, ends, True)


class CallEncoder:
    """The loaded tokenizer itself, called as everybody calls it."""

    name = "the tokenizer's own code"

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @property
    def exact(self) -> "CallEncoder":
        return self

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        if not texts:
            return []
        encoded = self._tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        return [Encoded(ids, [start for start, _ in at], [end for _, end in at], False) for ids, at in pairs]


class _Edges:
    """One end of each token, looked up when asked for: only few are."""

    __slots__ = ("_encoding", "_length", "_side")

    def __init__(self, encoding: Any, side: int) -> None:
        self._encoding, self._side, self._length = encoding, side, len(encoding)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, place: int) -> int:
        if not 0 <= place < self._length:
            raise IndexError(place)
        return int(self._encoding.token_to_chars(place)[self._side])


class FastEncoder:
    """The same tokens by `tiktoken`. A text with a character that the two libraries put into different classes, or that
    the normalizer could change, goes to `tokenizers`."""

    name = "tiktoken"

    def __init__(self, rebuilt: Rebuilt, exact: RustEncoder) -> None:
        from tiktoken import Encoding

        self.exact, self._rebuilt = exact, rebuilt
        self._core = Encoding(
            "rebuilt",
            pat_str=rebuilt.pattern,
            mergeable_ranks=dict(rebuilt.ranks),
            special_tokens=dict(rebuilt.special),
        )._core_bpe
        self._special = set(rebuilt.special)
        lengths = {number: len(token) for token, number in rebuilt.ranks.items()}
        lengths |= {number: len(token.encode()) for token, number in rebuilt.special.items()}
        self._lengths = _table(lengths)
        self._same: set[str] = set()
        self._other: set[str] = set(FOLDS)
        self._learn({chr(code) for code in range(128)})
        self._odd_ascii = len(self._other) > len(FOLDS)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        foreign = [_foreign(text) for text in texts]
        if fresh := frozenset[str]().union(*foreign) - self._same - self._other:
            self._learn(fresh)
        return [self._one(text, characters) for text, characters in zip(texts, foreign, strict=True)]

    def _one(self, text: str, foreign: frozenset[str]) -> Encoded:
        import numpy

        if (foreign or self._odd_ascii) and self._must_be_exact(text, foreign):
            return self.exact.encode([text])[0]
        ids = numpy.frombuffer(self._core.encode_to_tiktoken_buffer(text, self._special), dtype=numpy.uint32)
        return _by_lengths(ids, self._lengths)

    def _must_be_exact(self, text: str, foreign: frozenset[str]) -> bool:
        if not self._other.isdisjoint(foreign) or (self._odd_ascii and not self._other.isdisjoint(text)):
            return True
        return bool(foreign) and self._rebuilt.nfc and not unicodedata.is_normalized("NFC", text)

    def _learn(self, characters: Collection[str]) -> None:
        """Sort characters into those that both libraries class alike and those that they do not. Surrogates are no
        characters, and what Python's tables do not know may be changed by a normalizer that is newer."""
        characters = set(characters)
        odd = {one for one in characters if unicodedata.category(one) == "Cs"}
        if self._rebuilt.nfc:
            odd |= {one for one in characters if unicodedata.category(one) == "Cn"}
        probes = sorted(prefix + one for one in characters - odd for prefix in PREFIXES)
        joined = self._joined(probes)
        odd |= {probe[1] for probe in probes if (len(self.exact.pieces(probe)) == 1) != joined[probe]}
        self._other |= odd
        self._same |= characters - odd

    def _joined(self, probes: list[str]) -> dict[str, bool]:
        """Whether this pattern keeps each pair of characters in one piece: with a vocabulary of bytes and of these
        pairs, a piece that is a pair becomes one token, and else there are more."""
        from tiktoken import Encoding

        ranks = {bytes([byte]): byte for byte in range(256)}
        for number, probe in enumerate(probes):
            ranks[probe.encode()] = 256 + number
        core = Encoding("probe", pat_str=self._rebuilt.pattern, mergeable_ranks=ranks, special_tokens={})._core_bpe
        return {probe: len(core.encode_ordinary(probe)) == 1 for probe in probes}


def _foreign(text: str) -> frozenset[str]:
    """The characters of a text that are not ASCII."""
    if text.isascii():
        return frozenset()
    return frozenset(text.encode().translate(None, ASCII).decode())


Encoder = FastEncoder | QuickEncoder | RustEncoder | CallEncoder


def encoder_of(tokenizer_json: str, exact: bool = False) -> tuple[Encoder, str]:
    """(the fastest encoder that gives this tokenizer's tokens, why it is not `tiktoken` or nothing). `exact`: the
    tokenizer itself is asked for."""
    itself = RustEncoder(tokenizer_json)
    if exact:
        return itself, "it was asked for"
    try:
        return FastEncoder(rebuild(tokenizer_json), itself), ""
    except NotTheSame as reason:
        why = str(reason)
    try:
        return QuickEncoder(itself, byte_lengths(tokenizer_json)), why
    except NotTheSame:
        return itself, why


def difference(texts: Sequence[str], fast: Encoder, exact: Encoder) -> str:
    """Where two encoders part on some texts, ids and places; nothing if they do not."""
    if fast is exact:
        return ""
    for text, one, other in zip(texts, fast.encode(texts), exact.encode(texts), strict=True):
        if list(one.ids) != list(other.ids) or one.offsets(text) != other.offsets(text):
            return f"{text[:60]!r} gives other tokens"
    return ""
