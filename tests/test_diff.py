"""`finetune diff`: what differs in force between recipes and runs; and the figures that follow from a recipe."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune.compare import ABSENT, compare
from finetune.derived import count_rows, effective_batch, steps, tokens_per_step
from finetune.plan import STAGES, Call, Plan
from finetune.recipe.load import load_recipe
from finetune.recipe.recipe import Recipe
from tests.conftest import ROOT, in_turn

PHI = ROOT / "recipes" / "phi35_samantha.yaml"
LLAMA = ROOT / "recipes" / "llama32_finetome.yaml"
QUICK = ROOT / "recipes" / "quickstart.yaml"
MINIMUM = {"base_model": "m", "output_dir": "o"}


@pytest.fixture
def differing(finetune: Any) -> Any:
    def call(*arguments: object) -> dict[str, Any]:
        code, out, err = finetune("diff", *arguments, "--json")
        assert code == 0, err
        found: dict[str, Any] = json.loads(out)
        return found

    return call


@pytest.mark.parametrize("path", in_turn(3))
def test_a_recipe_is_equal_to_itself(path: Path, differing: Any, finetune: Any) -> None:
    assert differing(path, path)["equal"]
    code, out, _ = finetune("diff", path, path)
    assert code == 0 and "equal in force" in out


def test_a_key_that_only_one_writes_is_compared_with_the_others_default(differing: Any) -> None:
    found = differing(PHI, LLAMA, "--gpu", "24")
    keys = {row["key"]: row for row in found["keys"]}
    assert keys["excess_length_strategy"]["values"] == ["truncate", "drop"]
    assert keys["excess_length_strategy"]["where"][0].startswith(f"{PHI}:")
    assert keys["excess_length_strategy"]["where"][1] == "default"
    assert keys["lora_alpha"]["values"] == [32, 16] and "lora_r" not in keys
    assert keys["datasets.0.path"]["values"] == ["macadeliccc/opus_samantha", "mlabonne/FineTome-100k"]
    calls = {(row["target"], row["argument"]): row["values"] for row in found["calls"]}
    assert calls["unsloth.FastLanguageModel.get_peft_model", "lora_alpha"] == [32, 16]
    assert calls["trl.SFTConfig", "warmup_steps"] == [10, 5]
    assert ("trl.SFTConfig", "learning_rate") not in calls
    assert found["figures"]["steps"] == [None, 60]


def test_writing_a_default_out_changes_nothing_in_force(tmp_path: Path, differing: Any) -> None:
    for name, text in (("a", ""), ("b", "lora_alpha: 16\nseed: 42\n")):
        (tmp_path / f"{name}.yaml").write_text(
            f"base_model: m\ndatasets: [{{path: d/e}}]\noutput_dir: o\nadapter: lora\n{text}"
        )
    assert differing(tmp_path / "a.yaml", tmp_path / "b.yaml")["equal"]


def test_a_difference_without_effect_is_called_that(tmp_path: Path, finetune: Any) -> None:
    for name in ("16", "32"):
        (tmp_path / f"{name}.yaml").write_text(
            f"base_model: m\ndatasets: [{{path: d/e}}]\noutput_dir: o\nlora_alpha: {name}\n"
        )
    code, out, _ = finetune("diff", tmp_path / "16.yaml", tmp_path / "32.yaml")
    assert code == 0 and "lora_alpha: 16" in out and "the plan is the same: what differs changes nothing here" in out


def test_a_call_that_only_one_makes_is_shown_whole(differing: Any) -> None:
    found = differing(PHI, QUICK)
    calls = {(row["target"], row["argument"]): row["values"] for row in found["calls"]}
    assert calls["transformers.BitsAndBytesConfig", None][0]["load_in_4bit"] is True
    assert calls["transformers.BitsAndBytesConfig", None][1] == ABSENT


@pytest.mark.parametrize(("one", "other", "code"), [("gone.yaml", QUICK, 3), (QUICK, "recipes", 3)])
def test_what_cannot_be_read_is_a_fault_of_its_own(one: Any, other: Any, code: int, finetune: Any) -> None:
    assert finetune("diff", one, other)[0] == code


def test_a_run_is_compared_by_the_plan_that_was_carried_out(
    write_recipe: Any, finetune: Any, differing: Any, tmp_path: Path
) -> None:
    recipe = write_recipe()
    assert finetune(recipe, "learning_rate=0.005")[0] == 0
    found = differing(tmp_path / "run", recipe)
    assert {row["key"] for row in found["keys"]} == {"learning_rate"}
    assert found["keys"][0]["where"][0] == "override `learning_rate=0.005`"
    assert [row["argument"] for row in found["calls"]] == ["learning_rate"]
    assert differing(tmp_path / "run", tmp_path / "run")["equal"]
    stored = tmp_path / "run" / "plan.json"
    stored.write_text(stored.read_text().replace('"logging_steps": 1', '"logging_steps": 3'))
    assert {row["argument"] for row in differing(tmp_path / "run", recipe)["calls"]} == {
        "logging_steps",
        "learning_rate",
    }
    again = differing(tmp_path / "run", recipe, "--gpu", "24")["calls"]
    assert [row["argument"] for row in again] == ["learning_rate"], "planned anew for a machine that is named"
    shutil.copytree(tmp_path / "run", tmp_path / "damaged")
    (tmp_path / "damaged" / "origin.json").write_text("{}")
    assert finetune("diff", tmp_path / "damaged", recipe)[0] == 7


def plan(*calls: Call) -> Plan:
    return Plan("b", dict.fromkeys(STAGES, ()) | {"format": calls})


def test_a_new_call_beside_one_of_the_same_name_is_not_taken_for_it() -> None:
    first, second = Call("a.read", {"path": "x", "form": None}), Call("a.read", {"path": "y", "form": "chat"})
    (added,) = compare(plan(second), plan(first, second))
    assert (added.argument, added.one, added.other, added.number) == ("", ABSENT, {"path": "x", "form": None}, 1)


def test_a_difference_is_placed_inside_the_argument_that_holds_it() -> None:
    one, other = (
        Call("a.f", {"fields": {"role": "x", "content": "y"}}),
        Call("a.f", {"fields": {"role": "z", "content": "y"}}),
    )
    assert [(change.argument, change.one, change.other) for change in compare(plan(one), plan(other))] == [
        ("fields.role", "x", "z")
    ]
    assert [change.argument for change in compare(plan(Call("a.f", {"n": 1})), plan(Call("a.f", {"n": True})))] == ["n"]


def recipe(**values: Any) -> Recipe:
    return Recipe.model_validate(MINIMUM | {"datasets": [{"path": "d/e"}]} | values)


def test_the_quickstarts_steps_are_those_that_its_run_takes() -> None:
    found = load_recipe(QUICK).recipe
    assert count_rows(found) == 450
    assert (effective_batch(found), steps(found, 450), tokens_per_step(found)) == (8, 285, 2048)


def test_steps_are_counted_as_the_trainer_does(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    path = write_recipe(max_steps=None, num_epochs=0.5, gradient_accumulation_steps=5, val_set_size=8)
    found = load_recipe(path).recipe
    rows = count_rows(found)
    assert rows == 40
    assert finetune(path)[0] == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["steps"] == steps(found, rows)


def test_steps_are_unknown_where_rows_or_packing_decide() -> None:
    assert steps(recipe(), None) is None
    assert steps(recipe(sample_packing=True), 100) is None
    assert steps(recipe(max_steps=7), None) == 7
    assert steps(recipe(num_epochs=2, micro_batch_size=4, gradient_accumulation_steps=2), 9) == 4


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.jsonl", '{"a": 1}\n\n{"a": 2}', 2),
        ("a.json", '[{"a": 1}, {"a": 2}, {"a": 3}]', 3),
        ("a.json", '{"a": 1}\n{"a": 2}\n', 2),
        ("a.csv", 'a,b\n1,"two\nlines"\n3,4\n', 2),
        ("a.parquet", "PAR1", None),
        ("a.json", "[{", None),
        ("gone.jsonl", None, None),
    ],
)
def test_rows_of_local_files_are_counted_without_reading_their_meaning(
    name: str, text: str | None, rows: int | None, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    assert count_rows(recipe(datasets=[{"path": str(tmp_path / name)}])) == rows


def test_rows_are_those_left_for_training_and_unknown_if_one_source_is(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n" * 100)
    entry = {"path": str(path)}
    assert count_rows(recipe(datasets=[entry, entry])) == 200
    assert count_rows(recipe(datasets=[entry], val_set_size=0.1)) == 90
    assert count_rows(recipe(datasets=[entry], val_set_size=30)) == 70
    assert count_rows(recipe(datasets=[entry, {"path": "org/hub"}])) is None


def test_a_large_file_is_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.truncate(60_000_000)
    assert count_rows(recipe(datasets=[{"path": str(path)}])) is None
