"""Law 6: the schema is fresh, every shipped recipe passes it in an independent validator, and broken ones do not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from finetune.recipe.recipe import Recipe
from finetune.schema import recipe_schema, schema_text
from tests.conftest import RECIPES, ROOT

SCHEMA = ROOT / "schemas" / "recipe.schema.json"
GOOD: dict[str, Any] = {"base_model": "m", "datasets": [{"path": "d"}], "output_dir": "o"}


def test_the_schema_file_is_fresh() -> None:
    assert SCHEMA.read_text() == schema_text(), "run: finetune schema > schemas/recipe.schema.json"


def test_the_schema_is_a_schema_and_describes_every_key() -> None:
    schema = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for key in Recipe.model_fields:
        assert len(schema["properties"][key]["description"]) > 15, key


def check_jsonschema(*paths: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(SCHEMA), *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_independent_validator_accepts_every_shipped_recipe() -> None:
    done = check_jsonschema(*RECIPES)
    assert done.returncode == 0, done.stdout


def test_every_shipped_recipe_names_the_schema_for_editors() -> None:
    for path in RECIPES:
        assert path.read_text().startswith("# yaml-language-server: $schema=../schemas/recipe.schema.json"), path.name


def test_an_independent_validator_refuses_broken_recipes(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("base_model: m\ndatasets: [{path: d}]\noutput_dir: o\nlora_rank: 8\n")
    done = check_jsonschema(path)
    assert done.returncode == 1 and "lora_rank" in done.stdout


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"learning_rate": "2e-4"}, True),
        ({"learning_rate": "fast"}, False),
        ({"learning_rate": True}, False),
        ({"learning_rate": 0}, False),
        ({"lora_r": 0}, False),
        ({"lora_r": None}, True),
        ({"bf16": "auto"}, True),
        ({"bf16": "yes"}, False),
        ({"deepspeed": None, "fsdp": [], "gptq": False}, True),
        ({"deepspeed": {"zero_optimization": {"stage": 2}}}, True),
        ({"deepspeed": 3}, False),
        ({"flash_attention": True}, True),
        ({"datasets": {"path": "d"}}, True),
        ({"datasets": []}, False),
        ({"datasets": [{"path": "d", "type": "json"}]}, True),
        ({"datasets": [{"path": "d", "type": "poem"}]}, False),
        ({"datasets": [{"type": "alpaca"}]}, False),
        ({"special_tokens": {"pad_token": "x"}}, True),
        ({"special_tokens": {"pad": "x"}}, False),
        ({"output_dir": None}, False),
    ],
)
def test_the_schema_and_the_program_agree(change: dict[str, Any], valid: bool, tmp_path: Path, finetune: Any) -> None:
    values = GOOD | change
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(values))
    by_schema = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).is_valid(values)
    code, _, err = finetune("validate", path)
    assert (by_schema, code == 0) == (valid, valid), err
