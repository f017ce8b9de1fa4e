"""A run is made again from its folder alone, and whether it came to the same is said by figures."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune.machine import probe
from finetune.plan import Plan
from finetune.reproducing.comparing import distance, figures, weights
from finetune.reproducing.verdict import foreseen, other_calls, terms, verdict
from finetune.rundir import RunDir


@pytest.fixture
def run(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run's folder, taken elsewhere; its recipe is gone, and we stand in another folder."""
    folder = tmp_path / "taken" / "run"
    shutil.copytree(trained_run, folder)
    change(folder, "origin.json", lambda origin: origin | {"recipe": "gone.yaml"})
    (folder / "recipe.yaml").write_text("base_model: another\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def change(run: Path, name: str, what: Callable[[Any], Any]) -> None:
    path = run / name
    path.write_text(json.dumps(what(json.loads(path.read_text()))))


def test_a_run_is_made_again_bit_for_bit_from_its_folder_alone(run: Path, finetune: Any) -> None:
    code, out, err = finetune("reproduce", run)
    assert code == 0, out + err
    report = json.loads((run.with_name("run.reproduction") / "reproduction.json").read_text())
    assert (report["verdict"], report["asked"], report["because"]) == ("bit-equal", "bit-equal", [])
    assert report["allowed"]["loss"] == report["allowed"]["weights"] == 0
    found = {figure["name"]: figure for figure in report["figures"]}
    assert found["loss"]["compared"] == found["loss"]["equal"] == 6
    assert found["eval_loss"]["compared"] == 3 and found["grad_norm"]["equal"] == 6
    assert report["weights"]["tensors"] == report["weights"]["equal"] > 0
    assert "verdict: bit-equal" in out and "98" not in err
    code, _, err = finetune("reproduce", run)
    assert code == 7 and "--overwrite" in err


def judged(one: Path, other: Path) -> Any:
    old, new = RunDir(one), RunDir(other)
    changes = other_calls(old, Plan.from_json(new.read("plan.json")), {})
    lines = [[json.loads(line) for line in run.metrics.read_text().splitlines()] for run in (old, new)]
    return verdict(terms(old, new, changes), figures(*lines, None), weights(old.weights, new.weights))


def test_a_difference_in_the_last_bit_counts_on_the_same_machine_and_not_on_another(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    assert judged(run, other).word == "bit-equal"
    lines = [json.loads(line) for line in (other / "metrics.jsonl").read_text().splitlines()]
    step = next(line for line in lines if "loss" in line)
    step |= {"loss": step["loss"] * (1 + 1e-7), "seconds": 99, "train_runtime": 99}
    (other / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = judged(run, other)
    assert found.word == "different" and [line[0] for line in found.lines if line[4] == "DIFFERENT"] == ["loss"]
    change(other, "run.json", lambda facts: facts | {"threads": facts["threads"] + 1})
    assert judged(run, other).word == "close", "sums in another order may differ in their last bits"
    step["loss"] *= 1.1
    (other / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert judged(run, other).word == "different", "by a tenth they may not"
    (other / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[:-4]))
    assert judged(run, other).word == "different", "nor may steps be missing"
    (other / "metrics.jsonl").write_text("")
    assert judged(run, other).word == "different"


def test_weights_are_compared_tensor_by_tensor(run: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(run, other)
    path = other / "adapter" / "adapter_model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] += 1e-3
    save_file(tensors, path)
    found = weights(run / "adapter", other / "adapter")
    assert found.equal == found.tensors - 1 and 0 < found.apart < 1e-2 and not found.is_equal
    assert judged(run, other).word == "different"
    del tensors[name]
    save_file(tensors, path)
    assert weights(run / "adapter", other / "adapter").missing == 1
    change(other, "machine.json", lambda machine: machine | {"packages": machine["packages"] | {"torch": "9"}})
    assert judged(run, other).word == "different", "a tensor that is missing is never close"


def test_what_makes_runs_comparable_is_named(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    change(other, "machine.json", lambda machine: machine | {"gpus": [{"name": "H100"}], "processes": 2})
    change(other, "machine.json", lambda machine: machine | {"packages": machine["packages"] | {"trl": "9"}})
    plan = json.loads((other / "plan.json").read_text())
    for call in plan["stages"]["train"]:
        if "learning_rate" in call["arguments"]:
            call["arguments"]["learning_rate"] = 5.0
            call["arguments"]["output_dir"] = "/elsewhere"
    asked = terms(RunDir(run), RunDir(other), other_calls(RunDir(run), Plan.from_json(plan), {}))
    told = "; ".join(asked.why)
    assert asked.kind == "close" and "no GPU → H100" in told and "processes: 1 → 2" in told and "trl" in told
    assert "learning_rate" in told and "output_dir" not in told
    assert "losses 0.02" in asked.said and "0.1 of their norm" in asked.said
    here = replace(probe(), processes=2)
    change(other, "machine.json", lambda machine: machine | {"gpus": []})
    assert foreseen(RunDir(run), probe()) == [] and "processes: 1 → 2" in foreseen(RunDir(run), here)
    assert [words for words in foreseen(RunDir(other), here) if words.startswith("trl 9 → ")]
    assert asked.tolerance("loss") == 0.02 and asked.tolerance("num_input_tokens_seen") == 0


def test_a_gpu_gives_the_same_bits_where_its_sums_have_a_fixed_order(run: Path, tmp_path: Path) -> None:
    change(run, "machine.json", lambda machine: machine | {"gpus": [{"name": "H100"}]})
    other = tmp_path / "other"
    shutil.copytree(run, other)
    assert terms(RunDir(run), RunDir(other), []).why == ("GPU (H100) without full_determinism: true",)

    def fixed(plan: Any) -> Any:
        for call in plan["stages"]["train"]:
            if "full_determinism" in call["arguments"]:
                call["arguments"]["full_determinism"] = True
        return plan

    change(run, "plan.json", fixed)
    assert terms(RunDir(run), RunDir(other), []).kind == "bit-equal"
    change(other, "machine.json", lambda machine: machine | {"gpus": [{"name": "A100"}]})
    assert terms(RunDir(run), RunDir(other), []).why == ("H100 → A100",)


def test_figures_of_a_stopped_run_are_compared_as_far_as_it_came() -> None:
    one = [
        {"step": 1, "loss": 2.0},
        {"step": 2, "loss": 1.0},
        {"step": 2, "eval_loss": 3.0},
        {"step": 2, "train_loss": 9},
    ]
    other = [
        {"step": 1, "loss": 2.0},
        {"step": 2, "loss": 1.0},
        {"step": 2, "eval_loss": 3.0},
        {"step": 3, "loss": 0.5},
    ]
    found = {figure.name: figure for figure in figures(one, other, 2)}
    assert set(found) == {"loss", "eval_loss"} and all(figure.is_equal for figure in found.values())
    assert {figure.name: figure.missing for figure in figures(one, other, None)}["loss"] == 1
    same = [{"step": 1, "eval_loss": float("nan")}]
    assert figures(same, json.loads(json.dumps(same)), None)[0].is_equal, "what is no number in both is the same"
    assert distance(1.0, "nan") == float("inf") and distance("nan", "nan") == 0 and distance(-1.0, 1.0) == 2


def test_a_run_whose_data_or_model_is_another_is_refused_by_name(run: Path, finetune: Any, tmp_path: Path) -> None:
    keys = json.loads((run / "origin.json").read_text())["keys"]
    model, data = tmp_path / "model", tmp_path / "rows.jsonl"
    shutil.copytree(keys["base_model"], model)
    shutil.copy(keys["datasets"][0]["path"], data)
    with data.open("a") as file:
        file.write("\n")
    code, _, err = finetune("reproduce", run, f"datasets.0.path={data}", f"base_model={model}")
    assert code == 10 and err.count("error: ") == 1 and "datasets.0: " in err and "--anyway" in err
    (model / "config.json").write_bytes((model / "config.json").read_bytes() + b" ")
    code, _, err = finetune("reproduce", run, f"base_model={model}")
    assert code == 10 and "model.config.json" in err
    change(run, "origin.json", lambda origin: origin | {"keys": keys | {"base_model": "/gone/model"}})
    code, _, err = finetune("reproduce", run)
    assert code == 10 and "base_model=…" in err and "not on this machine" in err
    code, _, err = finetune("reproduce", run, "learning_rate=1")
    assert code == 2 and "learning_rate" in err
    (run / "lock.yaml").unlink()
    code, _, err = finetune("reproduce", run)
    assert code == 10 and "lock.yaml" in err


def test_a_run_is_not_made_again_over_itself_nor_with_an_input_it_never_had(run: Path, finetune: Any) -> None:
    before = sorted(path.name for path in run.iterdir())
    code, _, err = finetune("reproduce", run, "--output", run, "--overwrite")
    assert code == 2 and "name another folder" in err
    for word in ("datasets.7.path=x", "test_datasets.x.path=x"):
        code, _, err = finetune("reproduce", run, word)
        assert code == 2 and "no such input" in err
    assert sorted(path.name for path in run.iterdir()) == before


def test_what_cannot_be_made_again_is_refused(run: Path, finetune: Any, tmp_path: Path) -> None:
    assert finetune("reproduce", tmp_path / "nothing")[0] == 7
    line = {"step": 3, "changed": ["learning_rate"], "libraries": ["torch: 1 -> 2"]}
    (run / "resumed.jsonl").write_text(json.dumps(line) + "\n")
    code, _, err = finetune("reproduce", run)
    assert code == 10 and "after step 3: learning_rate, torch: 1 -> 2" in err
    (run / "resumed.jsonl").unlink()
    change(run, "run.json", lambda facts: facts | {"status": "failed"})
    (run / "metrics.jsonl").write_text("")
    code, _, err = finetune("reproduce", run)
    assert code == 7 and "made no step" in err
    (run / "recipe.composed.yaml").write_text("[")
    change(run, "run.json", lambda facts: facts | {"status": "finished"})
    code, _, err = finetune("reproduce", run)
    assert code == 7 and "does not tell its recipe" in err


def test_the_rebuilt_recipe_holds_what_the_run_was_and_nothing_of_its_occasion(run: Path) -> None:
    from finetune.recipe.source import read_text
    from finetune.reproducing.rebuilding import rebuilt

    composed = yaml.safe_load((run / "recipe.composed.yaml").read_text())
    more = {"auto_resume_from_checkpoints": True, "wandb_project": "p", "export_to": ["gguf"], "lora_r": "1e1"}
    change(run, "origin.json", lambda origin: origin | {"keys": origin["keys"] | {"micro_batch_size": "auto"}})
    (run / "recipe.composed.yaml").write_text(yaml.safe_dump(composed | more | {"micro_batch_size": "auto"}))
    (run / "settled.json").write_text('{"micro_batch_size": 4}')
    made = rebuilt(RunDir(run), Path("/new"), {("datasets", 0, "path"): "hf://datasets/a/b/c.jsonl"})
    values = read_text("made", made.text).data
    assert values["micro_batch_size"] == 4 and values["output_dir"] == "/new" and values["lora_r"] == "1e1"
    assert (
        values["datasets"][0]["path"] == "hf://datasets/a/b/c.jsonl"
        and values["sample_prompts"][1] == "the sea is <b>calm</b>"
    )
    assert not {"wandb_project", "export_to", "auto_resume_from_checkpoints"} & set(values)
    assert set(made.left_out) == {"wandb_project", "export_to"}


@pytest.mark.slow
def test_an_interrupted_and_a_resumed_run_are_made_again(run: Path, finetune: Any) -> None:
    (run / "resumed.jsonl").write_text(json.dumps({"step": 3, "changed": [], "libraries": []}) + "\n")
    assert finetune("reproduce", run)[0] == 0
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(line for line in lines if json.loads(line)["step"] <= 3))
    change(run, "run.json", lambda facts: facts | {"status": "interrupted"})
    shutil.rmtree(run / "adapter")
    code, out, err = finetune("reproduce", run, "--overwrite")
    assert code == 0 and "bit-equal, as far as it came: step 3 (interrupted)" in out, err


@pytest.mark.slow
def test_a_run_of_two_processes_is_made_again_by_two(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    recipe = write_recipe(max_steps=3, sample_prompts=[], micro_batch_size="auto")
    assert finetune("lock", recipe)[0] == 0
    assert finetune(recipe, "--nproc", "2", "--frozen")[0] == 0
    assert json.loads((tmp_path / "run" / "settled.json").read_text()) == {"micro_batch_size": 1}
    code, out, err = finetune("reproduce", tmp_path / "run")
    assert code == 0 and "2 processes" in out, out + err
