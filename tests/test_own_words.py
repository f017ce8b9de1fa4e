"""What a row itself says, and what its format or template adds: end tokens, special-token text, spans, templates."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import DataError
from finetune.formats import FORMATS, detect
from finetune.formats.meaning import BadRow, Conversation, Fields, Message, Row, Segments
from finetune.generation import prompt_ids, sample_prompts
from finetune.rendering.examples import IGNORED, Tokenized, tokenize_rows
from finetune.rendering.labels import LabelSettings
from finetune.rendering.rows import RowTexts
from tests import tiny

END = "<|endoftext|>"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny.tokenizer_of("chatml")


def tokenize(tokenizer: Any, *meanings: Any, **labels: Any) -> Tokenized:
    rows = [Row("d", number, meaning) for number, meaning in enumerate(meanings, 1)]
    return tokenize_rows(rows=rows, tokenizer=tokenizer, lengths={"sequence_len": 4096}, labels=[labels])


def alpaca(answer: str, question: str = "q") -> Segments:
    meaning: Segments = FORMATS["alpaca"].read({"instruction": question, "output": answer}, Fields())
    return meaning


def test_an_answer_that_ends_with_the_end_token_gets_no_second(tokenizer: Any) -> None:
    end = tokenizer.eos_token_id
    done = tokenize(tokenizer, alpaca("yes"), alpaca(f"yes{END}"), alpaca(END), alpaca(f"{END} yes")).examples
    assert done[0] == tokenize(tokenizer, alpaca("yes")).examples[0]
    assert (done[0].input_ids, done[0].labels) == (done[1].input_ids, done[1].labels)
    assert [example.input_ids.count(end) for example in done] == [1, 1, 1, 2]
    assert all(example.labels[-1] == end for example in done)
    text = FORMATS["completion"].read({"text": f"once{END}"}, Fields())
    assert tokenize(tokenizer, text).examples[0].input_ids.count(end) == 1
    # Kept as text, it is no end token.
    kept = tokenize(tokenizer, alpaca(f"yes{END}"), special_tokens_in_content="text").examples[0]
    assert kept.input_ids.count(end) == 1 and len(kept.input_ids) > len(done[0].input_ids) + 2


def test_metharmes_answers_end_with_three_end_tokens(tokenizer: Any) -> None:
    row = {"prompt": "<|user|>q<|model|>", "generation": "a"}
    assert FORMATS["metharme"].matches(row)
    for answer in ("a", f"a{END}"):
        (example,) = tokenize(tokenizer, FORMATS["metharme"].read(row | {"generation": answer}, Fields())).examples
        assert example.labels[-3:] == [tokenizer.eos_token_id] * 3 and example.labels[-4] != tokenizer.eos_token_id


@pytest.mark.parametrize("form", ["alpaca", "alpaca:chatml", "reflection:instruct", "completion", "prompt_completion"])
def test_special_token_text_in_rows_without_messages_is_counted_kept_or_refused(form: str, tokenizer: Any) -> None:
    forged = "x<|im_end|>y"
    rows = {
        "completion": {"text": forged},
        "prompt_completion": {"prompt": forged, "completion": "a"},
        "reflection:instruct": {"instruction": "q", "output": "a", "reflection": forged, "corrected": "c"},
    }
    meaning = FORMATS[form].read(rows.get(form, {"instruction": forged, "output": "a"}), Fields())
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    own = "".join(piece for piece, _ in meaning.pieces).count("<|im_end|>") - 1  # those of the format's wording
    parsed = tokenize(tokenizer, meaning)
    assert parsed.counted.special == {"d": {1: ("<|im_end|>",)}}
    assert parsed.examples[0].input_ids.count(end) == own + 1
    kept = tokenize(tokenizer, meaning, special_tokens_in_content="text")
    assert kept.examples[0].input_ids.count(end) == own and not kept.counted.special
    assert tokenizer.decode(kept.examples[0].input_ids) == tokenizer.decode(parsed.examples[0].input_ids)
    with pytest.raises(DataError, match=r"row 1: its content holds special-token text: <\|im_end\|>"):
        tokenize(tokenizer, meaning, special_tokens_in_content="error")


def test_reasoning_tools_and_their_calls_cannot_forge_a_turn_either(tokenizer: Any) -> None:
    tokenizer = tiny.tokenizer_of("chatml")
    tokenizer.chat_template = (
        "{% if tools %}<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
        "{% if m.get('reasoning_content') %}<think>{{ m['reasoning_content'] }}</think>{% endif %}{{ m['content'] }}"
        "{% if m.get('tool_calls') %}{{ m['tool_calls'] | tojson }}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    calls = [{"function": {"name": "f", "arguments": {"x": 'say "<|im_end|>"\n'}}}]
    answer = Message("assistant", "a", extra={"reasoning_content": "hm<|im_end|>", "tool_calls": calls})
    tools = ({"name": "f", "description": "ends with <|im_end|>"},)
    talk = Conversation((Message("user", "q"), answer), tools)
    parsed = tokenize(tokenizer, talk)
    assert parsed.counted.special == {"d": {1: ("<|im_end|>",)}} and parsed.examples[0].input_ids.count(end) == 6
    (kept,) = tokenize(tokenizer, talk, special_tokens_in_content="text").examples
    assert kept.input_ids.count(end) == 3
    assert tokenizer.decode(kept.input_ids) == tokenizer.decode(parsed.examples[0].input_ids)
    with pytest.raises(DataError, match="special-token text"):
        tokenize(tokenizer, talk, special_tokens_in_content="error")
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{{ m['reasoning_content'] }}", "{{ m['reasoning_content'][::-1] }}"
    )
    with pytest.raises(DataError, match="in a place that cannot be told"):
        backwards = Message("assistant", "a", extra={"reasoning_content": "<|im_end|>hm"})
        tokenize(tokenizer, Conversation((Message("user", "q"), backwards)), special_tokens_in_content="text")


def test_an_empty_turn_that_the_template_leaves_out_costs_no_row() -> None:
    tokenizer = tiny.tokenizer_of("phi")
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{% for m in messages %}", "{% for m in messages if m['content'] or m['role'] != 'system' %}"
    )
    talk = Conversation((Message("system", ""), Message("user", "q"), Message("assistant", "a")))
    for labels in ({"train_on_inputs": True}, {"train_on_eos": "all"}):
        (text,) = RowTexts(tokenizer, LabelSettings(**labels)).texts(talk)
        assert "".join(text.text[start:end] for start, end in text.spans).endswith("a<|end|>")


CUT = "caf\u0065\u0301 \U0001f469\u200d\U0001f469\u200d\U0001f467 a\u200bb end"


def test_a_token_with_a_masked_character_is_not_learned_and_the_end_is(tokenizer: Any) -> None:
    """Over combining characters, an emoji of several, a zero-width space, and in the middle of a token."""
    for border in range(1, len(CUT)):
        spans = ((0, border, True), (border, len(CUT), False))
        talk = Conversation((Message("user", "q"), Message("assistant", CUT, spans=spans)))
        (example,) = tokenize(tokenizer, talk).examples
        (text,) = RowTexts(tokenizer, LabelSettings()).texts(talk)
        offsets = tokenizer(text.text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        first = text.text.index(CUT)
        for (start, end), label in zip(offsets, example.labels, strict=True):
            inside = first <= start and end <= first + border
            at_end = text.text[start:end] == "<|im_end|>" and start == first + len(CUT)
            assert (label != IGNORED) == (inside or at_end), (border, text.text[start:end])
    silent = Conversation((Message("user", "q"), Message("assistant", "a", spans=((0, 1, False),))))
    assert tokenizer.decode([one for one in tokenize(tokenizer, silent).examples[0].labels if one >= 0]) == "<|im_end|>"


def test_a_null_in_json_text_stays_and_one_in_a_column_is_padding() -> None:
    tool = {"name": "f", "parameters": {"x": {"default": None}}}
    turn = {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {"x": None}}]}
    row: dict[str, Any] = {"messages": [{"role": "user", "content": "q"}, turn], "tools": [tool]}
    padded = FORMATS["chat_template"].read(row, Fields())
    assert padded.tools == ({"name": "f", "parameters": {"x": {}}},)
    written = FORMATS["chat_template"].read(
        {"messages": json.dumps(row["messages"]), "tools": json.dumps([tool])}, Fields()
    )
    assert written.tools == (tool,)
    turn["tool_calls"] = json.dumps(turn["tool_calls"])
    read = FORMATS["chat_template"].read(row, Fields())
    assert read.messages[1].extra["tool_calls"] == [{"name": "f", "arguments": {"x": None}}]


def test_messages_kept_as_json_text_are_detected() -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert detect({"messages": json.dumps(turns, indent=1)})[0] == "chat_template"
    assert detect({"chat": "[laughs] hello", "text": "x"})[0] == "completion"


def test_a_prompt_in_pieces_is_tokenized_as_its_row_was(tokenizer: Any) -> None:
    row = {
        "segments": [{"label": False, "text": "the s"}, {"label": False, "text": "un is"}, {"label": True, "text": "w"}]
    }
    meaning = FORMATS["input_output"].read(row, Fields())
    (example,) = tokenize(tokenizer, meaning).examples
    (prompt,) = sample_prompts(prompts=None, from_rows=1, rows=[Row("d", 1, meaning)])
    ids = prompt_ids(prompt, tokenizer)
    assert ids == example.input_ids[: len(ids)] and len(ids) == sum(label == IGNORED for label in example.labels)
    assert ids != tokenizer("the sun is", add_special_tokens=False)["input_ids"]


RECIPE = (
    "datasets:\n  - {{path: one.jsonl, type: chat_template{one}}}\n  - {{path: two.jsonl, type: chat_template{two}}}"
)


@pytest.mark.parametrize(
    ("lines", "saved"),
    [
        (
            RECIPE.format(one=", chat_template: chatml", two=", chat_template: jinja, chat_template_jinja: own.jinja"),
            "chatml",
        ),
        (
            "chat_template: chatml\n"
            + RECIPE.format(one="", two=", chat_template: jinja, chat_template_jinja: own.jinja"),
            "chatml",
        ),
        (
            RECIPE.format(one=", chat_template: jinja, chat_template_jinja: own.jinja", two=", chat_template: chatml"),
            "own",
        ),
        (RECIPE.format(one="", two=", chat_template: jinja, chat_template_jinja: own.jinja"), "tokenizer"),
    ],
)
def test_each_source_may_have_its_own_template(
    lines: str, saved: str, tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    from finetune import stages
    from finetune.backends.loaded import load_tokenizer, tokenizer_part
    from finetune.machine import Machine
    from finetune.recipe.load import load_recipe
    from finetune.resolve import resolve

    own = (
        "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    (tmp_path / "own.jinja").write_text(own)
    for name in ("one", "two"):
        turns = [{"role": "user", "content": name}, {"role": "assistant", "content": "fine"}]
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"base_model: {tiny_models['chatml']}\noutput_dir: out\ndataset_prepared_path: {tmp_path}/kept\n{lines}\n"
    )
    plan = resolve(load_recipe(recipe).recipe, Machine())
    tokenizer, _ = load_tokenizer(tokenizer_part(plan.stage("load")))
    before = tokenizer.chat_template
    prepared = stages.prepare(plan, stages.open_sources(plan), tokenizer)
    texts = {Path(source).stem: tokenizer.decode(ids) for source, _, ids, _ in prepared.rows("train")}
    ours = {"one": "[user]one<|endoftext|>", "two": "[user]two<|endoftext|>"}
    chatml = "<|im_start|>user\n{}<|im_end|>\n"
    with_own = "one" if saved == "own" else "two"
    for name, text in texts.items():
        assert text.startswith(ours[name] if name == with_own else chatml.format(name)), name
    assert (tokenizer.chat_template == own) == (saved == "own")
    assert (tokenizer.chat_template == before) == (saved == "tokenizer")
    assert len(prepared.stop_ids) == 2


def test_no_row_left_says_why(tokenizer: Any) -> None:
    talk = Conversation((Message("user", "q"), Message("assistant", "a")))
    with pytest.raises(DataError, match="roles_to_train: \\[assistant\\]"):
        tokenize(tokenizer, talk, roles_to_train=[])
    with pytest.raises(DataError, match="empty, or shorter"):
        tokenize(tokenizer, FORMATS["completion"].read({"text": ""}, Fields()))
    rows = [Row("d", 1, Conversation((Message("user", "q"),)))]
    with pytest.raises(DataError, match="on_bad_row: skip leaves such rows out"):
        tokenize_rows(rows=rows, tokenizer=tokenizer, lengths={"sequence_len": 64}, labels=[{}], on_bad_row="skip")


def test_roles_in_any_dress_are_known_and_a_templates_own_may_be_named() -> None:
    row = {"messages": [{"role": " Human ", "content": "q"}, {"role": "ASSISTANT", "content": "a"}]}
    read = FORMATS["chat_template"].read(row, Fields())
    assert [message.role for message in read.messages] == ["user", "assistant"]
    row["messages"][0]["role"] = "ipython"
    with pytest.raises(BadRow, match="role 'ipython' is not known"):
        FORMATS["chat_template"].read(row, Fields())
    read = FORMATS["chat_template"].read(row, Fields(roles={"ipython": ["ipython"]}))
    assert read.messages[0].role == "ipython"
