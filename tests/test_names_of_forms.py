"""Every name that Axolotl has for a form of rows is honoured or refused with what to write instead."""

from pathlib import Path

import pytest

from finetune.errors import RecipeError
from finetune.formats import FORMATS
from finetune.recipe.load import load_recipe
from finetune.recipe.rows import SAME

STYLES = ("instruct", "chat", "chatml", "phi")
HONOURED = (
    "alpaca_chat alpaca_chat.load alpaca_chat.load_concise alpaca_chat.load_qa alpaca_chat.load_camel_ai "
    "alpaca_chat.load_no_prompt alpaca_instruct alpaca_instruct.load alpaca_instruct.load_no_prompt alpaca_w_system "
    "alpaca_w_system.load alpaca_w_system.load_instruct alpaca_w_system.load_chat alpaca_w_system.load_open_orca "
    "alpaca_w_system.load_open_orca_chatml chat_template chat_template.load chat_template.default completion "
    "completion.load context_qa context_qa.load context_qa.load_404 context_qa.load_v2 creative_acr.load_answer "
    "creative_acr.load_critique creative_acr.load_revise input_output input_output.load metharme orcamini reflection "
    "reflection:instruct concisechoice concisechoice:chat summarizetldr summarizetldr:chat sharegpt sharegpt:chat "
    "sharegpt.load_role sharegpt_simple"
).split() + [
    form + style
    for form in ("alpaca", "explainchoice", "gpteacher", "jeopardy", "oasst")
    for style in ("", *(f":{style}" for style in STYLES))
]
REFUSED = {
    "llama2_chat": "chat_template: llama2",
    "pygmalion": "a chat_template of your own",
    "pretrain": "type: completion",
    "messages": "type: chat_template",
    "messages.chat": "type: chat_template",
    "_synthetic": "the path of real ones",
    "creative_acr": "creative_acr.load_answer",
    "reflection:chat": "leaves out the corrected answer",
    "reflection:phi": "type: reflection",
    "concisechoice:phi": "type: concisechoice",
    "summarizetldr:chatml": "type: summarizetldr",
    "alpaca:vicuna": "as a mapping",
    "jeopardy:llama": "as a mapping",
    "gpteacher:x": "as a mapping",
}


def form_of(kind: str, folder: Path) -> str | None:
    recipe = folder / "recipe.yaml"
    recipe.write_text(f"base_model: m\noutput_dir: o\ndatasets:\n  - path: d.jsonl\n    type: {kind}\n")
    found = load_recipe(recipe).recipe.datasets[0].type
    assert isinstance(found, str | None)
    return SAME.get(found or "", found)


@pytest.mark.parametrize("kind", HONOURED)
def test_a_known_name_is_honoured(kind: str, tmp_path: Path) -> None:
    assert form_of(kind, tmp_path) in FORMATS


@pytest.mark.parametrize("kind", REFUSED)
def test_any_other_name_is_refused_with_what_to_write(kind: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        form_of(kind, tmp_path)
    (fault,) = caught.value.faults
    assert f"type: '{kind}'` is no form" in str(fault) and REFUSED[kind] in str(fault) and fault.where.line == 5


def test_a_name_of_preferences_is_refused_where_answers_are_imitated(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        form_of("user_defined", tmp_path)
    (fault,) = caught.value.faults
    assert "your columns as a mapping" in str(fault) and "rl: dpo" in str(fault) and fault.where.line == 5
