"""`finetune sweep`: what it tries, what it refuses beforehand, how it goes on after a kill, the recipe that wins."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune.errors import MachineError, RecipeError, RunFolderError
from finetune.recipe.load import load_recipe
from finetune.recipe.sweep import SweepSection
from finetune.sweeping.checking import sweep_faults
from finetune.sweeping.page import page
from finetune.sweeping.results import Results, Row, in_order
from finetune.sweeping.space import grid, overrides

GRID = {"method": "grid", "parameters": {"learning_rate": [1e-4, 1e-3], "lora_r": [4, 8]}}


def said(write_recipe: Any, sweep: dict[str, Any], **changes: Any) -> list[str]:
    path = write_recipe(**({"val_set_size": 0.2} | changes), sweep=sweep)
    return [fault.message for fault in sweep_faults(path, (), load_recipe(path))]


def test_a_grid_has_every_combination_and_a_range_with_a_step_is_a_list() -> None:
    sweep = SweepSection.model_validate(
        {"method": "grid", "parameters": {"lora_r": {"min": 8, "max": 24, "step": 8}, "adapter": ["lora", "qlora"]}}
    )
    assert [list(values.values()) for values in grid(sweep) or []] == [
        [rank, adapter] for rank in (8, 16, 24) for adapter in ("lora", "qlora")
    ]
    assert overrides({"lora_target_modules": ["q_proj"], "learning_rate": 1e-5, "bf16": True}) == [
        "lora_target_modules=[q_proj]",
        "learning_rate=1.0e-05",
        "bf16=true",
    ]


@pytest.mark.parametrize(
    ("sweep", "word"),
    [
        ({"method": "grid", "parameters": {"lora_rank": [1, 2]}}, "unknown key `lora_rank`; did you mean `lora_r`?"),
        ({"method": "grid", "parameters": {"save_steps": [0, 5], "saves_per_epoch": [0, 1]}}, "cannot both hold"),
        ({"method": "random", "trials": 3, "parameters": {"lora_dropout": {"min": 0, "max": 1}}}, "less than 1"),
        ({"method": "random", "parameters": {"lora_r": [1, 2]}}, "set `sweep.trials: 20`"),
        (GRID | {"trials": 3}, "all of its 4 combinations"),
        (GRID | {"metric": "rougeL"}, "`sweep.metric: rougeL` is not measured"),
        ({"method": "grid", "parameters": {"learning_rate": {"min": 1e-5, "max": 1e-3, "log": True}}}, "needs lists"),
        ({"method": "grid", "parameters": {"output_dir": ["a", "b"]}}, "cannot be tried"),
    ],
)
def test_what_is_no_sweep_is_named_before_anything_runs(sweep: dict[str, Any], word: str, write_recipe: Any) -> None:
    assert any(word in message for message in said(write_recipe, sweep)), said(write_recipe, sweep)


def test_validate_names_the_combination_and_its_line(write_recipe: Any, finetune: Any) -> None:
    sweep = {"method": "grid", "parameters": {"save_steps": [0, 5], "saves_per_epoch": [0, 1]}}
    code, _, err = finetune("validate", write_recipe(val_set_size=0.2, sweep=sweep))
    assert code == RecipeError.exit_code
    assert "`sweep` tries save_steps: 5, saves_per_epoch: 1, which is no recipe" in err and "[FT005]" in err
    code, _, err = finetune("validate", write_recipe(val_set_size=0.2, sweep={"method": "grid", "paramters": {}}))
    assert code == RecipeError.exit_code and "unknown key `sweep.paramters`" in err


def test_a_sweep_without_validation_rows_has_nothing_to_compare(write_recipe: Any) -> None:
    assert any("there are none: set" in message for message in said(write_recipe, GRID, val_set_size=None))
    assert said(write_recipe, GRID | {"metric": "train_loss"}, val_set_size=None) == []


def test_a_sweep_of_rewarded_answers_is_compared_by_their_reward(write_recipe: Any, tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text("def short(completions, **rest):\n    return [1.0 for _ in completions]\n")
    online = {
        "rl": "grpo",
        "trl": {"reward_funcs": ["rewards.py:short"], "num_generations": 2, "max_completion_length": 8},
        "micro_batch_size": 2,
    }
    sweep = {"method": "grid", "parameters": {"lora_r": [8, 16]}}
    for metric in ({}, {"metric": "loss"}, {"metric": "train_loss"}):
        (message,) = said(write_recipe, sweep | metric, **online)
        assert "rl: grpo" in message and "write `metric: eval_reward`" in message
    assert said(write_recipe, sweep | {"metric": "eval_reward"}, **online) == []


def test_a_dry_run_shows_the_trials_and_writes_nothing(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    code, out, _ = finetune("sweep", write_recipe(val_set_size=0.2, sweep=GRID), "--dry-run")
    assert code == 0 and not (tmp_path / "run").exists()
    assert "trial 003  learning_rate: 0.001, lora_r: 8" in out and "4 trials (grid)" in out
    drawn = {"method": "random", "trials": 3, "parameters": {"learning_rate": {"min": 1e-5, "max": 1e-3, "log": True}}}
    outs = [finetune("sweep", write_recipe(val_set_size=0.2, sweep=drawn), "--dry-run")[1] for _ in range(2)]
    lines = [line for line in outs[0].splitlines() if line.startswith("trial 00")]
    assert outs[0] == outs[1] and len({line[10:] for line in lines}) == 3


def test_other_commands_say_that_they_go_by_the_recipes_own_values(write_recipe: Any, finetune: Any) -> None:
    code, _, err = finetune("plan", write_recipe(val_set_size=0.2, sweep=GRID))
    assert code == 0 and "[FT027]" in err


def test_the_pip_line_is_named_where_optuna_is_missing(
    write_recipe: Any, finetune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune import machine

    monkeypatch.setattr(machine, "installed", lambda name: None)
    code, _, err = finetune("sweep", write_recipe(val_set_size=0.2, sweep=GRID))
    assert code == MachineError.exit_code and "pip install 'finetune-recipes[sweep]'" in err


def test_the_page_shows_every_trial_and_marks_the_best() -> None:
    sweep = SweepSection.model_validate({"trials": 3, "parameters": {"lora_r": [4, 8], "adapter": ["lora", "qlora"]}})
    rows = [
        Row(0, "complete", 0.5, {"lora_r": 4, "adapter": "lora"}, {1: 0.9, 2: 0.5}, 3.0, ""),
        Row(1, "failed", None, {"lora_r": 8, "adapter": "<b>"}, {}, 1.0, "the GPU's memory is full"),
        Row(2, "complete", 0.25, {"lora_r": 8, "adapter": "lora"}, {1: 0.6, 2: 0.25}, 3.0, ""),
    ]
    found = Results("r.yaml", sweep, rows, 2)
    text = page(found)
    assert [row.number for row in in_order(found)] == [2, 0, 1]
    assert "memory is full" in text and "<b>" not in text and text.count("<figure>") == 4
    assert "http" not in text.replace("http-equiv", "")


def rows_of(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run / "sweep.json").read_text())["trials"]
    return found


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_its_best_recipe_gives_the_same_figure(
    write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    sweep = {"method": "grid", "parameters": {"learning_rate": [1e-4, 5e-3, 3.0e38]}}
    path = write_recipe(val_set_size=0.2, max_steps=4, eval_steps=2, sweep=sweep)
    command = [sys.executable, "-m", "finetune", "sweep", str(path)]
    run, environment = tmp_path / "run", os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    while not (run / "trials" / "001" / "run.json").is_file():
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "going on: 1 of 3 trials are done, 1 anew" in done.stdout
    rows = rows_of(run)
    assert [row["state"] for row in rows] == ["complete", "interrupted", "failed", "complete"]
    assert [row["values"]["learning_rate"] for row in rows] == [1e-4, 5e-3, 3.0e38, 5e-3]
    assert rows[2]["reason"] and json.loads((run / "sweep.json").read_text())["best"] in (0, 3)
    best = run / "best.yaml"
    assert finetune("validate", best)[0] == 0
    won = rows[json.loads((run / "sweep.json").read_text())["best"]]
    recipe = yaml.safe_load(best.read_text())
    assert recipe["learning_rate"] == won["values"]["learning_rate"] and "sweep" not in recipe
    assert finetune(best)[0] == 0
    assert json.loads((run / "best" / "run.json").read_text())["eval_loss_last"] == won["value"]
    other = write_recipe(val_set_size=0.3, max_steps=4, eval_steps=2, sweep=sweep)
    code, _, err = finetune("sweep", other)
    assert code == RunFolderError.exit_code and "holds another sweep" in err
