"""Each form of rows is found by its columns and means what it says; what it cannot read is named with the way out."""

import hashlib
import json
import pickle
from typing import Any, get_args

import pytest

from finetune.formats import FORMATS, custom, detect
from finetune.formats.meaning import (
    BadRow,
    Conversation,
    Fields,
    Message,
    Row,
    Segments,
    Tokens,
    _plain_talk,
    as_json,
)
from finetune.recipe.rows import SAME, Form, PromptFormat

USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
DETECTED: dict[str, dict[str, Any]] = {
    "chat_template": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    "alpaca": {"instruction": "q", "input": "", "output": "a"},
    "alpaca_w_system.load_instruct": {"instruction": "q", "input": "", "output": "a", "system": "s"},
    "alpaca_w_system.load_open_orca": {"id": "1", "system_prompt": "s", "question": "q", "response": "a"},
    "gpteacher": {"instruction": "q", "input": "", "response": "a"},
    "oasst": {"INSTRUCTION": "q", "RESPONSE": "a", "SOURCE": "x"},
    "reflection": {"instruction": "q", "output": "a", "reflection": "r", "corrected": "c"},
    "explainchoice": {"question": "q", "choices": ["a", "b"], "solution": "a"},
    "alpaca_chat.load_camel_ai": {"message_1": "q", "message_2": "a", "topic": "t"},
    "question_answer": {"context": "c", "question": "q", "answer": "a"},
    "summarization": {"article": "long", "summary": "short"},
    "translation": {"translation": {"en": "cat", "de": "Katze"}},
    "prompt_completion": {"prompt": "q", "completion": "a"},
    "input_output": {"segments": [{"label": False, "text": "q"}, {"label": True, "text": "a</s>"}]},
    "pretokenized": {"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "attention_mask": [1, 1, 1]},
    "completion": {"text": "once upon a time", "url": "u"},
}
NAMED: dict[str, dict[str, Any]] = {
    "context_qa": {"article": "c", "question": "q", "answer": "a"},
    "context_qa.load_404": {"article": "c", "unanswerable_question": "q"},
    "context_qa.load_v2": {"context": "c", "question": "q", "answer": "a"},
    "reflection:instruct": {"instruction": "q", "output": "a", "reflection": "r", "corrected": "c"},
    "jeopardy": {"question": "q", "answer": "a", "category": "c"},
    "alpaca_chat.load_qa": {"question": "q", "answer": "a"},
    "summarizetldr": {"article": "q", "summary": "a"},
    "orcamini": {"system_prompt": "s", "question": "q", "response": "a"},
    "alpaca_w_system.load_open_orca_chatml": {"system_prompt": "s", "question": "q", "response": "a"},
    "concisechoice": {"question": "q", "choices": ["a", "b"], "solution": "a"},
    "explainchoice:chat": {"question": "q", "choices": ["a", "b"], "explanation": "a"},
    "creative_acr.load_answer": {"instruction": "q", "revision": "a"},
    "creative_acr.load_critique": {"instruction": "q", "answer": "b", "scores": {"x": 1}, "critiques": {"x": "y"}},
    "metharme": {"prompt": "<|user|>q<|model|>", "generation": "a"},
}
NAMED["creative_acr.load_revise"] = NAMED["creative_acr.load_critique"] | {"revision": "a"}
NAMED |= {f"explainchoice:{style}": NAMED["explainchoice:chat"] for style in ("chatml", "phi")}
for styled in ("gpteacher", "oasst", "jeopardy"):
    NAMED |= {f"{styled}:{style}": (DETECTED | NAMED)[styled] for style in ("chat", "chatml", "phi")}


def read(form: str, row: dict[str, Any], **fields: Any) -> Any:
    return FORMATS[form].read(row, Fields(**fields))


def prompt_of(form: str, row: dict[str, Any], **fields: Any) -> str:
    return str(read(form, row, **fields).pieces[0][0])


def test_the_recipe_offers_exactly_the_forms_there_are() -> None:
    assert set(get_args(Form)) == set(FORMATS) - {"custom"} | set(SAME)
    assert set(SAME.values()) <= set(FORMATS)
    defaults = {key: field.default for key, field in PromptFormat.model_fields.items() if field.default is not None}
    assert defaults == custom.DEFAULTS


@pytest.mark.parametrize("form", DETECTED)
def test_a_form_is_found_by_its_columns_with_the_reason(form: str) -> None:
    found, why = detect(DETECTED[form])
    assert found == form
    assert FORMATS[form].COLUMNS in why


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "custom"])
def test_every_form_reads_its_row_into_a_meaning_that_travels_between_processes(form: str) -> None:
    alpaca = DETECTED["alpaca_w_system.load_instruct"]
    meaning = read(form, DETECTED.get(form) or NAMED.get(form) or alpaca)
    assert pickle.loads(pickle.dumps(meaning)) == meaning
    assert len(Row("d", 1, meaning).digest()) == 64
    if isinstance(meaning, Segments):
        assert meaning.pieces[-1][1] or form == "input_output"


def test_columns_that_the_recipe_names_decide_before_those_that_are_there() -> None:
    row = {"instruction": "q", "output": "a", "talk": [USER, ANSWER], "body": "text"}
    assert detect(row, Fields(messages="talk"))[0] == "chat_template"
    assert detect(row, Fields(text="body"))[0] == "completion"
    assert detect(row)[0] == "alpaca"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"instructions": "q", "outputs": "a"}, "Nearest is `alpaca`"),
        ({"txt": "q"}, "Nearest is `completion`"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "pairs of a chosen"),
        ({"prompt": "q", "completion": "a", "label": True}, "good or bad"),
        ({}, "no columns"),
    ],
)
def test_rows_of_no_known_form_name_their_columns_and_the_nearest(row: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRow, match=says) as caught:
        detect(row)
    assert all(f"`{name}`" in str(caught.value) for name in row)


ALPACA = {"instruction": "{input} q", "input": "i", "output": "a", "system": "s"}
BARE = ALPACA | {"input": "", "system": ""}


@pytest.mark.parametrize(
    ("form", "row", "ends"),
    [
        ("alpaca", ALPACA, "request.\n\n### Instruction:\n{input} q\n\n### Input:\ni\n\n### Response:\n"),
        ("alpaca:chat", BARE, "completes the request.\nUSER: {input} q\nASSISTANT:"),
        ("alpaca:chatml", BARE, "request.<|im_end|>\n<|im_start|>user\n{input} q<|im_end|>\n<|im_start|>assistant\n"),
        ("alpaca:phi", ALPACA, "request.<|end|>\n<|user|>\n{input} q<|end|>i<|assistant|>"),
        ("alpaca_w_system", ALPACA, "SYSTEM: s\nUSER: {input} q\ni\nASSISTANT:"),
        ("alpaca_w_system.load_instruct", BARE, "### Instruction:\n{input} q\n\n### Response:\n"),
        ("alpaca_w_system.load_open_orca", NAMED["orcamini"], "### System:\ns\n### Human:\nq\n### Assistant:\n"),
        ("orcamini", NAMED["orcamini"], "### System:\ns\n\n### User:\nq\n\n### Response:\n"),
        ("context_qa.load_v2", NAMED["context_qa.load_v2"], "Context: c\nQuestion: q\n"),
        ("context_qa", NAMED["context_qa"], "answer the question.\n\nUSER: c\n===\nq\nASSISTANT:"),
        ("summarizetldr", NAMED["summarizetldr"], "USER: Summarize the following article as a TL;DR.\nq\nASSISTANT:"),
        ("concisechoice", NAMED["concisechoice"], 'in your response.\n\nUSER: q\n- "a"\n- "b"\nASSISTANT:'),
    ],
)
def test_a_named_prompt_is_kept_to_the_letter(form: str, row: dict[str, Any], ends: str) -> None:
    assert prompt_of(form, row).endswith(ends)
    if form in ("alpaca_w_system.load_instruct", "orcamini", "context_qa.load_v2"):
        assert prompt_of(form, row) == ends


def test_fixed_words_around_an_answer_are_learned_with_it() -> None:
    assert read("jeopardy", NAMED["jeopardy"]).pieces[1] == ("what is a", True)
    assert read("context_qa.load_v2", NAMED["context_qa.load_v2"]).pieces[1] == ("Answer: a", True)
    assert "unable to answer" in read("context_qa.load_404", NAMED["context_qa.load_404"]).pieces[1][0]
    assert read("reflection", DETECTED["reflection"]).pieces[1][0] == (
        "### Thought:\na\n\n### Agent Reflection:\nr\n\n### Final Response:\nc"
    )


def test_a_prompt_format_of_the_recipe_fills_its_places_and_no_others() -> None:
    how = {
        "field_instruction": "ask",
        "field_output": "say",
        "format": "<{instruction}|{input}>",
        "no_input_format": "{{x}}<{instruction}>",
        "system_format": "[{system}]",
    }
    row = {"ask": "a {input} {system} {{b}}", "input": "{instruction}", "say": "!", "system": "be"}
    assert read("custom", row, prompt=how).pieces == (
        ("[be]<a {input} {system} {{b}}|{instruction}>", False),
        ("!", True),
    )
    assert prompt_of("custom", {"ask": "q", "say": "!"}, prompt=how) == "{x}<q>"
    always = how | {"system_prompt": "always"}
    assert prompt_of("custom", {"ask": "q", "say": "!"}, prompt=always) == "[always]{x}<q>"
    assert prompt_of("custom", row | {"system": None}, prompt=always).startswith("<a ")
    with pytest.raises(BadRow, match="column `say` is missing"):
        read("custom", {"ask": "q"}, prompt=how)


def test_a_question_alone_is_put_as_the_format_puts_it() -> None:
    how = {"no_input_format": "[INST] {instruction} [/INST]", "system_prompt": "s ", "system_format": "{system}"}
    row = {"instruction": "q", "output": "a"}
    assert read("custom", row, prompt=how).ask == "s [INST] {instruction} [/INST]"
    assert read("alpaca:chat", row).ask.endswith("USER: {instruction}\nASSISTANT:")
    first, other = read("alpaca", row), read("alpaca:chat", row)
    assert Row("d", 1, first).digest() != Row("d", 1, other).digest()


TEXTS = {"role": "user", "content": [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]}


def test_content_in_parts_becomes_one_text_and_keeps_the_flags_of_its_parts() -> None:
    assert read("chat_template", {"messages": [TEXTS]}).messages[0] == Message("user", "a b")
    flagged = {
        "role": "assistant",
        "content": [{"text": "no", "train": False}, {"text": "yes"}, {"text": "", "weight": 0}],
    }
    message = read("chat_template", {"messages": [flagged]}).messages[0]
    assert message == Message("assistant", "noyes", spans=((0, 2, False), (2, 5, True)))
    with pytest.raises(BadRow, match="'image_url', and only text"):
        read("chat_template", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})


@pytest.mark.parametrize(("flag", "learned"), [(True, True), (False, False), (None, None), (1, True), (0, False)])
@pytest.mark.parametrize("name", ["train", "training", "weight"])
def test_a_message_says_itself_whether_it_is_learned(name: str, flag: Any, learned: bool | None) -> None:
    messages = read("chat_template", {"messages": [USER, ANSWER | {name: flag}]}).messages
    assert [message.learned for message in messages] == [None, learned]
    assert messages[1].extra == {}


def test_only_the_flag_that_the_recipe_names_counts() -> None:
    row = {"messages": [USER | {"learn": True}, ANSWER | {"train": False}]}
    assert [message.learned for message in read("chat_template", row, training="learn").messages] == [True, None]


def test_characters_that_a_row_names_reach_to_the_last_one_named() -> None:
    detail = [{"begin_offset": 0, "end_offset": 3, "train": False}, {"begin_offset": 4, "end_offset": 9, "train": True}]
    row = {"messages": [USER, ANSWER | {"content": "0123456789", "parts": detail}]}
    assert read("chat_template", row, training_detail="parts").messages[1].spans == ((0, 4, False), (4, 10, True))
    row["messages"][1]["content"] = "01234567"
    with pytest.raises(BadRow, match=r"turn 2: `parts` names characters 4 to 9, and the content has 8 \(from 0\)"):
        read("chat_template", row, training_detail="parts")
    with pytest.raises(BadRow, match="turn 2: `parts` should be a list of"):
        read("chat_template", {"messages": [USER, ANSWER | {"parts": [{"from": 1}]}]}, training_detail="parts")


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"enum": ["x", None]}}}}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": "x"}}}


def test_tool_calls_and_definitions_are_the_same_from_values_json_text_and_padded_columns() -> None:
    text = {
        "tools": json.dumps([TOOL]),
        "messages": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}],
    }
    padded: Any = json.loads(json.dumps(text | {"tools": [TOOL]}))
    padded["tools"][0]["function"]["parameters"]["properties"] |= {"b": None}
    padded["tools"][0]["function"]["description"] = None
    padded["messages"][0] |= {"tool_calls": None, "tool_call_id": None}
    padded["messages"][1]["tool_calls"][0]["function"]["arguments"]["b"] = None
    strings: Any = json.loads(json.dumps(text))
    strings["messages"][1]["tool_calls"][0]["function"]["arguments"] = '{"a": "x"}'
    strings["tools"] = [json.dumps(TOOL)]
    meanings = [read("chat_template", row) for row in (text, padded, strings)]
    assert meanings[0] == meanings[1] == meanings[2]
    assert meanings[0].tools == (TOOL,)
    assert meanings[0].messages == (Message("user", "q"), Message("assistant", "", extra={"tool_calls": [CALL]}))


def test_a_null_that_json_text_writes_stays() -> None:
    written = CALL | {"function": {"name": "f", "arguments": '{"a": null}'}}
    row = {"messages": [ANSWER | {"tool_calls": [written]}]}
    assert read("chat_template", row).messages[0].extra["tool_calls"][0]["function"]["arguments"] == {"a": None}


def test_what_tools_answer_and_developers_say_have_roles() -> None:
    turns = [("developer", "s"), ("Human", "q"), ("gpt", "a"), ("tool", "42"), ("gpt", "b"), ("gpt", "c")]
    row = {"conversations": [{"from": role, "value": text} for role, text in turns]}
    roles = [message.role for message in read("chat_template", row).messages]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "assistant"]


def test_a_system_column_opens_a_conversation_that_has_no_system_message() -> None:
    row = {"system": "s", "rules": "r", "messages": [USER, ANSWER]}
    assert read("chat_template", row).messages[0] == Message("system", "s")
    assert read("chat_template", row, system="rules").messages[0] == Message("system", "r")
    own = {"system": "s", "messages": [{"role": "system", "content": "t"}, USER]}
    assert read("chat_template", own).messages[0] == Message("system", "t")


def test_reasoning_reaches_the_template_under_its_name() -> None:
    row = {"messages": [USER, ANSWER | {"thoughts": "hm"}]}
    assert read("chat_template", row).messages[1].extra == {"thoughts": "hm"}
    named = read("chat_template", row, thinking="thoughts", thinking_key="thinking")
    assert named.messages[1].extra == {"thinking": "hm"}
    tagged = {"messages": [USER, ANSWER | {"content": "<think>\nhm\n</think>\n\nso"}]}
    split = read("chat_template", tagged, split_thinking=True).messages[1]
    assert split == Message("assistant", "so", extra={"reasoning_content": "hm"})
    assert read("chat_template", tagged).messages[1].content.startswith("<think>")


def test_properties_of_a_message_are_renamed_for_the_template() -> None:
    row = {"messages": [ANSWER | {"calls": [CALL], "who": "me"}]}
    mapped = read("chat_template", row, properties={"tool_calls": "calls", "name": "who"}).messages[0]
    assert mapped.extra == {"tool_calls": [CALL], "name": "me"}


def test_no_other_field_takes_the_place_of_the_role_or_the_content_that_was_read() -> None:
    row = {"messages": [{"from": "human", "role": "x", "value": "q", "content": "y", "at": 1}]}
    message = read("chat_template", row, role="from", content="value").messages[0]
    assert message == Message("user", "q", extra={"at": 1})


def test_messages_kept_as_json_text_are_read() -> None:
    row = {"messages": json.dumps([USER, ANSWER])}
    assert read("chat_template", row) == read("chat_template", {"messages": [USER, ANSWER]})
    with pytest.raises(BadRow, match="`messages` is not JSON"):
        read("chat_template", {"messages": "[{"})


def test_known_tasks_become_questions_and_answers() -> None:
    def said(form: str) -> list[str]:
        return [message.content for message in read(form, DETECTED[form]).messages]

    assert said("question_answer") == ["c\n\nq", "a"]
    assert said("summarization") == ["Summarize the following text.\n\nlong", "short"]
    assert said("translation") == ["Translate from English to German.\n\ncat", "Katze"]


def test_a_prompt_and_its_completion_are_put_together_as_they_are() -> None:
    assert read("prompt_completion", {"prompt": "2+2=", "completion": "4"}).pieces == (("2+2=", False), ("4", True))
    talk = read("prompt_completion", {"prompt": [USER], "completion": [ANSWER]})
    assert talk == Conversation((Message("user", "q"), Message("assistant", "a")))


@pytest.mark.parametrize(
    ("form", "row", "says"),
    [
        ("input_output", {"segments": []}, "is empty"),
        ("input_output", {"segments": [{"label": True}]}, "segment 1 should hold a text"),
        ("input_output", {"segments": [{"label": "x", "text": "t"}]}, "segment 1: `label` is 'x'"),
        ("pretokenized", {"input_ids": [1, "2"]}, "list of whole numbers"),
        ("pretokenized", {"input_ids": [1, 2], "labels": [1]}, "`labels` 1"),
        ("pretokenized", {"input_ids": [1, 2], "labels": [2, -100]}, "must not be shifted"),
        ("pretokenized", {"input_ids": [1], "attention_mask": [0]}, "holds no token"),
        ("chat_template", {"messages": [ANSWER | {"tool_calls": "x"}]}, "`tool_calls` is not JSON"),
        ("chat_template", {"messages": [USER], "tools": {"a": 1}}, "`tools` is a mapping, not a list"),
        ("chat_template", {"messages": [USER], "tools": [1]}, "tool 1 of `tools` is a number"),
        ("chat_template", {"messages": [{"role": "alien", "content": "x"}]}, "role 'alien' is not known"),
        ("reflection", DETECTED["reflection"] | {"corrected": ""}, "nothing to learn"),
        ("explainchoice", {"question": "q", "choices": "ab", "solution": "a"}, "`choices` should be a list"),
        ("summarization", {"article": "x"}, "it needs `document`"),
    ],
)
def test_a_row_that_cannot_be_read_says_what_is_wrong(form: str, row: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRow, match=says):
        read(form, row)


def test_rows_tokenized_elsewhere_lose_their_padding() -> None:
    row = {"input_ids": [5, 6, 0, 0], "labels": [-100, 6, 0, 0], "attention_mask": [1, 1, 0, 0]}
    assert read("pretokenized", row) == Tokens((5, 6), (-100, 6))
    assert read("pretokenized", {"input_ids": [5, 6]}) == Tokens((5, 6), (5, 6))


def test_a_prompt_of_ones_own_becomes_turns_of_the_template() -> None:
    how = {"field_instruction": "q", "field_output": "a", "format": "{instruction}\n{input}", "as_turns": True}
    how |= {"no_input_format": "{instruction}", "system_prompt": "Be kind."}
    meaning = FORMATS["custom"].read({"q": "Why?", "input": "Sky", "a": "Light."}, Fields(prompt=how))
    assert [(one.role, one.content) for one in meaning.messages] == [
        ("system", "Be kind."),
        ("user", "Why?\nSky"),
        ("assistant", "Light."),
    ]
    bare = FORMATS["custom"].read({"q": "Why?", "a": "Light.", "system": "Be brief."}, Fields(prompt=how))
    assert [one.content for one in bare.messages] == ["Be brief.", "Why?", "Light."]


ODD = ("", 'a "q"\\', "\n\t\r\x00\x07\x7f", "\u2028\ud800\U0001f600 ü/", "</s>")


@pytest.mark.parametrize("learned", [None, True, False])
def test_the_quick_way_to_a_digest_is_the_general_one(learned: bool | None) -> None:
    turns = tuple(Message(role, text, learned) for role in ("user", *ODD) for text in ODD)
    for talk in (Conversation(turns), Conversation(turns[:1]), Conversation(())):
        assert _plain_talk(talk) == as_json(talk)


def test_a_digest_that_was_made_before_is_made_again() -> None:
    """Rows are held out by it: another one would move rows of kept data from one side to the other."""
    talk = Conversation((Message("user", "Hej, \u00e4r du d\u00e4r?"), Message("assistant", 'Ja, "h\u00e4r".', True)))
    text = '{"messages": [{"content": "Hej, \u00e4r du d\u00e4r?", "role": "user"}, '
    text += '{"content": "Ja, \\"h\u00e4r\\".", "learned": true, "role": "assistant"}]}'
    assert Row("d", 1, talk).digest() == hashlib.sha256(text.encode()).hexdigest()
    more = Conversation((Message("user", "a", extra={"name": "b"}),), wording="plain")
    text = '{"messages": [{"content": "a", "extra": {"name": "b"}, "role": "user"}], "wording": "plain"}'
    assert Row("d", 1, more).digest() == hashlib.sha256(text.encode()).hexdigest()
