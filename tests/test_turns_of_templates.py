"""Templates whose turns end in several ways, and rows that bring what a template never writes: nothing is learned that
would not be generated, and nothing is lost in silence."""

from pathlib import Path
from typing import Any

import pytest

from finetune.data.warned import dated
from finetune.errors import DataError, RecipeError
from finetune.formats.meaning import BadRow, Conversation, Message, Row
from finetune.recipe.labels import NAMED
from finetune.recipe.load import load_recipe
from finetune.recipe.template_names import REFUSED, SPELLINGS
from finetune.rendering.examples import Tokenized, tokenize_rows
from finetune.rendering.labels import LabelSettings
from finetune.rendering.rows import RowTexts
from finetune.rendering.templates import set_template
from finetune.rendering.turn_end import find_turn_end
from finetune.rendering.unwritten import unwritten_texts
from tests import tiny

Q, A, Q2, A2 = (
    Message("user", "one"),
    Message("assistant", "two"),
    Message("user", "three"),
    Message("assistant", "four"),
)
CALLED = Message(
    "assistant", "", extra={"tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Rome"}}}]}
)
TOOLS = ({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}},)
# Of the kind of gpt-oss: the last answer ends otherwise than earlier ones, and a call of a tool in a third way.
HARMONY = (
    "{% for m in messages %}<|start|>{{ m['role'] }}<|message|>{{ m['content'] }}"
    "{% if m.get('tool_calls') %}{{ m['tool_calls'][0]['function']['name'] }}<|call|>"
    "{% elif m['role'] == 'assistant' and loop.last %}<|return|>{% else %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
# A thought is opened by the prompt, and gone from earlier answers.
THOUGHT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' and loop.last %}<think>\n"
    "{{ m.get('reasoning_content', '') }}\n</think>\n\n{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def tokenizer_of(template: str, *marks: str, eos: str | None = None) -> Any:
    tokenizer = tiny.tokenizer_of("chatml")
    tokenizer.add_special_tokens({"additional_special_tokens": list(marks)}, replace_extra_special_tokens=False)
    if eos:
        tokenizer.add_special_tokens({"eos_token": eos})
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(scope="module")
def harmony() -> Any:
    return tokenizer_of(HARMONY, "<|start|>", "<|message|>", "<|call|>", "<|end|>", eos="<|return|>")


def learned(tokenizer: Any, *messages: Message, **settings: Any) -> list[str]:
    texts = RowTexts(tokenizer, LabelSettings(**settings)).texts(Conversation(messages))
    return [text.text[start:end] for text in texts for start, end in text.spans]


def tokenized(tokenizer: Any, *meanings: Conversation) -> Tokenized:
    rows = [Row("d", number, meaning) for number, meaning in enumerate(meanings, 1)]
    return tokenize_rows(rows=rows, tokenizer=tokenizer, lengths={"sequence_len": 4096}, labels=[{}])


def test_an_answer_that_ends_unlike_a_last_one_is_learned_only_as_a_last_one(harmony: Any) -> None:
    assert learned(harmony, Q, A) == ["<|message|>two<|return|>"]
    with pytest.raises(BadRow, match=r"turn 2: .* does not end this turn with '<\|return\|>'.*multiturn: explode"):
        learned(harmony, Q, A, Q2, A2)
    exploded = learned(harmony, Q, A, Q2, A2, multiturn="explode")
    assert exploded == ["<|message|>two<|return|>", "<|message|>four<|return|>"]


def test_a_call_of_a_tool_may_end_in_its_own_way_and_generation_stops_there(harmony: Any) -> None:
    row = Conversation((Q, CALLED, Message("tool", "12"), A2))
    texts = RowTexts(harmony, LabelSettings())
    (text,) = texts.texts(row)
    assert [text.text[start:end] for start, end in text.spans] == [
        "<|message|>weather<|call|>",
        "<|message|>four<|return|>",
    ]
    assert set(map(harmony.convert_tokens_to_ids, ("<|call|>", "<|return|>"))) == texts.stop_ids
    assert learned(harmony, Q, CALLED) == ["<|message|>weather<|call|>"]


def test_the_end_of_sequence_behind_another_mark_is_the_end() -> None:
    template = (
        "{% for m in messages %}<|turn|>{{ m['role'] }} <|say|>{{ m['content'] }}<|said|><|over|>{% endfor %}"
        "{% if add_generation_prompt %}<|turn|>assistant <|say|>{% endif %}"
    )
    marks = ("<|turn|>", "<|say|>", "<|said|>", "<|over|>")
    assert find_turn_end(tokenizer_of(template, *marks, eos="<|over|>")).text == "<|said|><|over|>"
    assert find_turn_end(tokenizer_of(template, *marks), ["<|said|>"]).text == "<|said|>"


def test_a_thought_that_the_prompt_opens_is_learned_from_there() -> None:
    tokenizer = tokenizer_of(THOUGHT)
    thinks = Message("assistant", "two", extra={"reasoning_content": "hm"})
    assert learned(tokenizer, Q, thinks) == ["hm\n</think>\n\ntwo<|im_end|>"]
    assert learned(tokenizer, Q, A, Q2, A2, multiturn="last") == ["\n</think>\n\nfour<|im_end|>"]
    with pytest.raises(BadRow, match=r"turn 2: .*rewrites earlier turns"):
        learned(tokenizer, Q, A, Q2, A2)
    unlike = THOUGHT.replace("<think>\n{{", "<think></think>{{", 1)
    with pytest.raises(DataError, match=r"a prompt ends with .*<think>.*enable_thinking"):
        learned(tokenizer_of(unlike), Q, A)


def test_a_tool_call_that_the_template_does_not_write_is_a_bad_row() -> None:
    chatml = tiny.tokenizer_of("chatml")
    with pytest.raises(BadRow, match="turn 2: the chat template does not write tool calls"):
        learned(chatml, Q, CALLED, Message("tool", "12"), A2)
    set_template(name="trl/qwen3_instruct_2507", jinja=None, tokenizer=chatml)
    call, answer = learned(chatml, Q, CALLED, Message("tool", "12"), A2)
    assert '"name": "weather", "arguments": {"city": "Rome"}' in call
    assert answer == "four<|im_end|>"


def test_tools_and_reasoning_that_the_template_does_not_write_are_counted() -> None:
    chatml, thinks = tiny.tokenizer_of("chatml"), Message("assistant", "two", extra={"reasoning_content": "hm"})
    rows = (
        Conversation((Q, A), TOOLS),
        Conversation((Q, thinks)),
        Conversation((Q, thinks), TOOLS),
        Conversation((Q, A)),
    )
    lost = tokenized(chatml, *rows).counted.sources["d"]
    assert (lost.tools, lost.reasoning, lost.rows, lost.dropped) == (2, 2, 4, 0)
    tools, reasoning = unwritten_texts("d", {"tools": 2, "reasoning": 3})
    assert tools.startswith("warning: d: 2 rows bring tools, which the chat template never writes")
    assert "d: 3 rows" in reasoning
    assert "template_thinking_key" in reasoning
    set_template(name="qwen3", jinja=None, tokenizer=chatml)
    lost = tokenized(chatml, *rows).counted.sources["d"]
    assert (lost.tools, lost.reasoning) == (0, 0)


def test_a_template_that_writes_todays_date_is_named_unless_a_date_is_given() -> None:
    llama = tiny.tokenizer_of("llama3")
    set_template(name="trl/llama3_2", jinja=None, tokenizer=llama)
    (note,) = dated(llama)
    assert "writes today's date into every row" in note
    set_template(name="trl/llama3_2", jinja=None, defaults={"date_string": "26 Jul 2024"}, tokenizer=llama)
    assert not list(dated(llama))
    set_template(name="llama3_1", jinja=None, tokenizer=llama)
    assert not list(dated(llama))


def test_what_a_makers_template_refuses_comes_with_a_way_out() -> None:
    gemma = tokenizer_of(
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate') }}{% endif %}<start_of_turn>{{ m['role'] }}\n"
        "{{ m['content'] }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>assistant\n{% endif %}",
        *("<start_of_turn>", "<end_of_turn>"),
    )
    with pytest.raises(
        BadRow, match=r"System role not supported\. `drop_system_message: true`.*`chat_template: gemma` writes"
    ):
        learned(gemma, Message("system", "S"), Q, A)
    with pytest.raises(BadRow, match=r"must alternate\. `chat_template: gemma` takes turns in any order"):
        learned(gemma, Q, Q2, A)
    set_template(name="gemma", jinja=None, tokenizer=gemma)
    assert learned(gemma, Message("system", "S"), Q, Q2, A) == ["two<end_of_turn>"]


@pytest.mark.parametrize("name", ["mistral_v1", "mistral", "llama2", "vicuna", "metharme"])
def test_a_turn_that_a_family_has_no_place_for_is_refused(name: str) -> None:
    tokenizer = tiny.tokenizer_of("llama3")
    set_template(name=name, jinja=None, tokenizer=tokenizer)
    with pytest.raises(BadRow, match="no place for a turn of the role tool"):
        learned(tokenizer, Q, A, Message("tool", "12"), A2)
    if name in ("mistral_v1", "mistral", "llama2"):
        with pytest.raises(BadRow, match="an answer follows the system message"):
            learned(tokenizer, Message("system", "S"), A, Q2, A2)
        with pytest.raises(BadRow, match="no place for a turn of the role system"):
            learned(tokenizer, Q, Message("system", "S"), A)


def test_names_that_other_tools_write_are_read_or_refused_with_what_to_write(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    plain = "base_model: m\noutput_dir: o\n"
    for new in set(SPELLINGS.values()) - set(NAMED):
        set_template(name=new, jinja=None, tokenizer=tiny.tokenizer_of("chatml"))  # TRL ships it
    recipe.write_text(plain + "datasets:\n- {path: d, chat_template: qwen-2.5}\nchat_template: llama-3.1\n")
    read = load_recipe(recipe)
    assert (read.recipe.chat_template, read.recipe.datasets[0].chat_template) == ("llama3_1", "qwen_25")
    assert [str(note).split("note: ")[1] for note in read.notes if note.code == "FT010"] == [
        "`chat_template: llama-3.1` is written `chat_template: llama3_1` today [FT010]",
        "`chat_template: qwen-2.5` is written `chat_template: qwen_25` today [FT010]",
    ]
    for name, why in REFUSED.items():
        recipe.write_text(f"{plain}datasets: [{{path: d}}]\nchat_template: {name}\n")
        with pytest.raises(RecipeError) as error:
            load_recipe(recipe)
        assert why in str(error.value)
        assert "write" in why
