"""Any conversation, under every template kept by name: what was rendered is taken apart again, and labels cover exactly
what a model would have to write."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from finetune.formats.meaning import Conversation, Message
from finetune.recipe.labels import NAMED
from finetune.rendering.labels import LabelSettings, labels_of, learned_runs
from finetune.rendering.rows import RowTexts
from finetune.rendering.template import render
from finetune.rendering.templates import set_template
from finetune.rendering.turn_end import find_turn_end
from tests.test_templates import ALL_MARKS, tokenizer_with_every_mark

ODD = [
    "",
    " ",
    "\n\n",
    "\u200b",
    "👩‍👩‍👧",
    "e\u0301",
    "\ufeff",
    "\u200e\u05e9\u05dc",
    "İß",
    "a\n",
    "\u202ex",
    "{{ x }}",
    "</s",
    "🇩🇪",
    "\x00",
]
REWRITES = ("qwen3", "qwen3_5")
"""Of these only the last answer is learned in one example."""


def _plain(text: str) -> bool:
    return not any(mark in text for mark in (*ALL_MARKS, "<s>", "</s>", "<think", "</think", "ASSISTANT:", "###"))


said = some.one_of(some.text(alphabet=some.characters(codec="utf-8"), max_size=10), some.sampled_from(ODD)).filter(
    _plain
)
talks = some.lists(some.tuples(said, said), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Any]:
    """Each with one of the templates."""
    made = {}
    for name in NAMED:
        made[name] = tokenizer_with_every_mark()
        set_template(name=name, jinja=None, tokenizer=made[name])
    return made


def conversation(talk: list[tuple[str, str]], system: str | None) -> Conversation:
    turns = [Message(role, text) for pair in talk for role, text in zip(("user", "assistant"), pair, strict=True)]
    return Conversation((*([] if system is None else [Message("system", system)]), *turns))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.sampled_from(NAMED), talks, some.none() | said)
@example("gemma", [("👩‍👩‍👧", " \u200b")], "\n")
@example("llama2", [("", "")], "")
def test_what_is_rendered_parses_back_and_only_answers_are_learned(
    tokenizers: dict[str, Any], name: str, talk: list[tuple[str, str]], system: str | None
) -> None:
    tokenizer = tokenizers[name]
    end = find_turn_end(tokenizer)
    rewrites = name in REWRITES
    texts = RowTexts(tokenizer, LabelSettings(multiturn="last" if rewrites else "all"))
    meaning = conversation(talk, system)
    (text,) = texts.texts(meaning)
    assert text.text == render(tokenizer, meaning.messages)
    # Each learned stretch is an answer as it was said, through its end token.
    stretches = [text.text[start:stop] for start, stop in text.spans]
    answers = [answer for _, answer in talk][-1 if rewrites else 0 :]
    assert len(stretches) == len(answers)
    for stretch, answer in zip(stretches, answers, strict=True):
        assert stretch.endswith(end.text)
        assert re.sub(r"\s*(<think>)?\s*</think>\s*", "", stretch.removesuffix(end.text)).strip() == answer.strip()
    # The rest is what the template writes around other answers of as many turns.
    numbers = range(len(text.spans))
    rest = [
        text.text[a:b]
        for a, b in zip([0, *(s[1] for s in text.spans)], [*(s[0] for s in text.spans), None], strict=True)
    ]
    others = list(talk)
    for number in numbers:
        place = len(talk) - len(answers) + number
        others[place] = (talk[place][0], f"Zq{number}")
    (other,) = texts.texts(conversation(others, system))
    spans = other.spans
    assert rest == [
        other.text[a:b] for a, b in zip([0, *(s[1] for s in spans)], [*(s[0] for s in spans), None], strict=True)
    ]
    # Tokens: learned if, and only if, one of their characters is.
    encoded = tokenizer(text.text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    starts, ends = [start for start, _ in offsets], [stop for _, stop in offsets]
    labels = labels_of(ids, learned_runs(ids, starts, ends, text.spans, texts.specials.ids))
    wanted = {place for span in text.spans for place in range(*span)}
    for token, label, (start, stop) in zip(ids, labels, offsets, strict=True):
        assert (label == token) == bool(wanted & set(range(start, stop)))
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text.text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.sampled_from([name for name in NAMED if name not in REWRITES]), talks)
def test_one_example_of_each_answer_learns_what_one_example_of_all_does(
    tokenizers: dict[str, Any], name: str, talk: list[tuple[str, str]]
) -> None:
    meaning = conversation(talk, None)
    (whole,) = RowTexts(tokenizers[name], LabelSettings()).texts(meaning)
    parts = RowTexts(tokenizers[name], LabelSettings(multiturn="explode")).texts(meaning)
    assert [whole.text[start:stop] for start, stop in whole.spans] == [
        part.text[start:stop] for part in parts for start, stop in part.spans
    ]
    assert all(whole.text.startswith(part.text[: part.spans[-1][1]]) for part in parts)
