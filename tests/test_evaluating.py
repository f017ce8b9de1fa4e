"""Measuring what a run trained: likelihoods, answers, chance, tasks, beside its base."""

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune.evaluation.chance import compared, mean_of, share_of
from finetune.evaluation.figures import Said, Side, Wanted, answers, figures
from finetune.evaluation.likelihood import Likely
from finetune.recipe.measures import MEASURES


@pytest.fixture(scope="module")
def run(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(trained_run, tmp_path_factory.mktemp("evaluated") / "run"))


def evaluation(run: Path, name: str = "evaluation") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "evaluations" / f"{name}.json").read_text())
    return found


def test_an_evaluation_agrees_with_what_the_training_measured(run: Path, finetune: Any) -> None:
    code, out, err = finetune("evaluate", run, "--max-new-tokens", 6)
    assert code == 0, err
    found, facts = evaluation(run), json.loads((run / "run.json").read_text())
    loss, perplexity = found["figures"]["loss"], found["figures"]["perplexity"]
    assert loss["tuned"]["value"] == pytest.approx(facts["eval_loss_last"], rel=1e-4)
    assert loss["base"]["value"] == pytest.approx(facts["eval_loss_first"], rel=1e-4)
    assert perplexity["tuned"]["value"] == pytest.approx(math.exp(loss["tuned"]["value"]))
    assert loss["difference"]["high"] < 0 and loss["tuned"]["low"] < loss["tuned"]["value"] < loss["tuned"]["high"]
    assert "token_f1" in out and "difference" in out
    rows = [json.loads(line) for line in (run / "evaluations" / "evaluation.answers.jsonl").read_text().splitlines()]
    assert len(rows) == found["questions"] and [row["score"] for row in rows] == sorted(row["score"] for row in rows)
    assert set(rows[0]) == {"question", "expected", "base", "tuned", "stopped", "score"}
    page = (run / "report.html").read_text()
    assert ">Evaluation</h2>" in page and "The worst answers" in page


def test_the_data_of_a_run_are_found_from_any_folder(run: Path, finetune: Any, tmp_path: Path) -> None:
    """A relative path of the recipe is one from where the run was started."""
    moved = Path(shutil.copytree(run, tmp_path / "run"))
    folder = ""
    for name in ("plan.json", "origin.json"):
        facts = json.loads((moved / name).read_text())
        if name == "origin.json":
            facts["directory"] = folder
        else:
            for call in facts["stages"]["format"]:
                if call["target"].endswith("open_source"):
                    folder = str(Path(call["arguments"]["path"]).parent)
                    call["arguments"]["path"] = Path(call["arguments"]["path"]).name
        (moved / name).write_text(json.dumps(facts))
    code, _, err = finetune("evaluate", moved, "--metrics", "perplexity", "--rows", 1, "--no-base")
    assert code == 0 and folder, err


def test_other_rows_are_read_as_the_runs_own(run: Path, finetune: Any, tmp_path: Path) -> None:
    data = tmp_path / "other.jsonl"
    turns = [{"from": "human", "value": "the sea"}, {"from": "gpt", "value": "is calm"}]
    data.write_text(json.dumps({"conversations": turns}) + "\n")
    options = ("--data", data, "--metrics", "perplexity,accuracy", "--labels", "is calm,is warm", "--name", "other")
    code, out, err = finetune("evaluate", run, *options, "--no-base", "--format", "json")
    assert code == 0, err
    found = json.loads(out)
    assert found == evaluation(run, "other") and found["rows"] == found["questions"] == 1
    assert set(found["figures"]) == {"loss", "perplexity", "token_accuracy", "accuracy", "answers_stopped"}
    assert found["figures"]["loss"]["tuned"]["low"] is None and "base" not in found["figures"]["loss"]
    asked = tmp_path / "asked.jsonl"
    asked.write_text(json.dumps({"instruction": "the sea", "output": "is calm"}) + "\n")
    options = ("--data", asked, "--type", "alpaca", "--metrics", "perplexity", "--name", "asked")
    assert finetune("evaluate", run, *options)[0] == 0
    code, _, err = finetune("evaluate", run, "--data", asked)
    assert code == 4 and "asked.jsonl" in err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--metrics", "perplexed"), 2, "there is no 'perplexed'"),
        (("--metrics", "perplexed"), 2, "did you mean perplexity?"),
        (("--metrics", "rouge", "--labels", "a"), 2, "--labels counts with accuracy, f1, precision, recall"),
        (("--labels", "good,bad"), 4, "answers are none of --labels"),
        (("--rows", 0), 2, "--rows 0"),
        (("--name", "../x"), 2, "make a name"),
        (("--shots", 1), 2, "which name none"),
        (("--data", "nowhere.jsonl"), 4, "nowhere.jsonl"),
        (("--data", "x", "--type", "sharegtp"), 2, "there is no such form"),
    ],
)
def test_what_cannot_be_measured_is_named(options: Any, code: int, said: str, run: Path, finetune: Any) -> None:
    got, _, err = finetune("evaluate", run, *options)
    assert (got, said in err) == (code, True), err


def test_a_figure_lies_between_what_draws_of_the_rows_give() -> None:
    values = [0.0] * 50 + [1.0] * 50
    found = compared({"base": mean_of(values), "tuned": mean_of([1.0] * 100)}, 100)
    assert found["base"].value == 0.5 and found["tuned"].low == found["tuned"].high == 1.0
    assert found["base"].low == pytest.approx(0.4, abs=0.02) and found["base"].high == pytest.approx(0.6, abs=0.02)
    assert found["difference"].value == 0.5 and found["difference"].low == pytest.approx(0.4, abs=0.02)
    same = compared({"base": mean_of(values), "tuned": mean_of(values)}, 100)["difference"]
    assert (same.value, same.low, same.high) == (0, 0, 0)  # the same rows are drawn for both
    assert compared({"tuned": share_of([2, 6], [4, 4])}, 2)["tuned"].value == 1.0


def test_every_metric_has_a_figure_with_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune.evaluation.figures.SLOW_DRAWS", 9)
    said = [Said("the cat sat", True), Said("no", True), Said("a b c", False), Said("yes", True)]
    wanted = Wanted(tuple(MEASURES), ("the cat sat", "yes", "a b d", "yes"), ("yes", "no"), tuple("abcd"))
    side = Side([Likely(2.0, 2, 1)] * 4, said)
    found = figures({"tuned": side}, wanted)
    names = {name for measure in MEASURES.values() for name in measure.figures}
    assert set(found) == names | {"loss", "token_accuracy", "answers_stopped"}
    assert (
        found["perplexity"]["tuned"].value == pytest.approx(math.e) and found["answers_stopped"]["tuned"].value == 0.75
    )
    assert all(one["tuned"].low is not None for one in found.values())
    plain = Wanted(("token_f1",), wanted.expected, (), wanted.questions)
    assert [row["question"] for row in answers({"tuned": side}, plain)][:2] == ["b", "c"]


def test_a_task_without_lm_eval_says_how_to_install_it(
    run: Path, finetune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    code, _, err = finetune("evaluate", run, "--tasks", "mood")
    assert code == 6 and "finetune-recipes[lm-eval]" in err


TASK = """task: mood
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
metadata: {version: 1.0}
"""


@pytest.mark.slow
def test_a_task_of_ones_own_is_measured_offline(run: Path, finetune: Any, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    rows = [{"question": "the sea", "choices": ["is calm", "and and"], "answer": 1}] * 3
    (tmp_path / "mood.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mood.yaml").write_text(TASK.replace("FILE", str(tmp_path / "mood.jsonl")))
    code, out, err = finetune("evaluate", run, "--tasks", "mood", "--task-folder", tmp_path, "--name", "task")
    assert code == 0, err
    assert set(evaluation(run, "task")["figures"]) == {"mood/acc"} and "mood/acc" in out
    code, _, err = finetune("evaluate", run, "--tasks", "moods", "--task-folder", tmp_path)
    assert code == 2 and "did you mean mood" in err
