"""Rows that are too long or too short: what is kept of them is exact, what is lost is counted and has a limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.errors import DataError
from finetune.rendering.lengths import IGNORED, Joiner, Lengths, Lost, loss_text, pieces_of, refuse_losses

LABELS = st.lists(st.sampled_from([IGNORED, 1, 2, 3]), min_size=1, max_size=60)


def learned(labels: list[int]) -> int:
    return sum(label != IGNORED for label in labels)


@given(LABELS, st.sampled_from(["drop", "truncate", "split"]), st.sampled_from(["left", "right"]), st.integers(0, 5))
def test_learned_tokens_are_kept_or_counted_as_lost(labels: list[int], strategy: str, side: str, least: int) -> None:
    lost = Lost()
    pieces = pieces_of(labels, Lengths(8, strategy, side, least), False, lost)
    assert all(least <= end - start <= 8 for start, end in pieces)
    assert sum(learned(labels[start:end]) for start, end in pieces) + lost.trained_tokens == learned(labels)
    assert (len(pieces) == 0) == (lost.dropped == 1)
    if len(labels) > 8 and pieces:
        assert (lost.truncated, lost.divided) == ((1, 0) if strategy == "truncate" else (0, 1))


def test_each_strategy_keeps_what_it_says() -> None:
    labels = list(range(1, 11))

    def kept(strategy: str, **settings: object) -> list[tuple[int, int]]:
        return pieces_of(labels, Lengths(4, strategy, **settings), bool(settings.get("text_chunks")), Lost())  # type: ignore[arg-type]

    assert kept("drop") == []
    assert kept("truncate") == [(0, 4)]
    assert kept("truncate", truncation_side="left") == [(6, 10)]
    assert kept("split") == [(0, 4), (4, 8), (8, 10)]
    assert kept("split", min_sample_len=3) == [(0, 4), (4, 8)]
    assert kept("drop", text_chunks="document") == [(0, 4), (4, 8), (8, 10)]
    assert kept("drop", text_chunks="whole") == []
    with pytest.raises(ValueError, match="10 tokens, more than sequence_len: 4"):
        kept("error")


@given(st.lists(st.lists(st.integers(1, 99), max_size=30), max_size=12), st.integers(1, 10))
def test_joined_texts_lose_no_token_and_fill_every_piece(texts: list[list[int]], limit: int) -> None:
    joiner = Joiner(limit)
    parts = [part for text in texts for part in joiner.add(text, [-token for token in text])] + list(joiner.rest())
    assert [token for ids, _ in parts for token in ids] == [token for text in texts for token in text]
    assert all(labels == [-token for token in ids] for ids, labels in parts)
    assert all(len(ids) == limit for ids, _ in parts[:-1])


def test_too_large_a_share_stops_the_run_and_says_what_to_do() -> None:
    sources = {"a": Lost(rows=10, too_long=2), "b": Lost(rows=10, too_short=3, trained_tokens=1234), "c": Lost()}
    refuse_losses(sources, 0.3)
    with pytest.raises(DataError) as caught:
        refuse_losses(sources, 0.2)
    assert len(caught.value.faults) == 1
    assert "b: error: 3 of 10 rows dropped (3 too short), 1,234 trained tokens lost" in str(caught.value)
    assert "lower min_sample_len" in str(caught.value)
    assert "2 cut, 1 split" in loss_text(Lost(rows=5, truncated=2, divided=1))
