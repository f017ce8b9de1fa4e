"""What a person meets at the command line: help, versions, exit codes, plain messages and never a traceback."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from finetune import __version__, doctor
from finetune.errors import EXIT_CODES, FinetuneError, MachineError
from finetune.recipe.source import read_file
from tests.conftest import ROOT, in_turn


def finetune_process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "finetune", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, **options)


def test_help_shows_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    from finetune.cli import COMMANDS, main

    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    shown = capsys.readouterr().out
    assert stop.value.code == 0
    assert all(command in shown for command in COMMANDS)
    assert all(meaning in shown for meaning in EXIT_CODES.values())


def test_the_exit_codes_page_is_complete_and_every_error_has_its_code() -> None:
    page = (ROOT / "docs" / "exit_codes.md").read_text()
    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in page
    codes = [error.exit_code for error in FinetuneError.__subclasses__()]
    assert set(codes) <= EXIT_CODES.keys() and len(set(codes)) == len(codes)


def test_version_is_the_packages() -> None:
    assert finetune_process("--version").stdout.strip() == f"finetune {__version__}"


def test_validate_takes_files_and_folders_and_fails_if_one_is_wrong(finetune: Any, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("base_model: m\ndatasets: [{path: a/b}]\noutput_dir: o\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "bad.yml").write_text("base_model: m\ndatasets: [{path: a/b}]\noutput_dir: o\nlora_rank: 1\n")
    code, out, err = finetune("validate", tmp_path)
    assert code == 3
    assert "1 of 2 recipes are valid" in out and "bad.yml:4:1" in err
    assert finetune("validate", tmp_path / "good.yaml")[0] == 0
    assert finetune("validate", tmp_path / "gone.yaml")[0] == 3
    (tmp_path / "empty").mkdir()
    assert finetune("validate", tmp_path / "empty")[0] == 2


def test_a_refused_key_is_shown_at_its_line(finetune: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "base_model: m\ndatasets: [{path: a/b}]\noutput_dir: o\nbackend: unsloth\n"
        "gradient_checkpointing: true\ngradient_checkpointing_kwargs: {use_reentrant: true}\n"
    )
    code, _, err = finetune("validate", path)
    assert code == 3 and f"{path}:6:1: error: `gradient_checkpointing_kwargs` cannot be honoured" in err


def test_plan_shows_every_call_and_why_this_machine_cannot_run_it(finetune: Any) -> None:
    code, out, _ = finetune("plan", ROOT / "recipes" / "phi35_samantha.yaml", "fp16=true")
    assert code == 0
    assert "[train] finetune.kernels.trainer.FlatSFTConfig" in out and "per_device_train_batch_size = 2" in out
    assert "this machine cannot run it: fp16: true needs a CUDA GPU" in out
    code, out, _ = finetune("plan", ROOT / "recipes" / "phi35_samantha.yaml", "--gpu", "24GB", "--json")
    plan = json.loads(out)
    assert (plan["backend"], plan["blockers"]) == ("unsloth", [])
    assert plan["stages"]["adapt"][0]["arguments"]["lora_alpha"] == 32
    assert finetune("plan", ROOT / "recipes" / "phi35_samantha.yaml", "--gpu", "big")[0] == 2


def test_overrides_may_stand_before_and_after_options(finetune: Any) -> None:
    path = ROOT / "recipes" / "quickstart.yaml"
    for words in (["seed=5", "--json"], ["--json", "seed=5"]):
        out = finetune("plan", path, *words)[1]
        assert json.loads(out)["stages"]["generate"][-1]["arguments"]["seed"] == 5


@pytest.mark.parametrize("arguments", [[], ["plan"], ["validate"], ["x.yaml", "--nonsense"], ["chat"]])
def test_a_command_that_is_not_understood_exits_with_2(arguments: list[str]) -> None:
    done = finetune_process(*arguments)
    assert done.returncode == 2 and "usage" in done.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no such file"), ("", "empty"), ("[1]", "key: value"), ("a: [", "not YAML"), (b"\xff\xfe\x00", "UTF-8")],
)
def test_bad_files_end_in_one_clear_line(content: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = finetune_process(str(path))
    assert done.returncode == 3
    assert says in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_run_on_a_machine_that_lacks_what_the_recipe_demands_is_refused_before_anything_is_written() -> None:
    done = finetune_process("recipes/phi35_samantha.yaml", "output_dir=outputs/never", "fp16=true")
    assert done.returncode == MachineError.exit_code
    assert "write fp16: false" in done.stderr
    assert not (ROOT / "outputs" / "never").exists()


def test_chat_says_what_a_folder_lacks(finetune: Any, tmp_path: Path) -> None:
    code, _, err = finetune("chat", tmp_path, "--prompt", "x")
    assert code == 7 and "not a run folder" in err


def test_doctor_tries_each_capability_in_a_process_of_its_own(finetune: Any, monkeypatch: Any) -> None:
    trials = (
        doctor.Trial("counting", "every recipe", "import sys; assert 'torch' not in sys.modules"),
        doctor.Trial("dividing", "load_in_4bit", "1 / 0"),
        doctor.Trial("a CUDA GPU", "bf16", "1 / 0", gpu=True),
    )
    monkeypatch.setattr(doctor, "TRIALS", trials)
    code, out, _ = finetune("doctor")
    assert code == 0
    rows = {line.split("│")[1].strip(): line for line in out.splitlines() if "│" in line}
    assert "works" in rows["counting"] and "no: ZeroDivisionError: division by zero" in rows["dividing"]
    assert "no: " in rows["a CUDA GPU"] and "ZeroDivision" not in rows["a CUDA GPU"]
    assert "transformers" in out and "5.17.0" in out


@pytest.mark.slow
def test_doctor_reports_the_tested_set_and_tries_what_works() -> None:
    done = finetune_process("doctor")
    assert done.returncode == 0, done.stderr
    assert "transformers" in done.stdout and "4-bit weights" in done.stdout and "works" in done.stdout


def test_the_guide_of_an_axolotl_user_validates_and_plans_unchanged(finetune: Any) -> None:
    path = ROOT / "tests" / "data" / "axolotl_guide.yaml"
    code, out, err = finetune("validate", path)
    assert code == 0 and "valid" in out
    assert "`type: json` names a file type" in err and "pin `revision_of_model`" in err
    assert finetune("plan", path)[0] == 0


SEED = ROOT.parent / "shared" / "seeds"


@pytest.mark.skipif(
    not SEED.is_dir(), reason="the guide itself is not beside this checkout; its keys are in tests/data"
)
def test_the_guides_own_file_validates_to_the_letter_and_holds_the_same_values(finetune: Any, tmp_path: Path) -> None:
    text = next(SEED.glob("003_*")).read_text()
    block = textwrap.dedent(text[text.index("```yaml\n") + 8 :].split("```")[0])
    path = tmp_path / "guide.yaml"
    path.write_text(block)
    assert finetune("validate", path)[0] == 0
    ours = read_file(ROOT / "tests" / "data" / "axolotl_guide.yaml").data
    assert read_file(path).data == ours


@pytest.mark.parametrize("path", in_turn(3))
def test_every_shipped_recipe_validates_and_plans_on_both_kinds_of_machine(path: Path, finetune: Any) -> None:
    assert finetune("validate", path)[0] == 0
    for options in ([], ["--gpu", "24"]):
        assert finetune("plan", path, *options)[0] == 0


def test_a_file_that_is_not_there_is_named_at_the_line_that_names_it(
    write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n')
    gone = "./gone.jsonl"
    path = write_recipe(datasets=[{"path": str(rows), "type": "chat_template"}, {"path": gone}], val_set_size=0)
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if gone in text)
    code, _, err = finetune("train", path)
    last = err.strip().splitlines()[-1]
    assert code == 4 and last.startswith(f"{path}:{line}:") and f"error: there is no data file {gone}" in last
