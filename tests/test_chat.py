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


def test_a_pipe_is_answered_without_marks_and_a_prompt_may_come_from_it(
    talk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    once = talk(options=("--prompt", "the sea"))
    assert talk("the sea", "", "the sea").startswith(once) and ">" not in once
    monkeypatch.setattr("sys.stdin", io.StringIO("the sea\n"))
    assert talk(options=("--prompt", "-")) == once


def test_a_conversation_that_became_too_long_goes_on_once_its_beginning_is_forgotten(talk: Any, tmp_path: Path) -> None:
    long, file = "sea " * 300, tmp_path / "talk.jsonl"
    shown = talk(long, long, long, long, "/forget", "calm", f"/save {file}")
    assert "room for 1024" in shown and "/forget drops the oldest" in shown and "are forgotten" in shown
    questions = [turn["content"] for turn in kept(file) if turn["role"] == "user"]
    fitted = 4 - shown.count("room for 1024")
    assert questions == [long.strip()] * (fitted - 1) + ["calm"], "what did not fit is not kept, nor the first"


def test_what_would_command_a_terminal_is_shown_and_not_sent(trained_run: Path) -> None:
    import io

    from rich.console import Console

    from finetune.chat import Talk
    from finetune.trained import opened

    trained = opened(trained_run)
    for terminal, shown in ((True, "a␛[2J b\n\tc"), (False, "a\x1b[2J b\n\tc")):
        console = Console(file=io.StringIO(), force_terminal=terminal)
        assert Talk(trained, trained.settings, console)._safe("a\x1b[2J b\n\tc") == shown


def test_weights_that_are_gone_are_named(finetune: Any, trained_run: Path, tmp_path: Path) -> None:
    import shutil

    moved = Path(shutil.copytree(trained_run, tmp_path / "run"))
    (moved / "adapter" / "adapter_model.safetensors").unlink()
    code, _, err = finetune("chat", moved, "--prompt", "x")
    assert code == 5 and "adapter holds no adapter_model.safetensors" in err
    code, _, err = finetune("push", moved, "me/x", "--license", "mit", "--dry-run")
    assert code == 7 and "holds no weights" in err


def test_an_empty_prompt_is_refused(finetune: Any, trained_run: Path) -> None:
    code, _, err = finetune("chat", trained_run, "--prompt", " ")
    assert code == 2 and "--prompt is empty" in err
