"""Which characters and tokens of a row are learned. Knows turns, spans and offsets; knows no template, no tokenizer and
no length."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from finetune.formats.meaning import Message

IGNORED = -100
"""Label of a token that the loss skips: torch cross_entropy's ignore_index."""
Span = tuple[int, int]
"""Characters [start, end) of a text."""


@dataclass(frozen=True)
class LabelSettings:
    """How one source's rows become text and labels, as the plan says it; every value is JSON.

    `train_on_eos` and `train_on_eot` (`turn`, `all`, `last`, `none`): whose end tokens are learned; the second is for
    an end token that is not the tokenizer's end of sequence, and follows the first where it is None. `multiturn`:
    `all` answers of a conversation in one example, the `last` alone, or `explode`d into one example for each.
    `template`: the source's own chat template, where it has not the tokenizer's."""

    roles_to_train: Sequence[str] = ("assistant",)
    train_on_inputs: bool = False
    train_on_eos: str = "turn"
    train_on_eot: str | None = None
    eot_tokens: Sequence[str] = ()
    drop_system_message: bool = False
    special_tokens_in_content: str = "parse"
    multiturn: str = "all"
    template: str | None = None


def settings_of(values: Mapping[str, Any]) -> LabelSettings:
    """Settings from the plan's arguments; what is left out is at its default."""
    assert set(values) <= {one.name for one in fields(LabelSettings)}, values
    return LabelSettings(**values)


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a turn stands in the text. `start`: where the model would begin to write it; `content` and `content_end`:
    its content; `stripped`: characters that the template strips from the content's beginning; `mark` and `end`: its end
    token (equal where it has none)."""

    start: int
    content: int
    content_end: int
    mark: int
    end: int
    stripped: int = 0


def is_learned(message: Message, settings: LabelSettings) -> bool:
    """What the row says of the message, else whether it has spans, else what the recipe says of its role. Of a message
    with spans its end is learned, and of its content what they say."""
    if message.learned is not None:
        return message.learned
    if message.spans is not None:
        return bool(message.spans)
    return settings.train_on_inputs or message.role in settings.roles_to_train


def spans_of(
    messages: Sequence[Message],
    turns: Sequence[Turn | None],
    learned: Sequence[bool],
    ends: str,
) -> list[Span]:
    """The characters that are learned, in order. `turns`: None where a turn has no place that counts; `ends`: whose end
    tokens are learned, of `train_on_eos` and `train_on_eot` the one that the end token falls under."""
    spans: list[Span] = []
    last: Span | None = None
    for message, turn, wanted in zip(messages, turns, learned, strict=True):
        if turn is None:
            continue
        if wanted and message.spans:
            first = turn.content - turn.stripped
            inside = (
                (max(first + start, turn.content), min(first + end, turn.content_end))
                for start, end, on in message.spans
                if on
            )
            spans += sorted(span for span in inside if span[0] < span[1])
        elif wanted:
            spans.append((turn.start, turn.mark if ends != "turn" else turn.end))
        if turn.mark < turn.end:
            if ends == "all" or (ends == "turn" and wanted and message.spans):
                spans.append((turn.mark, turn.end))
            last = (turn.mark, turn.end) if wanted else last
    if ends == "last" and last is not None:
        spans = sorted([*spans, last])
    return spans


def learned_runs(
    ids: Sequence[int], starts: Sequence[int], ends: Sequence[int], spans: Sequence[Span], special_ids: Collection[int]
) -> list[Span]:
    """The learned tokens as runs, from and to (not included), in order and apart. A token is learned if it has a
    character inside a span; a marker that swallows the space after it is not.

    `starts`, `ends`: of each token, never falling, in the unit of `spans`, which are in order. A token without
    characters is learned between learned ones."""
    runs: list[Span] = []
    place = 0
    for start, end in spans:
        if start >= end:
            continue
        place = bisect_right(ends, start, lo=place)
        after = bisect_left(starts, end, lo=place)
        if place < after and starts[place] < start and ids[place] in special_ids:
            place += 1
        if place < after and runs and place <= runs[-1][1]:
            runs[-1] = (runs[-1][0], after)
        elif place < after:
            runs.append((place, after))
        place = max(place, after - 1)  # the last token may reach into the next span
    return runs


def masked_of(messages: Sequence[Message], turns: Sequence[Turn | None]) -> tuple[Span, ...]:
    """Characters of contents with spans that none of those learns, in order."""
    masked: list[Span] = []
    for message, turn in zip(messages, turns, strict=True):
        if turn is None or not message.spans:
            continue
        at, first = turn.content, turn.content - turn.stripped
        for start, end, on in sorted(message.spans):
            if on and first + end > at:
                masked.append((at, min(first + start, turn.content_end)))
                at = first + end
        masked.append((at, turn.content_end))
    return tuple(span for span in masked if span[0] < span[1])


def without_masked(
    runs: Sequence[Span], starts: Sequence[int], ends: Sequence[int], masked: Sequence[Span]
) -> list[Span]:
    """The runs without tokens that hold a masked character, in the order they had."""
    left: list[Span] = []
    for first, last in runs:
        at = first
        for place in range(first, last):
            if any(starts[place] < end and start < ends[place] for start, end in masked):
                left += [(at, place)] * (at < place)
                at = place + 1
        left += [(at, last)] * (at < last)
    return left


def labels_of(ids: Sequence[int], runs: Sequence[Span]) -> list[int]:
    """The learned tokens themselves, and -100 for the others."""
    labels = [IGNORED] * len(ids)
    for start, end in runs:
        labels[start:end] = ids[start:end]
    return labels
