"""Preferences, judgements and questions as tokens: where a question ends, what becomes of rows that are too long, and
what is kept of a row besides its tokens. Knows lengths and tokens; knows no file and no trainer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune.formats.meaning import Answered, Asked, Conversation, Judged, Meaning
from finetune.rendering.lengths import LEAST, Lengths, Lost
from finetune.rendering.template import as_dicts


@dataclass(frozen=True)
class Side:
    """Tokens of a question and an answer; the answer is ids[start:end]. Of a question alone, start and end are its
    length."""

    ids: Sequence[int]
    start: int
    end: int


def sides_of(made: Sequence[tuple[Sequence[int], Sequence[tuple[int, int]]]]) -> list[Side]:
    """Token ids and learned runs of each text -> sides that share one question: a token that holds characters of
    question and answer, or that only one of them has, belongs to the answers."""
    sides = [
        Side(list(ids), runs[0][0], runs[-1][1]) if runs else Side(list(ids), len(ids), len(ids)) for ids, runs in made
    ]
    if len(sides) < 2:
        return sides
    one, other = sides
    shared = min(one.start, other.start)
    same = next((at for at in range(shared) if one.ids[at] != other.ids[at]), shared)
    return [Side(side.ids, same, side.end) for side in sides]


def fitted(sides: Sequence[Side], lengths: Lengths, lost: Lost) -> list[Side]:
    """What is kept of a row, or nothing, counted in `lost`. ValueError, with the reason, if it is too long under
    `error`. A question loses its beginning, which both sides share, an answer its end."""
    cut = [_without_tail(side, lengths) for side in sides]
    least = max(lengths.min_sample_len, LEAST)
    if min(len(side.ids) for side in cut) < least:
        lost.too_short += 1
        lost.trained_tokens += _answers(sides)
        return []
    before = len(cut[0].ids) if _asks(cut[0]) else cut[0].start
    limit = lengths.max_prompt_len
    if limit is not None and before > limit:
        cut = [_later(side, before - limit) for side in cut]
    longest = max(len(side.ids) for side in cut)
    if longest > lengths.sequence_len:
        cut = _cut(cut, longest, lengths)
    if not cut:
        lost.too_long += 1
        lost.long_tokens += longest
        lost.trained_tokens += _answers(sides)
    elif sum(len(side.ids) for side in cut) < sum(len(_without_tail(side, lengths).ids) for side in sides):
        lost.truncated += 1
        lost.trained_tokens += _answers(sides) - _answers(cut)
    return cut


def _cut(sides: list[Side], longest: int, lengths: Lengths) -> list[Side]:
    limit, strategy = lengths.sequence_len, lengths.excess_length_strategy
    if strategy == "error":
        raise ValueError(f"{longest} tokens, more than sequence_len: {limit}")
    if strategy != "truncate" or _asks(sides[0]):
        return []
    if lengths.truncation_side == "left":
        sides = [_later(side, longest - limit) for side in sides] if sides[0].start > longest - limit else []
        return sides
    cut = [Side(side.ids[:limit], side.start, min(side.end, limit)) for side in sides]
    return cut if sides[0].start < limit else []


def _asks(side: Side) -> bool:
    return side.start == side.end


def _later(side: Side, tokens: int) -> Side:
    return Side(side.ids[tokens:], side.start - tokens, side.end - tokens)


def _without_tail(side: Side, lengths: Lengths) -> Side:
    """Without what a template writes behind the end token, unless the whole text is scored."""
    return side if lengths.keeps_tail else Side(side.ids[: side.end], side.start, side.end)


def _answers(sides: Sequence[Side]) -> int:
    return sum(side.end - side.start for side in sides)


def besides(meaning: Meaning) -> str | None:
    """What a row says besides its tokens, as JSON: whether an answer is good; a question as TRL asks it, with the row's
    other columns."""
    if isinstance(meaning, Judged):
        return json.dumps(meaning.good)
    if isinstance(meaning, Asked):
        return json.dumps({**meaning.columns, "prompt": _prompt(meaning.prompt)}, ensure_ascii=False)
    return None


def _prompt(prompt: Answered) -> Any:
    if isinstance(prompt, Conversation):
        return as_dicts(prompt.messages)
    return "".join(text for text, _ in prompt.pieces)
