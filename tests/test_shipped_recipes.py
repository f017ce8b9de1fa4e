"""Shipped recipes train: the quickstart whole, those of the guides on a tiny model of their family and a few rows."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RECIPES, ROOT

FAMILY = {
    "phi35_samantha": "phi",
    "llama3_alpaca": "llama3",
    "llama32_finetome": "llama3",
    "qwen15_full_guide": "chatml",
}
# What a CPU in a test cannot have; everything else runs as shipped.
ON_CPU = ["optimizer=adamw_torch", "use_tensorboard=null"]


@pytest.fixture
def alpaca(tmp_path: Path) -> Path:
    path = tmp_path / "alpaca.jsonl"
    row = {"instruction": "say it", "input": "", "output": "the sea is calm"}
    path.write_text((json.dumps(row) + "\n" + json.dumps(row | {"input": "now"}) + "\n") * 12)
    return path


def roles(path: Path, target: Path) -> Path:
    """The same conversations in role/content."""
    names = {"human": "user", "gpt": "assistant"}
    rows = [json.loads(line)["conversations"] for line in path.read_text().splitlines()]
    talks = [[{"role": names[turn["from"]], "content": turn["value"]} for turn in row] for row in rows]
    target.write_text("".join(json.dumps({"conversations": talk}) + "\n" for talk in talks))
    return target


@pytest.mark.parametrize("path", [path for path in RECIPES if path.stem in FAMILY], ids=lambda path: path.stem)
def test_a_shipped_recipe_trains_on_a_tiny_model_of_its_family(
    path: Path, finetune: Any, tiny_models: Any, sharegpt: Path, alpaca: Path, tmp_path: Path
) -> None:
    data = {"llama3_alpaca": alpaca, "qwen15_full_guide": roles(sharegpt, tmp_path / "talks.jsonl")}.get(
        path.stem, sharegpt
    )
    run = tmp_path / "run"
    changes = [f"base_model={tiny_models[FAMILY[path.stem]]}", f"datasets.0.path={data}", f"output_dir={run}"]
    short = ["max_steps=3", "generation_max_new_tokens=8", *ON_CPU]
    code, _, err = finetune(path, *changes, *short)
    assert code == 0, err
    assert json.loads((run / "run.json").read_text())["steps"] == 3


def test_the_quickstart_learns_to_answer_and_to_stop(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "finetune", "recipes/quickstart.yaml", f"output_dir={run}"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads((run / "run.json").read_text())
    assert facts["eval_loss_last"] < 0.2 * facts["eval_loss_first"]
    answers = json.loads((run / "answers.json").read_text())
    assert all(answer["after"]["stopped"] for answer in answers)
    assert all(answer["after"]["text"] != answer["before"]["text"] for answer in answers)
    assert "Mira" in answers[0]["after"]["text"]


def test_the_embedded_model_and_data_are_small_and_apart() -> None:
    folder = ROOT / "recipes" / "quickstart"
    assert sum(path.stat().st_size for path in (folder / "base").iterdir()) <= 4_000_000
    rows = {name: (folder / f"{name}.jsonl").read_text().splitlines() for name in ("conversations", "heldout")}
    assert 200 <= len(rows["conversations"]) <= 500
    said = {
        name: {turn["value"] for line in lines for turn in json.loads(line)["conversations"] if turn["from"] == "human"}
        for name, lines in rows.items()
    }
    assert not said["conversations"] & said["heldout"]
    import yaml

    prompts = yaml.safe_load((ROOT / "recipes" / "quickstart.yaml").read_text())["sample_prompts"]
    assert not said["conversations"] & set(prompts)


def test_the_scored_quickstart_keeps_the_checkpoint_with_the_best_answers(finetune: Any, tmp_path: Path) -> None:
    short = ["num_epochs=null", "max_steps=4", "eval_steps=2", "evals_per_epoch=null", "saves_per_epoch=null"]
    few = ["save_steps=2", "eval_generation_rows=4", "eval_max_new_tokens=8", "warmup_steps=0", "sample_prompts=[]"]
    code, _, err = finetune(ROOT / "recipes" / "quickstart_scored.yaml", f"output_dir={tmp_path / 'run'}", *short, *few)
    assert code == 0, err
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["figure"] == "eval_rougeL" and facts["weights"] == "best" and facts["best"]["step"] in (2, 4)
