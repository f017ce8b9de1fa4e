"""Talking to what a run trained: a conversation with its history, its orders, and its base beside it."""

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def talk(trained_run: Path, finetune: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Type lines into a conversation: what was shown."""

    def typed(*lines: str, options: tuple[Any, ...] = (), run: Path = trained_run) -> str:
        waiting = list(lines)

        def read(prompt: str = "") -> str:
            del prompt
            if not waiting:
                raise EOFError
            return waiting.pop(0)

        monkeypatch.setattr("builtins.input", read)
        code, out, err = finetune("chat", run, *options)
        assert code == 0, err
        return str(out)

    return typed


def kept(path: Path) -> list[dict[str, str]]:
    return list(json.loads(path.read_text().splitlines()[-1])["messages"])


def test_a_conversation_remembers_takes_back_and_begins_anew(talk: Any, tmp_path: Path) -> None:
    file = tmp_path / "talk.jsonl"
    save = f"/save {file}"
    shown = talk("the sea", "calm", save, "/bogus", "/set warmth 1", "/set temperature 0.5")
    assert [turn["role"] for turn in kept(file)] == ["user", "assistant"] * 2
    assert "there is no /bogus" in shown and "no setting 'warmth'" in shown and "temperature: 0.5" in shown
    first = kept(file)[:2]
    talk("the sea", "calm", "/undo", "/retry", save)
    assert kept(file) == first
    talk("the sea", "/reset", "/system be brief", "a \\", "walk", save)
    assert [turn["role"] for turn in kept(file)] == ["system", "user", "assistant"]
    assert kept(file)[1]["content"] == "a \nwalk"


def test_raw_shows_what_the_model_reads_and_the_token_that_ends_its_answer(talk: Any) -> None:
    shown = talk("the sea", options=("--raw",))
    assert "<|im_start|>user\nthe sea<|im_end|>\n<|im_start|>assistant\n" in shown
    assert "<|im_start|>" not in talk("the sea")


def test_the_base_answers_beside_what_was_trained(talk: Any, trained_run: Path) -> None:
    asked = json.loads((trained_run / "answers.json").read_text())[0]
    shown = talk(asked["question"], options=("--compare",))
    base, tuned = shown.split("[base] ")[1].split("[tuned] ")
    assert asked["before"]["text"] in base and asked["after"]["text"] in tuned
    assert asked["before"]["text"] != asked["after"]["text"]


def test_a_recipe_names_its_run(talk: Any, trained_run: Path, finetune: Any, write_recipe: Any) -> None:
    options = ("--prompt", "how are you")
    assert talk(options=options, run=trained_run.parent / "recipe.yaml") == talk(options=options)
    code, _, err = finetune("chat", write_recipe())
    assert code == 7 and "was not trained yet" in err


def test_an_option_ends_answers_before_a_text_and_a_wrong_one_is_named(
    talk: Any, trained_run: Path, finetune: Any
) -> None:
    whole = talk(options=("--prompt", "the sea")).strip()
    stop = whole[4:7]
    assert talk(options=("--prompt", "the sea", "--stop", stop)).strip() == whole[: whole.index(stop)].strip()
    code, _, err = finetune("chat", trained_run, "--prompt", "x", "--temperature", -1)
    assert code == 2 and "temperature must be" in err
