"""A byte-level BPE of `tokenizers` rebuilt in `tiktoken`, where its own rules prove that both give the same tokens.
Says why where they do not. Knows no data and no template.

Why the rules suffice. Both merge the neighbours of lowest rank, leftmost first; `tokenizers` ranks the pairs that it
was taught, `tiktoken` whatever two neighbours make a known token. Take the first step at which they would part: a and b
stand side by side, make t, and were not taught as a pair. Nothing was merged across t's borders so far, so inside t the
same merges were made, in the same order, as for t alone; and t alone becomes t (which is tried for every token), by a
pair that was taught. So that pair stands there and not a and b."""

import itertools
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_SMOOTH3 = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s*[\r\n]+|\s+(?!\S)|\s"
)
PATTERNS = {
    GPT2: r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    LLAMA3: _SMOOTH3,
    QWEN2: _SMOOTH3.replace(r"\p{N}{1,3}+", r"\p{N}"),
}
"""How a family splits text -> the same without backtracking: what follows a repeated class never begins with a member
of it, and the last `\\s+` is reached only by one white character."""
NORMALIZERS = (None, {"type": "NFC"}, {"type": "Sequence", "normalizers": []})
FOLDS = "\u017f"
"""Folds to an ASCII letter, so that it may end a contraction; what engines make of it is not asked."""


class NotTheSame(Exception):
    """Why a tokenizer is not rebuilt."""


@dataclass(frozen=True)
class Rebuilt:
    """What `tiktoken` needs. `special`: added tokens, which are split off first; `nfc`: text must be in that form."""

    pattern: str
    ranks: Mapping[bytes, int]
    special: Mapping[str, int]
    nfc: bool


def byte_alphabet() -> dict[str, int]:
    """The character that stands for each byte in a byte-level vocabulary -> the byte."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + place): byte for place, byte in enumerate(hidden)}


def rebuild(tokenizer_json: str) -> Rebuilt:
    """NotTheSame, with the reason, for any construct that the rules do not know."""
    whole = json.loads(tokenizer_json)
    model = whole["model"]
    if model.get("type") != "BPE":
        raise NotTheSame(f"it is a {model.get('type')}, not a byte-level BPE")
    if whole.get("normalizer") not in NORMALIZERS:
        raise NotTheSame("it changes text before it splits it")
    for setting in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(setting):
            raise NotTheSame(f"its model has {setting}")
    pattern = _pattern(whole.get("pre_tokenizer") or {})
    special = _special(whole.get("added_tokens") or [])
    ranks = _ranks(model, special)
    _each_becomes_itself(whole, ranks)
    return Rebuilt(PATTERNS[pattern], ranks, special, (whole.get("normalizer") or {}).get("type") == "NFC")


def byte_lengths(tokenizer_json: str) -> dict[int, int]:
    """Bytes of each token, where they tell its place: a byte-level tokenizer whose tokens together are the text,
    however it splits and merges. NotTheSame where it may not be so."""
    whole = json.loads(tokenizer_json)
    model, splitter = whole["model"], whole.get("pre_tokenizer") or {}
    steps = splitter.get("pretokenizers", [splitter])
    added = whole.get("added_tokens") or []
    level = [step for step in steps if step.get("type") == "ByteLevel"]
    if whole.get("normalizer") is not None or len(level) != 1 or level[0].get("add_prefix_space"):
        raise NotTheSame("it is not byte-level, or changes text")
    if any(step.get("behavior") == "Removed" for step in steps) or any(one["lstrip"] or one["rstrip"] for one in added):
        raise NotTheSame("its tokens do not hold all of the text")
    alphabet = byte_alphabet()
    contents = {one["content"] for one in added}
    rest = {token: number for token, number in model["vocab"].items() if token not in contents}
    if not alphabet.keys() <= rest.keys() or any(not alphabet.keys() >= set(token) for token in rest):
        raise NotTheSame("its vocabulary is not one of bytes")
    if any(model.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix")):
        raise NotTheSame("its tokens are marked")
    lengths = {number: len(token) for token, number in rest.items()}
    return lengths | {int(one["id"]): len(one["content"].encode()) for one in added}


def _pattern(splitter: Mapping[str, Any]) -> str:
    steps = splitter.get("pretokenizers", [splitter]) if splitter.get("type") == "Sequence" else [splitter]
    *split, last = steps
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        raise NotTheSame("it is not byte-level, or puts a space before the text")
    if not split and last.get("use_regex", True):
        return GPT2
    if len(split) == 1 and split[0].get("type") == "Split" and not last.get("use_regex", True):
        kind = (split[0].get("behavior"), split[0].get("invert"))
        pattern = str(split[0].get("pattern", {}).get("Regex"))
        if kind in (("Isolated", False), ("Removed", True)) and pattern in PATTERNS:
            return pattern
    raise NotTheSame("it splits text by a pattern that is not known here")


def _special(added: list[dict[str, Any]]) -> dict[str, int]:
    """Added tokens. In `tokenizers` the longest match wins and raw ones go before normalized ones; none may begin
    with another, and raw and normalized ones may not overlap, so that neither can matter."""
    for token in added:
        if token["single_word"] or token["lstrip"] or token["rstrip"] or not token["content"]:
            raise NotTheSame(f"its token {token['content']!r} takes white space or whole words only")
        if not unicodedata.is_normalized("NFC", token["content"]):
            raise NotTheSame(f"its token {token['content']!r} is not normalized")
    names = sorted(token["content"] for token in added)
    for one, following in itertools.pairwise(names):
        if following.startswith(one):
            raise NotTheSame(f"its token {following!r} begins with its token {one!r}")
    raw = [token["content"] for token in added if not token["normalized"]]
    for token in added:
        if token["normalized"] and any(_overlap(token["content"], other) for other in raw):
            raise NotTheSame(f"its token {token['content']!r} overlaps another")
    return {token["content"]: int(token["id"]) for token in added}


def _overlap(one: str, other: str) -> bool:
    if one in other or other in one:
        return True
    ends = range(1, min(len(one), len(other)))
    return any(one[-size:] == other[:size] or other[-size:] == one[:size] for size in ends)


def _ranks(model: Mapping[str, Any], special: Mapping[str, int]) -> dict[bytes, int]:
    """Bytes of each token that can come up -> its id, where ids rise in the order in which pairs were taught."""
    vocabulary: Mapping[str, int] = model["vocab"]
    alphabet = byte_alphabet()
    missing = [character for character in alphabet if character not in vocabulary]
    if missing:
        raise NotTheSame(f"its vocabulary lacks {len(missing)} bytes")
    last, taught = -1, set()
    for pair in model["merges"]:
        one, other = pair if isinstance(pair, list) else pair.split(" ")
        made = vocabulary.get(one + other, -1)
        if made < last:
            raise NotTheSame("its ids do not rise in the order of its merges")
        last = made
        taught.add(one + other)
    ranks = {}
    for token, number in vocabulary.items():
        if token in alphabet or token in taught:
            ranks[bytes(alphabet[character] for character in token)] = number
        elif model.get("ignore_merges") and token not in special:
            raise NotTheSame(f"its token {token!r} is made by no merge")
    if len(set(ranks.values()) | set(special.values())) != len(ranks) + len(special):
        raise NotTheSame("two of its tokens share an id")
    return ranks


def _each_becomes_itself(whole: Mapping[str, Any], ranks: Mapping[bytes, int]) -> None:
    """NotTheSame if the merges do not make each token of its own bytes."""
    from tokenizers import Tokenizer

    model = dict(whole["model"]) | {"ignore_merges": False}
    bare: dict[str, Any] = {"version": "1.0", "model": model}
    bare |= dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    tokenizer = Tokenizer.from_str(json.dumps(bare | {"added_tokens": []}))
    letters = {byte: character for character, byte in byte_alphabet().items()}
    texts = ["".join(letters[byte] for byte in token) for token in ranks]
    for text, number, found in zip(texts, ranks.values(), tokenizer.encode_batch_fast(texts), strict=True):
        if found.ids != [number]:
            raise NotTheSame(f"its merges do not make its token {text!r}")
