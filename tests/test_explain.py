"""`finetune explain`: every key, where its value comes from, what it sets, and why nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune.effects import effect, leaves
from finetune.machine import Machine, assumed
from finetune.plan import moved_stages
from finetune.recipe.load import load_recipe
from finetune.recipe.recipe import Recipe
from finetune.resolve import resolve
from tests.conftest import ROOT, in_turn

PHI = ROOT / "recipes" / "phi35_samantha.yaml"
QUICK = ROOT / "recipes" / "quickstart.yaml"


@pytest.fixture
def keys(finetune: Any) -> Any:
    """The keys that `explain --json` tells of, by name: those that are named, which is quicker, else all."""

    def call(*arguments: object) -> dict[str, Any]:
        code, out, err = finetune("explain", *arguments, "--json")
        assert code == 0, err
        return {key["key"]: key for key in json.loads(out)["keys"]}

    return call


def line_of(path: Path, text: str) -> int:
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if line.startswith(text))


def sets(key: dict[str, Any]) -> set[tuple[str, str | None]]:
    return {(call["target"], call["argument"]) for call in key["sets"]}


@pytest.mark.parametrize("path", in_turn(3))
@pytest.mark.parametrize("options", [(), ("--gpu", "24")], ids=["here", "gpu"])
def test_every_key_there_is_reaches_a_call_or_says_why_it_reaches_none(path: Path, options: Any, keys: Any) -> None:
    found = keys(path, *options)
    assert {name.split(".")[0] for name in found} == set(Recipe.model_fields)
    for name, key in found.items():
        assert bool(key["sets"]) != bool(key["idle"]), name
    assert list(found) == sorted(found, key=lambda name: not found[name]["written"]), "written keys come first"


def test_a_written_value_names_its_line_an_override_itself_and_the_rest_is_a_default(keys: Any) -> None:
    names = ("lora_r", "datasets.0.path", "seed", "datasets.0.split", "max_grad_norm")
    found = keys(PHI, *names, "seed=5", "datasets.0.split=train[:10]")
    assert found["lora_r"]["where"] == f"{PHI}:{line_of(PHI, 'lora_r:')}" and found["lora_r"]["value"] == 16
    assert found["datasets.0.path"]["where"] == f"{PHI}:{line_of(PHI, '  - path:')}"
    assert found["seed"]["where"] == "override `seed=5`" and found["seed"]["value"] == 5
    assert found["datasets.0.split"]["where"].startswith("override")
    assert found["max_grad_norm"]["where"] == "default" and not found["max_grad_norm"]["written"]


def test_the_calls_are_those_of_the_backend_in_use(keys: Any) -> None:
    here, gpu = (keys(QUICK, "lora_r", "learning_rate", *machine) for machine in ((), ("--gpu", "24")))
    assert sets(here["lora_r"]) == {("peft.LoraConfig", "r")}
    assert sets(gpu["lora_r"]) == {("unsloth.FastLanguageModel.get_peft_model", "r")}
    assert sets(here["learning_rate"]) == {("finetune.kernels.trainer.FlatSFTConfig", "learning_rate")}
    assert sets(gpu["learning_rate"]) == {("trl.SFTConfig", "learning_rate")}


def test_a_nested_key_reaches_its_own_call_only(keys: Any) -> None:
    found = keys(QUICK, "test_datasets.0.path", "datasets.0.path")
    assert found["test_datasets.0.path"]["sets"] == [
        {"stage": "format", "target": "finetune.data.entries.open_source", "number": 2, "argument": "path"}
    ]
    assert found["datasets.0.path"]["sets"][0]["number"] == 1


@pytest.mark.parametrize(
    ("arguments", "key", "says"),
    [
        ((QUICK,), "generation_top_p", "waits for `generation_temperature: 1`"),
        ((QUICK, "adapter=null"), "lora_alpha", "waits for `adapter: lora`"),
        ((PHI, "optimizer=sgd"), "adam_beta1", "does not count with `optimizer: sgd`"),
        ((PHI, "--gpu", "24"), "model_type", "without effect with `backend: unsloth`: Unsloth picks the class"),
        ((PHI, "--gpu", "24"), "gradient_checkpointing_kwargs", "refused with `backend: unsloth`"),
        ((PHI, "max_steps=5"), "num_epochs", "does not count with `max_steps: 5`"),
    ],
)
def test_a_key_that_reaches_nothing_says_what_it_hangs_on(arguments: Any, key: str, says: str, keys: Any) -> None:
    recipe, *changes = arguments
    assert says in keys(recipe, key, *changes)[key]["idle"]


def test_the_key_that_is_named_as_missing_wakes_the_other(keys: Any) -> None:
    assert not keys(QUICK, "generation_top_p")["generation_top_p"]["sets"]
    assert sets(keys(QUICK, "generation_top_p", "generation_temperature=1")["generation_top_p"])


def test_a_key_that_is_named_is_told_as_among_all(keys: Any) -> None:
    every = keys(QUICK)
    for name in ("lora_r", "generation_top_p", "datasets.0.path", "lr_scheduler_kwargs"):
        alone = keys(QUICK, name)[name]
        assert {part: alone[part] for part in every[name]} == every[name]


@pytest.mark.parametrize("path", in_turn(10))
def test_a_key_reaches_the_stages_that_its_flips_move_and_no_more(path: Path) -> None:
    recipe = load_recipe(path).recipe
    for machine in (assumed(), Machine(packages=assumed().packages)):
        plan = resolve(recipe, machine)
        if recipe.trl is not None:
            continue  # a group's answers must divide a batch: other sizes are refused
        assert not effect(recipe, plan, machine, ("micro_batch_size",)).refused
        flipped = recipe.model_copy(update={"micro_batch_size": recipe.micro_batch_size + 1})
        stages = {change.stage for change in effect(recipe, plan, machine, ("micro_batch_size",)).changes}
        assert stages == moved_stages(plan, resolve(flipped, machine))


def test_one_key_is_told_with_its_type_default_meaning_and_present_arguments(finetune: Any) -> None:
    code, out, _ = finetune("explain", PHI, "lora_r")
    assert code == 0
    assert "lora_r: 16" in out and "whole number ≥ 1" in out and "Rank of the adapter's matrices." in out
    assert f"{PHI}:{line_of(PHI, 'lora_r:')}" in out and "[adapt] peft.LoraConfig" in out and "r = 16" in out
    assert "on unsloth" in out and "FastLanguageModel.get_peft_model: r" in out
    assert "learning_rate" not in out


def test_dotted_keys_can_be_asked_for_also_inside_a_section_that_is_not_written(finetune: Any) -> None:
    code, out, _ = finetune("explain", QUICK, "datasets.0.path")
    assert code == 0 and "finetune.data.entries.open_source" in out
    code, out, _ = finetune("explain", QUICK, "special_tokens.pad_token")
    assert code == 0 and "special_tokens.pad_token: unset" in out and "add_special_tokens  (not called now)" in out
    code, out, _ = finetune("explain", QUICK, "datasets")
    assert code == 0 and "datasets.0.message_property_mappings.role: from" in out


def test_another_value_that_is_refused_is_said(finetune: Any) -> None:
    out = finetune("explain", PHI, "load_in_4bit")[1]
    assert "other values" in out and "`adapter: qlora` trains on 4-bit weights" in out


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("lora_rank", "lora_r"),
        ("datasets.path", "datasets.0.path"),
        ("datasets.7.path", "datasets.0.path"),
        ("learning_rate.x", "learning_rate"),
        ("special_tokens.pad_tokn", "special_tokens.pad_token"),
        ("...", "finetune explain"),
        ("base_model.0", "base_model"),
        ("sample_prompts.0", "sample_prompts"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_and_exit_code_2(key: str, near: str, finetune: Any) -> None:
    code, out, err = finetune("explain", QUICK, key)
    assert code == 2 and out == "" and near in err


def test_an_old_spelling_is_understood_and_a_refused_key_says_why(finetune: Any) -> None:
    assert finetune("explain", PHI, "optim")[1].startswith("optimizer: adamw_8bit")
    code, _, err = finetune("explain", PHI, "diffusion")
    assert code == 2 and "diffusion training is not supported" in err


def test_a_wrong_recipe_shows_its_faults_as_ever(finetune: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("base_model: m\ndatasets: [{path: a/b}]\noutput_dir: o\nlora_rank: 1\n")
    code, _, err = finetune("explain", path)
    assert code == 3 and f"{path}:4:1: error: unknown key `lora_rank`" in err


def test_no_value_is_cut_where_no_terminal_is_there_and_each_key_is_one_line(finetune: Any) -> None:
    long = "x" * 3000
    out = finetune("explain", QUICK, f"sample_prompts=[{long}]")[1]
    lines = [line for line in out.splitlines() if line.startswith("sample_prompts: ")]
    assert len(lines) == 1 and long in lines[0] and "override" in lines[0]
    recipe = load_recipe(QUICK).recipe
    assert [line.split(":")[0] for line in out.splitlines() if line and line[0] != "#"].count("lora_r") == 1
    assert len([line for line in out.splitlines() if " -> " in line]) == len(list(leaves(recipe)))


@pytest.mark.parametrize(
    "command", [["explain", str(PHI)], ["explain", str(PHI), "lora_r"], ["diff", str(PHI), str(QUICK)]]
)
def test_explaining_and_comparing_import_no_heavy_library(command: list[str]) -> None:
    heavy = ("torch", "transformers", "trl", "peft", "datasets", "unsloth", "pyarrow")
    code = (
        f"import sys; from finetune.cli import main; code = main({command!r}); "
        f"print('HEAVY', [name for name in {heavy!r} if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout
