"""How likely each token of an answer was, and which others were, as texts with their bytes. Knows no model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune.answering.growing import CUT

LEAST = -9999.0
"""Stands for the logarithm of nothing, for which JSON has no number."""


@dataclass(frozen=True)
class Likely:
    """`logprob`: natural logarithm of the chance that the model itself gave the token, whatever was drawn by; `others`:
    the most likely ones, the likeliest first."""

    text: str
    bytes: tuple[int, ...] | None
    logprob: float
    others: tuple["Likely", ...] = ()


def likely(logits_V: Any, token: int, count: int, tokenizer: Any, before: Sequence[int]) -> Likely:
    """Of a token that was drawn. `count`: of the others; `before`: tokens that stand before it."""
    scores_V = logits_V.float().log_softmax(-1)
    best = scores_V.topk(min(count, scores_V.shape[-1])) if count else None
    others = zip(best.indices.tolist(), best.values.tolist(), strict=True) if best is not None else ()

    def named(number: int, score: float, more: tuple[Likely, ...] = ()) -> Likely:
        text = _text(number, tokenizer, before)
        return Likely(text, _bytes(number, text, tokenizer), max(score, LEAST), more)

    return named(token, float(scores_V[token]), tuple(named(number, score) for number, score in others))


def _text(token: int, tokenizer: Any, before: Sequence[int]) -> str:
    """As it stands after another token: some tokenizers take the first space of a text away."""
    last = list(before[-1:])
    known, now = (str(tokenizer.decode(ids, skip_special_tokens=False)) for ids in (last, [*last, token]))
    if last and now.startswith(known):
        return now[len(known) :]
    return str(tokenizer.decode([token], skip_special_tokens=False))


def _bytes(token: int, text: str, tokenizer: Any) -> tuple[int, ...] | None:
    """None for a part of a character whose bytes the tokenizer does not tell."""
    if CUT not in text:
        return tuple(text.encode())
    name = str(tokenizer.convert_ids_to_tokens(token))
    if name.startswith("<0x") and name.endswith(">"):
        return (int(name[3:-1], 16),)
    letters = _byte_letters()
    return tuple(letters[letter] for letter in name) if all(letter in letters for letter in name) else None


def _byte_letters() -> dict[str, int]:
    """By which letters byte-level tokenizers write bytes: what can be seen as it is, the others from 256 on."""
    seen = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [number for number in range(256) if number not in seen]
    return {chr(number): number for number in seen} | {chr(256 + place): number for place, number in enumerate(hidden)}
