"""Answers beside one another: each as it would be alone, ended where its turn ends, drawn by its own seed."""

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.answering.growing import Growing
from finetune.answering.prompt_rows import messages_of, wanted
from finetune.answering.settings import Settings, changed, settings_of
from finetune.answering.writers import Writers
from finetune.answering.writing import Piece, Terms, Writing
from finetune.errors import DataError, UsageError
from finetune.formats import chat
from finetune.formats.meaning import Fields
from finetune.generation import Prompt, answer, answers_to
from tests import tiny

PROMPTS = ("the sea", "a walk home and talk about small things", "you ask I", "calm")


def attentive(model: Any) -> Any:
    """As drawn at random, a model looks at little but the last token."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight *= 12 if "q_proj" in name or "k_proj" in name else 6 if "v_proj" in name or "o_proj" in name else 1
    return model.eval()


@pytest.fixture(scope="module")
def parts(tiny_models: dict[str, Path]) -> tuple[Any, Terms]:
    from transformers import AutoModelForCausalLM

    tokenizer = tiny.tokenizer_of("chatml")
    model = AutoModelForCausalLM.from_pretrained(tiny_models["chatml"]).eval()
    return attentive(model), Terms(tokenizer, frozenset({tokenizer.eos_token_id}), model.device)


def ids(terms: Terms, text: str) -> list[int]:
    return list(terms.tokenizer(text)["input_ids"])


def written(parts: Any, settings: list[Settings], slots: int = 8, alone: bool = False) -> list[Writing]:
    model, terms = parts
    rows = [Writing(ids(terms, text), one) for text, one in zip(PROMPTS, settings, strict=False)]
    writers = Writers(model, terms, 0, slots)
    if alone:
        writers.batch = None
    writers.write(rows)
    return rows


SAMPLED = Settings(9, temperature=1.3, top_p=0.95, top_k=40, min_p=0.01, repetition_penalty=1.2, seed=5)


@pytest.mark.parametrize("settings", [Settings(12), SAMPLED, Settings(9, frequency_penalty=1.5, presence_penalty=0.5)])
def test_an_answer_does_not_hang_on_what_is_written_beside_it(settings: Settings, parts: Any) -> None:
    lengths = [changed(settings, {"max_new_tokens": 4 + 3 * number}) for number in range(4)]
    together = [row.new for row in written(parts, lengths)]
    assert [row.new for row in written(parts, lengths, slots=1)] == together
    assert [row.new for row in written(parts, lengths, slots=2)] == together
    assert [row.new for row in written(parts, lengths, alone=True)] == together
    assert [len(new) for new in together] == [4, 7, 10, 13] and len({tuple(new[:4]) for new in together}) == 4


def test_the_most_likely_answer_is_what_the_library_generates(parts: Any) -> None:
    model, terms = parts
    for row in written(parts, [Settings(12, repetition_penalty=1.3)] * 4):
        given = torch.tensor([row.ids])
        options = {"do_sample": False, "repetition_penalty": 1.3, "eos_token_id": [2], "pad_token_id": 0}
        output = model.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=12, **options)
        assert output[0, len(row.ids) :].tolist() == row.new
    assert terms.tokenizer.pad_token_id is not None


def test_a_model_that_looks_back_only_so_far_is_no_exception(parts: Any) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = MistralConfig(vocab_size=328, num_key_value_heads=2, sliding_window=5, **sizes)
    own = (attentive(MistralForCausalLM(config)), parts[1])
    lengths = [Settings(number) for number in (6, 14, 9, 20)]
    together = [row.new for row in written(own, lengths, slots=2)]
    assert together == [row.new for row in written(own, lengths, alone=True)]


def test_another_seed_draws_otherwise_and_the_same_again(parts: Any) -> None:
    first, again, other = (written(parts, [changed(SAMPLED, {"seed": seed})] * 4) for seed in (5, 5, 6))
    assert [row.new for row in first] == [row.new for row in again] != [row.new for row in other]


def test_an_answer_ends_where_its_turn_ends_and_not_at_its_length(parts: Any) -> None:
    """The model would go on for ever: whatever it says third is made its stop token."""
    model, terms = parts
    third = written(parts, [Settings(40)])[0].new[2]
    rows = [Writing(ids(terms, PROMPTS[0]), Settings(40)) for _ in range(2)]
    Writers(model, Terms(terms.tokenizer, frozenset({third}), terms.device), 0).write(rows)
    assert [(row.ended, len(row.new)) for row in rows] == [("stop", 3)] * 2
    whole = written(parts, [Settings(40)])[0].text
    letter = next(sign for sign in whole[4:] if sign.isalpha())
    named = written(parts, [Settings(40, stop=(letter,))])[0]
    assert named.ended == "stop" and named.text == whole[: whole.index(letter)].strip() and len(named.new) < 40


def test_a_recipes_stop_texts_end_sample_answers_too(parts: Any) -> None:
    from transformers import GenerationConfig

    model, terms = parts
    prompts = [Prompt(text, text=text) for text in PROMPTS[:2]]
    how: dict[str, Any] = {"max_new_tokens": 30, "do_sample": False, "eos_token_id": [324], "pad_token_id": 327}
    how["repetition_penalty"] = 1.4
    wholes = answers_to(prompts, model, terms.tokenizer, GenerationConfig(**how), 2)
    stop = next(sign for sign in wholes[0].text[4:] if sign.isalpha())
    config = GenerationConfig(**how, stop_strings=[stop])
    cut = answers_to(prompts, model, terms.tokenizer, config, 2)
    assert cut == [answer(prompt, model, terms.tokenizer, config) for prompt in prompts]
    assert cut[0].text == wholes[0].text[: wholes[0].text.index(stop)].strip() and cut[0].stopped
    row = Writing(ids(terms, PROMPTS[0]), settings_of(config, 0))
    Writers(model, terms, 327).write([row])
    assert row.text == cut[0].text


@pytest.mark.parametrize("stop", ["STOP", "<|im_end|>"])
def test_a_stop_text_is_never_shown_not_even_its_beginning(stop: str) -> None:
    tokenizer = tiny.tokenizer_of("chatml")
    text = f"the sea ST is calm {stop} and warm"
    shown, growing = "", Growing(tokenizer, (stop,), raw=True)
    for token in tokenizer(text)["input_ids"]:
        growing.add(token)
        shown += growing.fresh()
        assert not shown.endswith(stop[0])
        if growing.stopped:
            break
    assert shown == "the sea ST is calm "


def test_characters_of_several_tokens_appear_whole_and_pieces_make_the_text() -> None:
    tokenizer = tiny.tokenizer_of("chatml")
    text = "  sea 海 and 👩‍👩‍👧 calm\n\n"
    growing, pieces = Growing(tokenizer), []
    for token in tokenizer(text)["input_ids"]:
        growing.add(token)
        pieces.append(growing.fresh())
    growing.close()
    pieces.append(growing.fresh(closed=True))
    assert "".join(pieces) == text.strip() == growing.answer
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_cancelled_answer_frees_its_slot(parts: Any) -> None:
    model, terms = parts
    writers, told = Writers(model, terms, 0, 1), []
    rows = [Writing(ids(terms, text), Settings(30), told.append) for text in PROMPTS]
    for row in rows:
        writers.add(row)
    writers.step()
    writers.cancel(rows[0])
    writers.cancel(rows[2])
    while writers.busy:
        writers.step()
    assert [row.ended for row in rows] == ["cancelled", "length", "cancelled", "length"]
    assert len(rows[0].new) == 1 and rows[2].new == [] and [len(rows[n].new) for n in (1, 3)] == [30, 30]
    assert [piece.ended for piece in told if piece.ended] == ["cancelled", "cancelled", "length", "length"]


def test_answers_that_do_not_fit_into_memory_together_are_written_a_few_at_a_time(
    parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [row.new for row in written(parts, [Settings(9)] * 4)]
    forward = type(parts[0]).forward

    @functools.wraps(forward)
    def small(self: Any, input_ids: Any = None, past_key_values: Any = None, **named: Any) -> Any:
        if input_ids.shape[0] * (past_key_values.get_seq_length() + input_ids.shape[1]) > 30:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, input_ids=input_ids, past_key_values=past_key_values, **named)

    monkeypatch.setattr(type(parts[0]), "forward", small)
    assert [row.new for row in written(parts, [Settings(9)] * 4)] == expected

    @functools.wraps(forward)
    def full(self: Any, **named: Any) -> Any:
        raise MemoryError("no memory")

    monkeypatch.setattr(type(parts[0]), "forward", full)
    for alone in (False, True):
        assert [row.ended for row in written(parts, [Settings(9)] * 2, alone=alone)] == ["failed", "failed"]


def test_pieces_that_were_told_make_the_answer(parts: Any) -> None:
    model, terms = parts
    told: list[Piece] = []
    row = Writing(ids(terms, PROMPTS[1]), changed(SAMPLED, {"max_new_tokens": 40}), told.append)
    Writers(model, terms, 0).write([row])
    assert "".join(piece.text for piece in told) == row.text and told[-1].ended == row.ended


def test_a_setting_that_cannot_be_is_named() -> None:
    for given, said in (
        ({"temperature": -1}, "temperature must be a number from 0 to 100"),
        ({"temperature": True}, "not True"),
        ({"top_p": 0}, "above 0"),
        ({"top_k": 1.5}, "a whole number"),
        ({"stop": [""]}, "none of them empty"),
        ({"warmth": 1}, "no setting 'warmth'"),
    ):
        with pytest.raises(ValueError, match=said):
            changed(Settings(1), given)


def test_a_file_of_prompts_is_answered_in_order_and_goes_on_where_it_was_stopped(
    trained_run: Path, finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": text, "id": number, "max_new_tokens": 3 + number} for number, text in enumerate(PROMPTS)]
    rows.append({"messages": [{"role": "user", "content": "calm"}], "system": "be brief", "temperature": 1.5})
    prompts, answers = tmp_path / "prompts.jsonl", tmp_path / "answers.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    order = ("generate", trained_run, "--prompts", prompts, "--output", answers, "--at-once", 1)
    code, out, err = finetune(*order)
    assert code == 0 and "5 answers" in out, err
    found = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [row.get("id") for row in found] == [0, 1, 2, 3, None]
    assert all(
        row["ended"] in ("stop", "length") and row["answer_tokens"] <= row.get("max_new_tokens", 8) for row in found
    )
    whole = answers.read_bytes()
    assert finetune(*order)[0] == 2  # never replaced unasked

    step, seen = Writers.step, []

    def stopped(self: Writers) -> None:
        seen.append(self)
        if len(seen) == 8:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(Writers, "step", stopped)
    code, _, err = finetune(*order, "--overwrite")
    assert code == 130 and "answers are kept; the same command goes on" in err
    assert answers.read_bytes() == whole
    code, out, _ = finetune(*order, "--overwrite")
    assert code == 0 and "kept from before" in out and answers.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_every_line_that_cannot_be_asked_is_named(trained_run: Path, finetune: Any, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    lines = ['{"prompt": "x", "temprature": 1}', "no", '{"messages": []}', '{"prompt": "x", "seed": 1.5}', '{"id": 1}']
    lines += ['{"messages": [{"role": "assistant", "content": "x"}]}', '{"prompt": "x", "answer": "y"}']
    prompts.write_text("\n".join(lines))
    code, _, err = finetune("generate", trained_run, "--prompts", prompts, "--output", tmp_path / "a.jsonl")
    assert code == 4
    for number, said in enumerate(("did you mean 'temperature'", "no JSON", "at least one", "seed must be"), 1):
        assert f"prompts.jsonl:{number}:" in err and said in err
    assert "either `prompt`" in err and "this one has id" in err and "nothing to answer" in err and "Rename it" in err
    prompts.write_text(json.dumps({"prompt": "sea " * 2000}))
    code, _, err = finetune("generate", trained_run, "--prompts", prompts, "--output", tmp_path / "a.jsonl")
    assert code == 4 and "room for 1024" in err and "prompts.jsonl:1" in err


def test_prompts_come_from_lists_tables_and_pipes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    given = {
        "a.json": '[{"prompt": "sea", "id": "7"},\n {"conversations": [{"from": "human", "value": "sea"}]}]',
        "b.csv": 'prompt,id,temperature\n"sea, calm\nwarm",007,0.5\n5,,\n',
        "c.txt": "\ufeffsea\r\n\r\n{calm}\r\n",
    }
    for name, text in given.items():
        (tmp_path / name).write_text(text, "utf-8")
    first, second = wanted(tmp_path / "a.json", "chat_template", Settings(5, seed=1))
    assert first.prompt.messages == second.prompt.messages and [first.number, second.number] == [1, 2]
    first, second = wanted(tmp_path / "b.csv", "chat_template", Settings(5, seed=1))
    assert first.prompt.question == "sea, calm\nwarm" and first.row["id"] == "007" and first.settings.temperature == 0.5
    assert second.prompt.question == "5" and second.settings == Settings(5, seed=1 + second.number)
    assert [row.prompt.question for row in wanted(tmp_path / "c.txt", "completion", Settings(5))] == ["sea", "{calm}"]
    for text, count in (("sea\ncalm\n", 2), ('{"prompt": "sea"}\n', 1)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert len(wanted(Path("-"), "chat_template", Settings(5))) == count


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"prompt": "x", "tools": 5}', "a.jsonl:1:1: error: `tools` is a number"),
        ("a.jsonl", '{"messages": [{"role": "wizard", "content": "x"}]}', "role 'wizard' is not known"),
        ("a.jsonl", '{"system": "s", "messages": [{"role": "system", "content": "x"}]}', "leave one out"),
        ("a.jsonl", '{"prompt": "x \\ud83d"}', "character 3 is half of one"),
        ("a.jsonl", '{"system": "\\ud83d", "prompt": "x"}', "character 1 is half of one"),
        ("a.jsonl", "\n\n", "holds no prompt"),
        ("a.json", "{", "a.json:1:1: error: no JSON"),
        ("a.json", '{"prompt": "x"}', "a list of rows is expected"),
        ("a.json", "[1]", "row 1: a row is a JSON object"),
        ("a.csv", "prompt,b\n1,2,3\n", "a.csv:2:1: error: 3 cells, and 2 columns"),
        ("a.csv", "prompt,prompt\n1,2\n", "there twice"),
    ],
)
def test_a_prompt_that_cannot_be_asked_says_why(name: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=re.escape(said)):
        wanted(tmp_path / name, "chat_template", Settings(5))
    with pytest.raises(UsageError, match=r"\.csv"):
        wanted(tmp_path / "a.parquet", "chat_template", Settings(5))


def test_messages_are_read_as_rows_of_training_data_are() -> None:
    """A template must see the arguments of a call as it saw them in training: as values, and not as JSON text."""
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"place": "sea"}'}}
    turns: list[Any] = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "the "}, {"type": "text", "text": "sea?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "calm", "tool_call_id": "1"},
    ]
    assert messages_of(turns) == chat.read({"messages": turns}, Fields()).messages
    found = messages_of(turns)
    assert [turn.role for turn in found] == ["system", "user", "assistant", "tool"] and found[1].content == "the sea?"
    assert found[2].extra["tool_calls"][0]["function"]["arguments"] == {"place": "sea"}
