"""What people are shown is what is trained: pieces are the row's text, and marks lie where the labels say."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.preview.looks import IGNORED, SourceFigures, ends_of, histogram, pieces_of
from finetune.preview.page import page
from finetune.preview.report import Report, gather
from finetune.preview.snapshot import difference, snapshot
from finetune.preview.terminal import row_text, sparkline
from tests import tiny

TOKENIZER = tiny.tokenizer_of("chatml")
TEXT = "<|im_start|>user\nhow are you 😀?<|im_end|>\n<|im_start|>assistant\nwell, 日本 & <b>you</b><|im_end|>\n"


def example(learned_from: int = 5) -> tuple[list[int], list[int]]:
    ids = TOKENIZER(TEXT, add_special_tokens=False)["input_ids"]
    return ids, [token if place >= learned_from else IGNORED for place, token in enumerate(ids)]


def report(*rows: tuple[str, int, list[int], list[int]]) -> Report:
    return Report("r.yaml", {"training": gather(rows, TOKENIZER, 2)}, {"template": "chatml"}, "abc")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.integers(0, 2**32))
def test_the_pieces_of_a_row_are_its_text_and_every_token_has_its_label(text: str, seed: int) -> None:
    text = text.encode("utf-8", "ignore").decode()
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    rng = random.Random(seed)
    labels = [token if rng.random() < 0.5 else IGNORED for token in ids]
    pieces = pieces_of(ids, labels, TOKENIZER)
    assert [token for piece in pieces for token in piece.ids] == ids
    learned = [piece.learned for piece in pieces for _ in piece.ids]
    assert learned == [label != IGNORED for label in labels]
    whole = pieces_of(ids, ids, TOKENIZER)
    assert "".join(piece.text for piece in whole) == TOKENIZER.decode(ids)


@pytest.mark.parametrize("family", list(tiny.SENTENCEPIECE))
def test_the_spaces_before_words_are_shown_by_tokenizers_that_begin_a_text_without_one(family: str) -> None:
    tokenizer = tiny.sentencepiece_tokenizer(family)
    text = "how are you 😀? the sun is warm"
    ids = tokenizer(f"{tokenizer.bos_token}{text}", add_special_tokens=False)["input_ids"]
    shown = "".join(piece.text for piece in pieces_of(ids, ids, tokenizer))
    assert shown.removeprefix(tokenizer.bos_token).strip() == text


def test_the_end_of_each_learned_stretch_is_marked() -> None:
    assert list(ends_of([IGNORED, 1, 2, IGNORED, 3])) == [2, 4]
    ids, labels = example()
    marked = [piece.text for piece in pieces_of(ids, labels, TOKENIZER) if piece.ends]
    assert marked == ["\n"]


def test_figures_add_up_and_count_what_ends_learned_stretches() -> None:
    ids, labels = example()
    purpose = gather([("a", 1, ids, labels), ("a", 2, ids, labels), ("b", 1, ids, ids)], TOKENIZER, 1)
    assert (purpose.rows, purpose.tokens) == (3, 3 * len(ids))
    assert purpose.learned == 2 * (len(ids) - 5) + len(ids)
    assert purpose.figures["a"].common_ends() == [("\n", 2)]
    assert [(row.source, row.number) for row in purpose.shown] == [("a", 1), ("b", 1)]


def test_the_page_holds_every_character_escaped_and_loads_nothing() -> None:
    ids, labels = example()
    text = page(report(("<a>", 1, ids, labels)))
    assert "&lt;" in text and "<b>you" not in text and "&lt;a&gt;" in text and "日" in text
    assert "http" not in text and "src=" not in text and "<script" not in text


def test_what_no_screen_shows_is_made_visible_and_signs_stay_whole() -> None:
    hidden = "a\u200bb\u202ec\x1b[31m\x00\ufeff"
    family = "👩\u200d👩\u200d👧 شكرا"
    ids = TOKENIZER(hidden + family, add_special_tokens=False)["input_ids"]
    shown = report(("a", 1, ids, ids))
    text, (row,) = page(shown), shown.purposes["training"].shown
    for plain in (text, row_text(row).plain):
        assert not set(plain) & set("\u200b\u202e\x1b\x00\ufeff")
        assert all(name in plain for name in ("‹200B›", "‹202E›", "‹FEFF›", "␛[31m".split("[")[0], "␀"))
    assert "".join(piece.text for piece in row.pieces) == hidden + family


def test_sources_that_lost_every_row_are_shown_and_all_are_summed_up() -> None:
    ids, labels = example()
    shown = report(("a", 1, ids, labels), ("b", 1, ids, labels))
    purpose = shown.purposes["training"]
    purpose.figures["gone"] = SourceFigures(dropped=7, unlearned=3)
    text = page(shown)
    assert "<td>gone</td>" in text and 'data-is="dropped">7<' in text and 'data-is="silent">3<' in text
    together = purpose.together()
    assert (together.rows, together.tokens, together.dropped) == (2, 2 * len(ids), 7)
    assert f'data-is="tokens">{2 * len(ids):,}<' in text


def test_the_terminal_shows_the_whole_row() -> None:
    ids, labels = example()
    (row,) = report(("a", 1, ids, labels)).purposes["training"].shown
    assert row_text(row).plain.replace("⏎", "").replace("◀", "") == TEXT
    assert len(sparkline([1, 5, 9, 100])) == len(histogram([1, 5, 9, 100], 12))


def test_a_snapshot_changes_with_any_token_or_label_and_with_nothing_else() -> None:
    def of(ids: list[int], labels: list[int]) -> str:
        return snapshot(report(("a", 1, ids, labels)), 2)

    ids, labels = example()
    kept = of(ids, labels)
    assert of(list(ids), list(labels)) == kept
    assert "+" in difference(kept, of(ids, [*labels[:-1], IGNORED]), "s")
    assert of([*ids[:-1], ids[0]], labels) != kept
    assert difference(kept, kept, "s") == ""


@pytest.mark.parametrize("lengths", [[], [0], [1], [3, 3, 3], list(range(1000))])
def test_a_histogram_counts_every_row_once(lengths: list[int]) -> None:
    bars = histogram(lengths)
    assert sum(bar.rows for bar in bars) == len(lengths)
    assert all(bar.low < bar.high for bar in bars)
