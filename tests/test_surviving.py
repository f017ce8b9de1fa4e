"""Runs that were killed or stopped go on bit for bit; what does not fit the checkpoint is refused by name."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune import stopping
from finetune.errors import DataError, MachineError, RecipeError, RunFolderError
from finetune.rundir import birth_of
from tests.conftest import ROOT
from tests.crashing import differences, metrics

LONG: dict[str, Any] = {
    "lora_dropout": 0.1,
    "neftune_noise_alpha": 5.0,
    "max_steps": None,
    "num_epochs": 2,
    "gradient_accumulation_steps": 3,
    "logging_steps": 2,
    "val_set_size": 0.2,
    "eval_steps": 3,
    "save_steps": 2,
    "save_total_limit": 2,
    "lr_scheduler": "cosine",
}
"""14 steps with everything that draws random numbers or counts."""


def crash(recipe: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.crashing", str(recipe), "--folder", str(folder), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


def test_a_run_that_is_killed_again_and_again_comes_to_the_same_to_the_last_bit(
    write_recipe: Any, tmp_path: Path
) -> None:
    path = write_recipe(**LONG, sample_packing=True, sequence_len=128, dataloader_num_workers=1)
    done = crash(path, tmp_path / "crash", "--kills", "1", "--places", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "half a file 1, before it is sealed 1" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"sample_packing": True, "sequence_len": 128, "dataloader_num_workers": 2},
        {"dataloader_num_workers": 2, "dataloader_persistent_workers": True, "group_by_length": True},
        {"save_steps": None, "eval_steps": None, "save_strategy": "epoch", "eval_strategy": "epoch"},
        {"save_steps": 7, "eval_steps": None, "eval_strategy": "epoch", "adapter": None, "lora_dropout": None},
        {"save_steps": 3, "load_best_model_at_end": True, "greater_is_better": True, "metric_for_best_model": "loss"},
        {"early_stopping_patience": 2, "eval_steps": 2, "num_epochs": 9, "greater_is_better": True}
        | {"metric_for_best_model": "loss", "save_total_limit": 1},
        {"adapter": "qlora", "load_in_4bit": True, "max_steps": 11, "save_steps": 11},
        {"bf16": True, "optimizer": "schedule_free_adamw"},
    ],
    ids=["packed", "kept workers", "epochs", "whole model", "best", "early stop", "4-bit, to step 11", "bf16"],
)
def test_it_does_so_fifty_times_whatever_is_trained(changes: dict[str, Any], write_recipe: Any, tmp_path: Path) -> None:
    # It is killed on purpose in the writing of its second checkpoint, but for the files that are in its first as well.
    places = ["--places", "1"] if changes.get("save_steps") == changes.get("max_steps", 0) else []
    done = crash(write_recipe(**(LONG | changes)), tmp_path / "crash", "--kills", "50", *places)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def stopped(finetune: Any) -> Callable[..., tuple[int, str, str]]:
    """Run a recipe and send this process a signal as soon as a step is in the metrics."""

    def call(path: Path, run: Path, step: int, number: int = signal.SIGTERM, *options: str) -> tuple[int, str, str]:
        def watch() -> None:
            for _ in range(6000):
                text = (run / "metrics.jsonl").read_text() if (run / "metrics.jsonl").is_file() else ""
                if f'"step": {step},' in text:
                    os.kill(os.getpid(), number)
                    return
                time.sleep(0.002)

        thread = threading.Thread(target=watch)
        thread.start()
        answer: tuple[int, str, str] = finetune(path, f"output_dir={run}", *options)
        thread.join()
        return answer

    return call


@pytest.mark.parametrize(
    ("changes", "step"),
    [({}, 2), ({"save_steps": None, "eval_steps": None, "eval_strategy": "epoch", "logging_steps": 1}, 6)],
    ids=["in an epoch", "near its end, without checkpoints"],
)
def test_a_run_that_was_stopped_by_a_signal_goes_on_where_it_was(
    changes: dict[str, Any], step: int, write_recipe: Any, finetune: Any, stopped: Any, tmp_path: Path
) -> None:
    path = write_recipe(**(LONG | changes))
    assert finetune(path, f"output_dir={tmp_path / 'plain'}")[0] == 0
    code, out, err = stopped(path, tmp_path / "stopped", step)
    assert code == 143, err
    assert "`--resume` goes on from" in out
    code, out, err = finetune(path, f"output_dir={tmp_path / 'stopped'}", "--resume")
    assert code == 0, err
    assert "goes on after step" in out
    found = differences(tmp_path / "plain", tmp_path / "stopped")
    # A run without regular checkpoints keeps the one that the signal brought.
    assert [difference for difference in found if "the last checkpoint" not in difference] == []


def test_a_second_signal_ends_the_run_at_once_and_costs_no_checkpoint(
    killed: Path, finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune import checkpoints

    path, run = killed, tmp_path / "run"
    shutil.rmtree(run)
    sealed = checkpoints.seal
    monkeypatch.setattr(stopping, "SAME_S", 0.0)

    def impatient(folder: Path, facts: Any) -> None:
        if folder.name == "checkpoint-4":
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
        sealed(folder, facts)

    monkeypatch.setattr(checkpoints, "seal", impatient)
    assert finetune(path)[0] == 130
    monkeypatch.undo()
    assert [path.name for path in (run / "checkpoints").glob("checkpoint-*")] == ["checkpoint-2"]
    assert finetune(path, "--resume")[0] == 0
    assert differences(tmp_path / "plain", run) == []


def test_a_signal_that_comes_by_two_ways_is_one() -> None:
    with stopping.StopRequest().listening() as stop:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        assert stop.signal == signal.SIGTERM


def test_a_signal_to_all_processes_of_a_run_takes_none_that_reads_rows_along(
    write_recipe: Any, finetune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Slurm, systemd and a terminal send it."""
    import psutil

    from finetune.watch import Watcher

    ended, found = Watcher.on_step_end, []

    def told(self: Any, args: Any, state: Any, control: Any, **named: Any) -> None:
        if state.global_step == 2:
            readers = psutil.Process().children()
            found.append(len(readers))
            for process in (*readers, psutil.Process()):
                process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            found.append(sum(reader.is_running() and reader.status() != "zombie" for reader in readers))
        ended(self, args, state, control, **named)

    monkeypatch.setattr(Watcher, "on_step_end", told)
    code, out, err = finetune(write_recipe(max_steps=20, dataloader_num_workers=1))
    assert code == 143, err
    assert "all is saved" in out and found == [1, 1]


FINISHED: list[Path] = []
"""A run of LONG, made once."""


@pytest.fixture
def killed(write_recipe: Any, finetune: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of a run that looks as if it had been killed after its last checkpoint; `plain` is the whole run."""
    path, run = write_recipe(**LONG), tmp_path / "run"
    if not FINISHED:
        FINISHED.append(tmp_path_factory.mktemp("finished") / "run")
        assert finetune(path, f"output_dir={FINISHED[0]}")[0] == 0
    shutil.copytree(FINISHED[0], run)
    shutil.copytree(run, tmp_path / "plain")
    undo(run)
    return Path(path)


def undo(run: Path) -> None:
    """Make a finished run one that was killed while it trained."""
    marker = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(
        json.dumps({"status": "training", "process": 1, "birth": "x", "host": marker["host"]})
    )
    shutil.rmtree(run / "adapter")


def test_a_changed_recipe_is_refused_key_by_key_unless_it_is_allowed_by_name(
    killed: Path, finetune: Any, tmp_path: Path
) -> None:
    before = sorted((tmp_path / "run").rglob("*"))
    code, _, err = finetune(killed, "--resume", "learning_rate=2e-3", "weight_decay=0.5", "logging_steps=1")
    assert code == RecipeError.exit_code
    assert "learning_rate: 0.001 -> 0.002" in err and "weight_decay: 0.0 -> 0.5" in err and "logging_steps" not in err
    assert "--resume-changed learning_rate --resume-changed weight_decay" in err
    assert sorted((tmp_path / "run").rglob("*")) == before, "a refusal leaves the run as it was"
    checkpoint = sorted((tmp_path / "run" / "checkpoints").iterdir())[0]  # checkpoint-12
    code, out, err = finetune(
        killed, f"resume_from_checkpoint={checkpoint}", "--resume-changed", "learning_rate", "learning_rate=2e-3"
    )
    assert code == 0, err
    assert "with another learning_rate" in out
    rates = [
        [line["learning_rate"] for line in metrics(tmp_path / name) if "learning_rate" in line]
        for name in ("plain", "run")
    ]
    assert rates[1][:6] == rates[0][:6] and rates[1][6] == pytest.approx(2 * rates[0][6])
    told = json.loads((tmp_path / "run" / "resumed.jsonl").read_text())
    assert (told["step"], told["changed"]) == (12, ["learning_rate"])


def test_a_change_of_the_shape_of_what_is_trained_is_no_way_to_go_on(
    killed: Path, finetune: Any, tmp_path: Path
) -> None:
    code, _, err = finetune(killed, "--resume-changed", "lora_r", "lora_r=4")
    assert code == RecipeError.exit_code
    assert "checkpoint-14 does not fit the model that the changed keys make (lora_r)" in err
    assert finetune(killed, "--resume")[0] == 0, "the checkpoint is as it was"
    assert differences(tmp_path / "plain", tmp_path / "run") == []


def test_other_libraries_are_refused_with_their_versions_unless_they_are_allowed(
    killed: Path, finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune import machine

    monkeypatch.setattr(
        machine, "installed", lambda name, now=machine.installed: "9.9" if name == "peft" else now(name)
    )
    code, _, err = finetune(killed, "--resume")
    assert code == MachineError.exit_code
    assert "  peft: " in err and " -> 9.9\n" in err and "torch: " not in err
    code, out, err = finetune(killed, "--resume-changed", "libraries")
    assert code == 0, err
    assert "with other libraries" in out
    assert "9.9" in json.loads((tmp_path / "run" / "resumed.jsonl").read_text())["libraries"][0]
    assert differences(tmp_path / "plain", tmp_path / "run") == []


def test_changed_data_is_refused_and_the_run_left_as_it_was(killed: Path, finetune: Any, tmp_path: Path) -> None:
    import yaml

    source = Path(yaml.safe_load(killed.read_text())["datasets"][0]["path"])
    other = tmp_path / "other.jsonl"
    other.write_text("\n".join(source.read_text().splitlines()[1:]) + "\n")
    marker = (tmp_path / "run" / "run.json").read_text()
    code, _, err = finetune(killed, "--resume", f"datasets.0.path={other}")
    assert code == DataError.exit_code and "the data is not what" in err and "rows" in err
    assert (tmp_path / "run" / "run.json").read_text() == marker
    assert (tmp_path / "run" / "checkpoints").is_dir()
    # The same rows from another place are the same data.
    other.write_text(source.read_text())
    assert finetune(killed, "--resume", f"datasets.0.path={other}", "dataset_num_proc=1")[0] == 0


def test_more_epochs_than_before_are_allowed_by_name_and_said_what_they_mean(
    killed: Path, finetune: Any, tmp_path: Path
) -> None:
    assert finetune(killed, "--resume")[0] == 0
    assert differences(tmp_path / "plain", tmp_path / "run") == []
    code, out, _ = finetune(killed, "--resume")
    assert code == 0 and "nothing is left to do" in out
    code, _, err = finetune(killed, "--resume", "num_epochs=3")
    assert code == RecipeError.exit_code
    assert "num_epochs: 2.0 -> 3.0" in err and "the course of a run of 14 steps until step 14" in err
    code, _, err = finetune(killed, "--resume-changed", "num_epochs", "num_epochs=3")
    assert code == 0, err
    assert metrics(tmp_path / "run")[-2]["step"] == 21


def test_with_a_constant_rate_more_steps_are_one_longer_run(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    path = write_recipe(lr_scheduler="constant", max_steps=4, save_steps=2, lora_dropout=0.1)
    assert finetune(path, f"output_dir={tmp_path / 'plain'}", "max_steps=7")[0] == 0
    assert finetune(path)[0] == 0
    code, _, err = finetune(path, "--resume", "max_steps=7")
    assert code == RecipeError.exit_code and "the result is that of one run of the new length" in err
    code, _, err = finetune(path, "--resume-changed", "max_steps", "max_steps=7")
    assert code == 0, err
    weights = [(tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes() for name in ("plain", "run")]
    assert weights[0] == weights[1]


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(killed: Path, finetune: Any, tmp_path: Path) -> None:
    newest = tmp_path / "run" / "checkpoints" / "checkpoint-14"
    whole = (newest / "optimizer.pt").read_bytes()
    (newest / "optimizer.pt").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    code, _, err = finetune(killed, f"resume_from_checkpoint={newest}")
    assert code == RunFolderError.exit_code and "is not what was written" in err
    code, out, err = finetune(killed, "--resume")
    assert code == 0, err
    assert "goes on after step 12 of 14" in out
    assert differences(tmp_path / "plain", tmp_path / "run") == []


def test_a_run_goes_on_from_anothers_checkpoint_in_a_folder_of_its_own(
    killed: Path, finetune: Any, tmp_path: Path
) -> None:
    code, _, err = finetune(killed, f"resume_from_checkpoint={tmp_path / 'plain'}", f"output_dir={tmp_path / 'new'}")
    assert code == 0, err
    assert not [found for found in differences(tmp_path / "plain", tmp_path / "new") if "last checkpoint" not in found]
    code, _, err = finetune(killed, f"resume_from_checkpoint={tmp_path / 'nothing'}", f"output_dir={tmp_path / 'no'}")
    assert code == RunFolderError.exit_code and "no whole checkpoint" in err


def gone_on(path: Path, finetune: Any, folder: Path) -> list[str]:
    """What a run that goes on from step 2 of another differs in from that other, which was not disturbed."""
    one, two = folder / "one", folder / "two"
    for words in (
        [f"output_dir={one}"],
        [f"output_dir={two}", f"resume_from_checkpoint={one}/checkpoints/checkpoint-2"],
    ):
        code, _, err = finetune(path, *words)
        assert code == 0, err
    return [found for found in differences(one, two) if "last checkpoint" not in found]


@pytest.mark.parametrize(
    "keys",
    [
        {"adapter": "p_tuning", "num_virtual_tokens": 4},
        pytest.param(
            {"adapter": "prefix_tuning", "num_virtual_tokens": 4, "prefix_projection": True}, marks=pytest.mark.slow
        ),
        pytest.param({"adapter": "prompt_tuning", "num_virtual_tokens": 4}, marks=pytest.mark.slow),
    ],
    ids=lambda keys: keys["adapter"],
)
def test_virtual_tokens_go_on_from_the_encoder_that_makes_them(
    keys: dict[str, Any], write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    path = write_recipe(**keys, lora_r=None, lora_alpha=None, max_steps=4, save_steps=2, sample_prompts=[])
    assert not gone_on(path, finetune, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["galore_adamw", "apollo_adamw"])
def test_optimizers_that_compress_go_on_with_their_projections(
    optimizer: str, write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    keys = {"adapter": None, "lora_r": None, "lora_alpha": None, "optim_target_modules": ["q_proj", "v_proj"]}
    keys |= {"optim_args": {"rank": 4, "update_proj_gap": 2, "scale": 0.25}, "max_steps": 4, "save_steps": 2}
    path = write_recipe(**keys, optimizer=optimizer, sample_prompts=[])
    assert not gone_on(path, finetune, tmp_path)


def test_the_run_that_was_to_be_replaced_waits_for_the_killed_one_to_go_on(
    killed: Path, finetune: Any, tmp_path: Path
) -> None:
    waiting = tmp_path / ".run.replaced-1"
    shutil.copytree(tmp_path / "plain", waiting)
    assert finetune(killed, "--resume")[0] == 0
    assert not waiting.exists()
    assert differences(tmp_path / "plain", tmp_path / "run") == []


def test_an_interrupted_run_that_was_to_replace_another_is_found_beside_it(
    killed: Path, finetune: Any, tmp_path: Path
) -> None:
    (tmp_path / "run").rename(tmp_path / "run.interrupted-7")
    shutil.copytree(tmp_path / "plain", tmp_path / "run")
    code, out, err = finetune(killed, "--overwrite", "--resume")
    assert code == 0, err
    assert "goes on after step 14" in out
    assert differences(tmp_path / "plain", tmp_path / "run") == []
    assert not list(tmp_path.glob("*run.*-*"))


def test_a_run_that_another_process_writes_is_not_gone_on_with(killed: Path, finetune: Any, tmp_path: Path) -> None:
    marker = tmp_path / "run" / "run.json"
    mine = json.loads(marker.read_text()) | {"process": os.getpid(), "birth": birth_of(os.getpid())}
    marker.write_text(json.dumps(mine))
    code, _, err = finetune(killed, "--resume")
    assert code == RunFolderError.exit_code and "a run that goes on" in err
    # A process of the same number that began at another time is another one.
    marker.write_text(json.dumps(mine | {"birth": "another boot 7"}))
    assert finetune(killed, "--resume")[0] == 0


def test_checkpoints_come_on_demand_and_after_the_first_step(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    changes = {"save_first_step": True, "dynamic_checkpoint": {"enabled": True, "check_interval": 2}, "max_steps": 7}
    path = write_recipe(**changes)
    run.mkdir()

    def ask() -> None:
        while not (run / "checkpoints" / "checkpoint-1").is_dir():
            time.sleep(0.001)
        (run / "axolotl_checkpoint.save").touch()

    thread = threading.Thread(target=ask)
    thread.start()
    assert finetune(path)[0] == 0
    thread.join()
    steps = {int(path.name.split("-")[1]) for path in (run / "checkpoints").glob("checkpoint-*")}
    assert 1 in steps and len(steps) == 2 and (steps - {1}) <= {2, 4, 6}
    assert not (run / "axolotl_checkpoint.save").exists()
