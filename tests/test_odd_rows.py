"""What nobody means to learn from is said: rows twice, rows measured on too, answers without a word, wrong letters,
roles the wrong way round. A proof looks at every row for it."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.data.warned import warnings_of
from finetune.formats.answers import Answered
from finetune.formats.judged import label_of
from finetune.formats.meaning import BadRow, Conversation, Fields, Message, Row, Segments
from finetune.machine import assumed
from finetune.proving.prove import proved
from finetune.recipe.load import load_recipe
from finetune.rendering.examples import tokenize_rows
from finetune.rendering.odd import oddities
from finetune.resolve import resolve
from tests.test_prepare import prepared, source
from tests.test_proving_faults import ASKS, CHATML, checks_until, recipe_file


def chat(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def file(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


ASKED, SAYS, NOTHING = Message("user", "a"), Message("assistant", "b"), Message("assistant", " \n")
CALLS = Message("assistant", "", extra={"tool_calls": [{"function": {"name": "f"}}]})


@pytest.mark.parametrize(
    ("meaning", "kinds"),
    [
        (Conversation((ASKED, SAYS)), ()),
        (Conversation((ASKED, NOTHING)), ("empty",)),
        (Conversation((ASKED, Message("assistant", "", learned=False), ASKED, SAYS)), ()),
        (Conversation((ASKED, CALLS, Message("tool", "1"), SAYS)), ()),
        (Conversation((ASKED, Message("assistant", "", extra={"reasoning_content": "hm"}))), ()),
        (Conversation((SAYS, ASKED)), ("open",)),
        (Conversation((ASKED, SAYS, Message("user", "b", learned=False))), ()),
        (Segments((("asked", False), (" ", True))), ("empty",)),
        (Segments((("asked", False), ("said", True))), ()),
        (Conversation((ASKED, Message("assistant", "fÃ¼r"))), ("garbled",)),
        (Conversation((ASKED, Message("assistant", "a \ufffd b"))), ("garbled",)),
        (Conversation((ASKED, Message("assistant", "NÃO, São Paulo, Århus, «Ã», für, 日本"))), ()),
    ],
)
def test_what_is_odd_about_a_row(meaning: Conversation | Segments, kinds: tuple[str, ...]) -> None:
    assert oddities(meaning, ("assistant",)) == kinds


def test_a_turn_of_a_role_that_is_learned_may_be_the_last() -> None:
    assert oddities(Conversation((SAYS, ASKED)), ("assistant", "user")) == ()
    assert oddities(Conversation((SAYS, ASKED)), None) == ()


def test_rows_that_are_learned_twice_or_measured_on_too_are_named(tmp_path: Path) -> None:
    rows = [chat(f"q{number}", f"a{number}") for number in range(6)]
    train = file(tmp_path / "train.jsonl", [*rows, rows[1]])
    test = file(tmp_path / "test.jsonl", [rows[0], chat("new", "row")])
    both = [source(train), source(test, "validation", 1)]
    twice, measured = prepared(tmp_path, both).notes
    assert twice.startswith("warning: 1 of 7 training rows") and "train.jsonl row 7)" in twice
    assert measured.startswith("warning: 1 of 2 validation rows are trained on too") and "test.jsonl row 1)" in measured
    alone = prepared(tmp_path, both, deduplicate=True)
    assert not [note for note in alone.notes if "warning" in note]
    assert {purpose: one.rows for purpose, one in alone.counted.items()} == {"train": 5, "validation": 2}
    assert prepared(tmp_path, [source(file(tmp_path / "fine.jsonl", rows), weight=2)]).notes == []


def test_answers_without_a_word_and_roles_the_wrong_way_round_are_counted(tmp_path: Path) -> None:
    swapped = [{"messages": chat("", "")["messages"][::-1]} for _ in range(4)]
    for number, row in enumerate(swapped):
        row["messages"][0]["content"] = row["messages"][1]["content"] = f"said {number}"
    made = prepared(tmp_path, [source(file(tmp_path / "swapped.jsonl", swapped))])
    assert ["4 of 4 rows end with a turn that is not learned" in one for one in warnings_of(made.counted["train"])] == [
        True
    ]
    some = [chat("q", "a"), chat("r", ""), chat("s", "b")]
    made = prepared(tmp_path, [source(file(tmp_path / "some.jsonl", some))])
    assert ["1 of 3 rows have an answer without a word" in one for one in warnings_of(made.counted["train"])] == [True]


def word_pieces() -> Any:
    """A tokenizer that knows a few words, and no letter beside them."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {text: number for number, text in enumerate(["[UNK]", "[SEP]", "it", "is", "well"])}
    rules = Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]"))
    rules.pre_tokenizer = pre_tokenizers.Whitespace()
    # A pad token that is chosen among those there are stands in no text.
    return PreTrainedTokenizerFast(tokenizer_object=rules, unk_token="[UNK]", eos_token="[SEP]", pad_token="[UNK]")


def test_rows_that_the_tokenizer_cannot_write_are_counted() -> None:
    rows = [Row("d", number, Segments(((text, True),))) for number, text in enumerate(["it is well", "it is ill"])]
    made = tokenize_rows(rows=rows, tokenizer=word_pieces(), lengths={"sequence_len": 9}, labels=[{}])
    assert ["1 of 2 rows hold letters that this tokenizer" in one for one in warnings_of(made.counted)] == [True]


def test_a_preference_needs_a_question_and_not_a_system_message_alone() -> None:
    row = {"question": "q", "system": "be kind", "chosen": "yes", "rejected": "no"}
    with pytest.raises(BadRow, match=r"no question before the answer in `chosen`; the row has `question`"):
        Answered(prompt=("prompt",)).answered(row, "chosen", Fields())


@pytest.mark.parametrize("label", ["1", "yes", "True", "good", 1, True])
def test_labels_of_a_table_are_read_as_people_write_them(label: Any) -> None:
    assert label_of({"label": label}, Fields()) is True


@pytest.mark.parametrize(("lines", "seeded"), [("", 0), ("tokens: ['<x>']", 1)])
def test_embeddings_of_added_tokens_are_drawn_by_the_seed(tmp_path: Path, lines: str, seeded: int) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"base_model: org/m\ndatasets: [{{path: org/d, type: completion}}]\noutput_dir: o\n{lines}\n")
    plan = resolve(load_recipe(path).recipe, assumed())
    assert sum(call.target.endswith(".set_seed") for call in plan.stage("load")) == seeded


@pytest.mark.slow
def test_tokens_that_a_recipe_adds_are_no_fault_of_its_proof(tmp_path: Path) -> None:
    data = [{"path": str(file(tmp_path / "rows.jsonl", ROWS)), "type": "chat_template"}]
    changes = {"adapter": None, "lora_r": None, "tokens": ["<extra>"], "chat_template": "jinja"}
    changes["chat_template_jinja"] = (CHATML + ASKS).replace("<|im_end|>", "<extra>")
    assert proved(recipe_file(tmp_path, datasets=data, **changes), [], None).passed


ROWS = [chat(f"how is {number}", f"it is {number} well") for number in range(16)]


@pytest.mark.parametrize(
    ("last", "wrong", "warned"),
    [
        (ROWS[0], "", "1 of 17 training rows say what an earlier one says"),
        ({"messages": [{"role": "user", "content": "q"}, {"role": "asistant", "content": "a"}]}, "{assistant: [as", ""),
        (chat("q", ""), "", "without a word"),
    ],
    ids=["twice", "misspelt role", "empty"],
)
def test_a_proof_looks_at_the_last_row_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: dict[str, Any], wrong: str, warned: str
) -> None:
    monkeypatch.setattr("finetune.proving.checks.ORDER", checks_until("every_row"))
    path = file(tmp_path / "rows.jsonl", [*ROWS, last])
    data = [{"path": str(path), "type": "chat_template"}]
    report = proved(recipe_file(tmp_path, datasets=data, lora_alpha=4096), [], None)
    assert [line.check for line in report.failed] == ["every row"] * bool(wrong)
    assert wrong in "".join(line.said for line in report.failed)
    of_recipe, *of_rows = report.warned
    assert "multiplies what the adapter says by 512" in of_recipe.said
    assert [warned in line.said for line in of_rows] == [True] * bool(warned)
    assert report.passed is not bool(wrong)
    report.strict = True
    assert not report.passed, "--strict counts warnings"
