"""Every template kept by name writes what its family's documentation shows, ends a turn with its own token, and is
found wherever a recipe may name it."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from finetune.errors import ModelError, RecipeError
from finetune.formats.meaning import Conversation, Message
from finetune.recipe.labels import NAMED, Template
from finetune.recipe.load import load_recipe
from finetune.rendering.labels import LabelSettings
from finetune.rendering.layouts import LAYOUTS, SHIPPED
from finetune.rendering.rows import RowTexts
from finetune.rendering.template import render
from finetune.rendering.templates import literal, set_template
from finetune.rendering.turn_end import find_turn_end
from tests import tiny

TALK = (
    Message("system", "S"),
    Message("user", "one"),
    Message("assistant", "two"),
    Message("user", "three"),
    Message("assistant", "four"),
)
ALL_MARKS = (
    "<|im_start|> <|im_end|> <|im_sep|> <|start_header_id|> <|end_header_id|> <|eot_id|> <|user|> <|assistant|> "
    "<|system|> <|end|> <start_of_turn> <end_of_turn> [INST] [/INST] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] <|header_start|> "
    "<|header_end|> <|eot|> <｜User｜> <｜Assistant｜> <｜end▁of▁sentence｜> [|endofturn|] <|startoftext|> "
    "<|bom|> <|eom|> <|turn> <turn|> <|START_OF_TURN_TOKEN|> <|END_OF_TURN_TOKEN|>"
).split()
# Written by hand from each family's model card. <s> and </s> are the begin and end token of the tokenizer here.
EXPECTED = {
    "chatml": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\ntwo<|im_end|>\n"
    "<|im_start|>user\nthree<|im_end|>\n<|im_start|>assistant\nfour<|im_end|>\n",
    "llama3": "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\none<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\ntwo<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nthree<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nfour<|eot_id|>",
    "phi_3": "<s><|system|>\nS<|end|>\n<|user|>\none<|end|>\n<|assistant|>\ntwo<|end|>\n"
    "<|user|>\nthree<|end|>\n<|assistant|>\nfour<|end|>\n",
    "phi_4": "<|im_start|>system<|im_sep|>S<|im_end|><|im_start|>user<|im_sep|>one<|im_end|>"
    "<|im_start|>assistant<|im_sep|>two<|im_end|><|im_start|>user<|im_sep|>three<|im_end|>"
    "<|im_start|>assistant<|im_sep|>four<|im_end|>",
    "gemma": "<s><start_of_turn>user\nS\n\none<end_of_turn>\n<start_of_turn>model\ntwo<end_of_turn>\n"
    "<start_of_turn>user\nthree<end_of_turn>\n<start_of_turn>model\nfour<end_of_turn>\n",
    "mistral_v1": "<s> [INST] S\n\none [/INST] two</s> [INST] three [/INST] four</s>",
    "mistral_v2v3": "<s>[INST] S\n\none[/INST] two</s>[INST] three[/INST] four</s>",
    "mistral_v3_tekken": "<s>[INST]S\n\none[/INST]two</s>[INST]three[/INST]four</s>",
    "llama2": "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\none [/INST] two </s><s>[INST] three [/INST] four </s>",
    "zephyr": "<|system|>\nS</s>\n<|user|>\none</s>\n<|assistant|>\ntwo</s>\n<|user|>\nthree</s>\n"
    "<|assistant|>\nfour</s>\n",
    "vicuna": "<s>S USER: one ASSISTANT: two</s>USER: three ASSISTANT: four</s>",
    "alpaca": "<s>S\n\n### Instruction:\none\n\n### Response:\ntwo</s>\n\n### Instruction:\nthree\n\n"
    "### Response:\nfour</s>",
}
EXPECTED |= {
    "llama3_1": EXPECTED["llama3"].replace("S", "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\nS"),
    "llama4": "<s><|header_start|>system<|header_end|>\n\nS<|eot|><|header_start|>user<|header_end|>\n\none<|eot|>"
    "<|header_start|>assistant<|header_end|>\n\ntwo<|eot|><|header_start|>user<|header_end|>\n\nthree<|eot|>"
    "<|header_start|>assistant<|header_end|>\n\nfour<|eot|>",
    "gemma4": "<s><|turn>system\nS<turn|>\n<|turn>user\none<turn|>\n<|turn>model\ntwo<turn|>\n"
    "<|turn>user\nthree<turn|>\n<|turn>model\nfour<turn|>\n",
    "mistral": "<s>[INST] S one [/INST]two</s>[INST] three [/INST]four</s>",
    "mistral_v7_tekken": "<s>[SYSTEM_PROMPT]S[/SYSTEM_PROMPT][INST]one[/INST]two</s>[INST]three[/INST]four</s>",
    "cohere": "<s>"
    + "".join(
        f"<|START_OF_TURN_TOKEN|><|{who}_TOKEN|>{said}<|END_OF_TURN_TOKEN|>"
        for who, said in zip(("SYSTEM", *("USER", "CHATBOT") * 2), ("S", "one", "two", "three", "four"), strict=True)
    ),
    "deepseek_v2": "<s>S\n\n<｜User｜>one<｜Assistant｜>two</s><｜User｜>three<｜Assistant｜>four</s>",
    "deepseek_v3": "<s>S<｜User｜>one<｜Assistant｜>two<｜end▁of▁sentence｜>"
    "<｜User｜>three<｜Assistant｜>four<｜end▁of▁sentence｜>",
    "exaone": "[|system|]S[|endofturn|]\n[|user|]one\n[|assistant|]two[|endofturn|]\n[|user|]three\n"
    "[|assistant|]four[|endofturn|]\n",
    "exaone4": "[|system|]\nS[|endofturn|]\n[|user|]\none[|endofturn|]\n"
    "[|assistant|]\n<think>\n\n</think>\n\ntwo[|endofturn|]\n[|user|]\nthree[|endofturn|]\n"
    "[|assistant|]\n<think>\n\n</think>\n\nfour[|endofturn|]\n",
    "jamba": "<|startoftext|><|bom|><|system|> S<|eom|><|bom|><|user|> one<|eom|><|bom|><|assistant|> two<|eom|>"
    "<|bom|><|user|> three<|eom|><|bom|><|assistant|> four<|eom|>",
    "metharme": "<s><|system|>S<|user|>one<|model|>two</s><|user|>three<|model|>four</s>",
}
EXPECTED["falcon_h1"] = "<s>" + EXPECTED["chatml"]
EXPECTED["nemotron_h"] = EXPECTED["chatml"]
EXPECTED["gemma3n"] = EXPECTED["gemma"]
EXPECTED["gemma4_unified"] = EXPECTED["gemma4"]
EXPECTED["aya"] = EXPECTED["cohere"]
EXPECTED["phi_35"] = EXPECTED["phi_3"].removeprefix("<s>")
EXPECTED["qwen_25"] = EXPECTED["chatml"]
EXPECTED["gemma3"] = EXPECTED["gemma"]
EXPECTED["qwen3"] = EXPECTED["chatml"].replace("assistant\nfour", "assistant\n<think>\n\n</think>\n\nfour")
EXPECTED["qwen3_5"] = EXPECTED["qwen3"]


def tokenizer_with_every_mark() -> Any:
    tokenizer = tiny.tokenizer_of("chatml")
    tokenizer.add_special_tokens(
        {"bos_token": "<s>", "eos_token": "</s>", "additional_special_tokens": ALL_MARKS},
        replace_extra_special_tokens=False,
    )
    return tokenizer


@pytest.fixture
def tokenizer() -> Any:
    return tokenizer_with_every_mark()


def test_the_recipe_names_the_templates_that_are_kept() -> None:
    assert set(NAMED) == set(LAYOUTS) | set(SHIPPED) == set(EXPECTED)
    assert set(get_args(Template)) == {*NAMED, "tokenizer_default", "jinja"}


@pytest.mark.parametrize("name", NAMED)
def test_a_named_template_writes_what_its_family_documents(name: str, tokenizer: Any) -> None:
    set_template(name=name, jinja=None, tokenizer=tokenizer)
    assert render(tokenizer, TALK) == EXPECTED[name]


@pytest.mark.parametrize("name", NAMED)
def test_a_named_template_ends_its_answers_so_that_a_model_can_stop(name: str, tokenizer: Any) -> None:
    set_template(name=name, jinja=None, tokenizer=tokenizer)
    end = find_turn_end(tokenizer)
    marks = LAYOUTS[name].marks if name in LAYOUTS else SHIPPED[name][1]
    own_end = name in LAYOUTS and "{{ eos_token }}" in LAYOUTS[name].jinja
    assert end.token == ("</s>" if own_end else marks[-1])
    rewrites = name in ("qwen3", "qwen3_5")
    settings = LabelSettings(multiturn="last" if rewrites else "all")
    (text,) = RowTexts(tokenizer, settings).texts(Conversation(TALK))
    learned = "|".join(text.text[start : stop - len(end.token)].strip() for start, stop in text.spans)
    thought = {"qwen3": "<think>\n\n</think>\n\nfour", "qwen3_5": "</think>\n\nfour"}
    assert learned == thought.get(name, "two|four")
    # What is learned begins where the prompt of a generation ends.
    asked = render(tokenizer, TALK[:-1], generation_prompt=True)
    assert text.text[: text.spans[-1][0]] == asked


def test_a_fallback_counts_only_where_the_tokenizer_has_no_template(tokenizer: Any) -> None:
    own = tokenizer.chat_template
    set_template(name="tokenizer_default_fallback_gemma", jinja=None, tokenizer=tokenizer)
    assert tokenizer.chat_template == own
    tokenizer.chat_template = None
    set_template(name="tokenizer_default_fallback_gemma", jinja=None, tokenizer=tokenizer)
    assert render(tokenizer, TALK) == EXPECTED["gemma"]


def test_templates_that_trl_ships_are_read_from_it(tokenizer: Any) -> None:
    set_template(name="trl/qwen2_5", jinja=None, tokenizer=tokenizer)
    assert render(tokenizer, TALK) == EXPECTED["qwen_25"]
    set_template(name="trl/qwen2_5_training", jinja=None, tokenizer=tokenizer)  # with generation blocks
    assert render(tokenizer, TALK) == EXPECTED["qwen_25"]
    with pytest.raises(RecipeError, match=r"no chat template 'qwen9'; near it: .*qwen3"):
        set_template(name="trl/qwen9", jinja=None, tokenizer=tokenizer)


def test_what_a_template_is_given_is_saved_with_it(tokenizer: Any) -> None:
    jinja = "{% for m in messages %}{{ m['content'] }}{{ tag }}{{ n }}{{ on }}{% endfor %}"
    given = {"tag": "a'b\\{% %}é\n", "n": 3, "on": False, "empty": None}
    set_template(name="jinja", jinja=jinja, defaults=given, tokenizer=tokenizer)
    assert render(tokenizer, TALK[:1]) == "Sa'b\\{% %}é\n3False"
    told = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False, tag="!", n=1, on=True)
    assert told == "x!1True"


def test_a_default_system_message_stands_where_there_is_none(tokenizer: Any) -> None:
    set_template(name="chatml", jinja=None, system="Be {{ brief }} 🙂", tokenizer=tokenizer)
    assert render(tokenizer, TALK) == EXPECTED["chatml"]
    begins = "<|im_start|>system\nBe {{ brief }} 🙂<|im_end|>\n<|im_start|>user\none"
    assert render(tokenizer, TALK[1:]).startswith(begins)
    (text,) = RowTexts(tokenizer, LabelSettings()).texts(Conversation(TALK[1:]))
    assert [text.text[start:end] for start, end in text.spans] == ["two<|im_end|>", "four<|im_end|>"]


def test_a_template_may_be_a_file_beside_the_recipe(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "my.jinja").write_text(LAYOUTS["zephyr"].jinja)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "base_model: m\ndatasets: [{path: d}]\noutput_dir: o\nchat_template: jinja\nchat_template_jinja: ./my.jinja\n"
    )
    named = load_recipe(recipe).recipe.chat_template_jinja
    assert named == str(tmp_path / "my.jinja")
    set_template(name="jinja", jinja=named, tokenizer=tokenizer)
    assert render(tokenizer, TALK) == EXPECTED["zephyr"]
    with pytest.raises(RecipeError, match="cannot be read"):
        set_template(name="jinja", jinja="no/such.jinja", tokenizer=tokenizer)


@pytest.mark.parametrize(
    "jinja", ["{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{{ cycler.__init__.__globals__ }}"]
)
def test_a_template_runs_in_a_sandbox(jinja: str, tokenizer: Any) -> None:
    from finetune.formats.meaning import BadRow

    set_template(name="jinja", jinja=jinja, tokenizer=tokenizer)
    with pytest.raises(BadRow, match="refuses"):
        assert not render(tokenizer, TALK).strip()
        raise BadRow("refuses: it came out empty")


def test_marks_that_the_tokenizer_lacks_are_named() -> None:
    with pytest.raises(ModelError, match="does not know as one token"):
        set_template(name="gemma", jinja=None, tokenizer=tiny.tokenizer_of("chatml"))


@pytest.mark.parametrize(
    "value",
    [
        "Sois « bref »\u00a0: {% 'é' %}\n\"oui\"\r\n {{ x }} {# y #} }} %} a\\n 🙂",
        "",
        "{",
        ["a'b", 1, True, None],
        {"k": -1.5},
    ],
)
def test_what_is_written_before_a_template_is_read_alike_by_every_jinja(value: Any) -> None:
    """llama.cpp's jinja knows the escapes of n, t, r, b, f, v, quotes and backslash, and refuses any other."""
    import jinja2

    text, found = literal(value), list[Any]()
    jinja2.Environment().from_string(f"{{% set v = {text} %}}{{{{ take(v) }}}}").render(take=found.append)
    assert found == [value]
    assert set(re.findall(r"\\(.)", text.replace("\\\\", ""))) <= set("nr'")
    assert not re.search(r"\{[{%#]|[}%#]\}", text)
