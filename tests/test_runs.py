"""Real runs on tiny models: what they leave behind, how they stop, and what becomes of the folder when they fail."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import DataError, MachineError, ModelError, RunFolderError, TrainingError
from tests.conftest import ROOT


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "changes",
    [
        {"adapter": "lora"},
        {"adapter": "lora", "load_in_8bit": True},
        {"adapter": "qlora", "load_in_4bit": True},
        {"adapter": None},
        {"adapter": "lora", "sample_packing": True, "pad_to_sequence_len": True},
        {"adapter": "lora", "gradient_checkpointing": True, "bf16": True},
    ],
    ids=["lora", "8-bit", "4-bit", "full", "packed", "checkpointing in bf16"],
)
def test_a_run_trains_saves_and_answers(
    changes: dict[str, Any], write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    path = write_recipe(max_steps=12, learning_rate=5e-3, val_set_size=0.2, **changes)
    code, out, err = finetune(path)
    assert code == 0, err
    run = tmp_path / "run"
    status = json.loads((run / "run.json").read_text())
    assert status["status"] == "finished"
    assert status["loss_last"] < status["loss_first"]
    assert status["eval_loss_last"] < status["eval_loss_first"]
    assert (run / "recipe.yaml").read_text() == path.read_text()
    assert json.loads((run / "plan.json").read_text())["backend"] == "transformers"
    assert json.loads((run / "machine.json").read_text())["packages"]["trl"]
    weights = run / ("model" if changes["adapter"] is None else "adapter")
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (weights / name).is_file(), name
    assert "run folder" in out and "validation loss" in out
    assert not [path for path in run.iterdir() if path.name.endswith(".partial")]
    assert finetune("chat", run, "--prompt", "hello")[0] == 0


def test_four_bit_layers_of_any_width_are_evaluated_and_answer(write_recipe: Any, finetune: Any) -> None:
    base = ROOT / "recipes" / "quickstart" / "base"  # its layers are 352 wide, which bitsandbytes cannot repack
    path = write_recipe(base_model=str(base), adapter="qlora", load_in_4bit=True, val_set_size=0.2)
    code, _, err = finetune(path)
    assert code == 0, err


def test_bitsandbytes_still_needs_to_be_kept_from_repacking() -> None:
    """Fails once bitsandbytes repacks layers of any width: then keep_cpu_weights_as_loaded can go."""
    import torch
    from bitsandbytes.functional import has_avx512bf16
    from bitsandbytes.nn import Linear4bit

    if not has_avx512bf16():
        pytest.skip("this processor has no AVX512-BF16, for which bitsandbytes repacks")
    layer = Linear4bit(96, 64, bias=False, quant_type="nf4").to("cpu").eval()
    with pytest.raises(RuntimeError, match="shape"), torch.no_grad():
        layer(torch.zeros(2, 96))


def test_the_stop_tokens_are_saved_with_the_adapter(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    assert finetune(write_recipe())[0] == 0
    weights = tmp_path / "run" / "adapter"
    ids = json.loads((weights / "generation_config.json").read_text())["eos_token_id"]
    assert AutoTokenizer.from_pretrained(weights).convert_tokens_to_ids("<|im_end|>") in ids


def test_two_runs_of_one_recipe_are_equal(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    path = write_recipe(max_steps=4)
    for name in ("one", "two"):
        assert finetune(path, f"output_dir={tmp_path / name}")[0] == 0
    losses = [[entry.get("loss") for entry in metrics(tmp_path / name)] for name in ("one", "two")]
    assert losses[0] == losses[1]


def test_metrics_are_json_lines_with_every_logged_step(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    assert finetune(write_recipe(max_steps=4, logging_steps=2))[0] == 0
    logged = [entry for entry in metrics(tmp_path / "run") if "loss" in entry]
    assert [entry["step"] for entry in logged] == [2, 4]
    assert {"epoch", "seconds", "learning_rate", "grad_norm", "num_input_tokens_seen"} <= logged[0].keys()


def test_checkpoints_are_kept_as_the_recipe_says(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    assert finetune(write_recipe(max_steps=6, save_steps=2, save_total_limit=2))[0] == 0
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("checkpoint-*"))
    assert names == ["checkpoint-4", "checkpoint-6"]


def test_another_runs_folder_is_refused_and_replaced_only_whole(
    write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    path = write_recipe()
    assert finetune(path)[0] == 0
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    code, _, err = finetune(path)
    assert code == RunFolderError.exit_code and "--overwrite" in err
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"messages": []}\n')
    assert finetune(path, "--overwrite", f"datasets.0.path={bad}")[0] == DataError.exit_code
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before, "a failed run must not cost the old one"
    assert finetune(path, "--overwrite", "max_steps=1")[0] == 0
    assert len(metrics(tmp_path / "run")) < len(before.splitlines())
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_run_that_fails_in_training_keeps_the_run_it_was_to_replace(
    write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    path = write_recipe()
    assert finetune(path)[0] == 0
    code, _, err = finetune(path, "--overwrite", "learning_rate=1e30", "max_grad_norm=0", "max_steps=30")
    assert code == TrainingError.exit_code and "the run it was to replace is untouched" in err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
    failed = next(tmp_path.glob("run.failed-*"))
    assert json.loads((failed / "run.json").read_text())["status"] == "failed"


def test_a_loss_that_is_not_a_number_stops_the_run(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    code, _, err = finetune(write_recipe(max_steps=30), "learning_rate=1e30", "max_grad_norm=0")
    assert code == TrainingError.exit_code
    assert "Lower learning_rate" in err
    assert ">failed</span>" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"base_model": "./nowhere"}, ModelError, "there is no folder"),
        ({"base_model": "nobody/nothing"}, ModelError, "cannot be loaded"),
        ({"datasets": [{"path": "gone.jsonl"}]}, DataError, "no data file"),
        ({"lora_target_modules": ["no_such_layer"]}, ModelError, "lora_target_modules"),
        ({"special_tokens": {"eos_token": "<new>"}}, ModelError, "not in the vocabulary"),
        ({"tokens": ["<tool>"]}, ModelError, "would not be trained"),
        ({"unfrozen_parameters": ["model.nowhere"], "adapter": None}, ModelError, "matches no parameter"),
        ({"chat_template": "llama3"}, ModelError, "does not know as one token"),
        ({"backend": "unsloth"}, MachineError, "needs a CUDA GPU"),
        ({"optimizer": "galore_adamw_8bit", "optim_target_modules": "all_linear"}, MachineError, "needs a CUDA GPU"),
        ({"fp16": True}, MachineError, "write fp16: false"),
        ({"attn_implementation": "flash_attention_2"}, MachineError, "write attn_implementation: auto"),
        ({"attn_implementation": "flash_attention_4"}, MachineError, "flash-attn-4"),
        ({"sequence_len": 8}, DataError, "none of the 48 rows"),
        ({"model_type": "FooForCausalLM"}, ModelError, "no class FooForCausalLM"),
        ({"output_dir": "."}, RunFolderError, "is the working directory"),
        ({"output_dir": "~nosuchuser/x"}, RunFolderError, "cannot be written"),
        ({"output_dir": "a" * 300}, RunFolderError, "cannot be written"),
    ],
)
def test_what_cannot_run_leaves_nothing_behind(
    changes: dict[str, Any], error: Any, says: str, write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    code, _, err = finetune(write_recipe(**changes))
    assert (code, says in err) == (error.exit_code, True), err
    assert re.match(r"\S+recipe\.yaml:\d+:\d+: error: ", err.splitlines()[-1]), err
    assert not (tmp_path / "run").exists()


def test_an_output_dir_that_cannot_be_is_refused(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    code, _, err = finetune(write_recipe(output_dir=str(tmp_path / "file")))
    assert code == RunFolderError.exit_code and "is a file" in err
    code, _, err = finetune(write_recipe(output_dir=str(tmp_path / "file" / "below")))
    assert code == RunFolderError.exit_code and "cannot be written" in err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    code, _, err = finetune(write_recipe(output_dir=str(tmp_path / "mine")), "--overwrite")
    assert code == RunFolderError.exit_code and "no run's" in err
    assert (tmp_path / "mine" / "thesis.txt").is_file()


def test_a_run_of_fewer_steps_than_a_log_still_notices_numbers_that_are_none(write_recipe: Any, finetune: Any) -> None:
    code, _, err = finetune(write_recipe(logging_steps=10), "learning_rate=1e30", "max_grad_norm=0")
    assert code == TrainingError.exit_code, err


def test_a_checkpoint_that_lacks_weights_is_refused(
    write_recipe: Any, finetune: Any, tiny_models: Any, tmp_path: Path
) -> None:
    shutil.copytree(tiny_models["chatml"], tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    code, _, err = finetune(write_recipe(base_model=str(tmp_path / "model")))
    assert code == ModelError.exit_code and "which would be random" in err


@pytest.mark.parametrize("content", [b"", b"xx"])
def test_damaged_weights_are_an_error_of_the_model(
    content: bytes, write_recipe: Any, finetune: Any, tiny_models: Any, tmp_path: Path
) -> None:
    shutil.copytree(tiny_models["chatml"], tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(content)
    assert finetune(write_recipe(base_model=str(tmp_path / "model")))[0] == ModelError.exit_code


# What a run of the tiny model writes then: about 150 MB, and about 220 MB with the optimizer.
FULL = [{"lora_r": 16384}, {"lora_r": 8192, "save_steps": 1}]


@pytest.mark.parametrize("changes", FULL, ids=["saving", "a checkpoint"])
def test_a_full_disk_is_named_and_leaves_nothing_half_written(
    changes: dict[str, Any], write_recipe: Any, finetune: Any, small_disk: Path
) -> None:
    code, _, err = finetune(write_recipe(output_dir=str(small_disk / "run"), **changes))
    assert code == RunFolderError.exit_code and "is full" in err, err
    assert not (small_disk / "run" / "adapter").exists()
    assert not list((small_disk / "run").glob(".*.partial"))


def test_a_run_whose_reader_leaves_goes_on(write_recipe: Any, tmp_path: Path) -> None:
    command = f"{sys.executable} -m finetune {write_recipe(max_steps=6)} | head -2"
    subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, check=True)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"


@pytest.fixture
def started() -> Iterator[Any]:
    """Starts a run in a process of its own and returns once it has trained a step; ends what a failing test leaves."""
    processes: list[subprocess.Popen[str]] = []

    def start(path: Path, *options: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "finetune", str(path), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
        )
        processes.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step "):
                return process
        raise AssertionError(process.communicate()[1])

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_what_was_trained_and_says_so(
    number: signal.Signals, code: int, write_recipe: Any, started: Any, tmp_path: Path
) -> None:
    process = started(write_recipe(max_steps=100_000))
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert "all is saved" in out and "Traceback" not in err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()


def test_a_killed_run_leaves_no_half_adapter(write_recipe: Any, started: Any, tmp_path: Path) -> None:
    process = started(write_recipe(max_steps=100_000))
    time.sleep(0.2)
    process.kill()
    process.communicate()
    assert not (tmp_path / "run" / "adapter").exists()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "training"


def test_a_finished_run_outlives_the_stopping_or_killing_of_the_one_that_was_to_replace_it(
    write_recipe: Any, finetune: Any, started: Any, tmp_path: Path
) -> None:
    assert finetune(write_recipe())[0] == 0
    finished = (tmp_path / "run" / "run.json").read_bytes()
    path = write_recipe(max_steps=100_000)
    process = started(path, "--overwrite")
    code, _, err = finetune(path, "--overwrite")
    assert code == RunFolderError.exit_code and "a run that goes on" in err
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=120)[0].count("run.interrupted-") == 1
    assert (tmp_path / "run" / "run.json").read_bytes() == finished
    process = started(path, "--overwrite")
    process.kill()
    process.communicate()
    code, _, err = finetune(path, "--overwrite")
    assert code == RunFolderError.exit_code and "Move it back" in err
    waiting = next(tmp_path.glob(".run.replaced-*"))
    assert (waiting / "run.json").read_bytes() == finished
