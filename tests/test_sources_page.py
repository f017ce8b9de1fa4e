"""The examples of docs/sources.md do what the page says: each is a recipe, and with its files it prepares them."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import tiny

PAGE = Path(__file__).parent.parent / "docs" / "sources.md"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def chats(path: Path, count: int, seed: int) -> None:
    rng = random.Random(seed)
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        for _ in range(count):
            turns = [("user", tiny.sentence(rng, 6)), ("assistant", tiny.sentence(rng, rng.randint(2, 9)))]
            file.write(json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}) + "\n")


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_of_the_page_is_a_recipe_that_runs(
    number: int, tmp_path: Path, tiny_models: dict[str, Path], finetune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chats(tmp_path / "chats.jsonl", 60, 1)
    chats(tmp_path / "folder" / "train-0.jsonl", 40, 2)
    chats(tmp_path / "folder" / "test-0.jsonl", 5, 3)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "one.md").write_text("the sun is warm and the sea is calm")
    values = yaml.safe_load(EXAMPLES[number])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        yaml.safe_dump({"base_model": str(tiny_models["chatml"]), "output_dir": "out", "learning_rate": 1e-3} | values)
    )
    code, _, err = finetune("validate", recipe)
    assert code == 0, err
    if all((tmp_path / entry["path"].split("*")[0]).exists() for entry in values["datasets"]):
        code, _, err = finetune("preprocess", recipe, "dataset_num_proc=1", "--output", tmp_path / "prepared")
        assert code == 0 and (tmp_path / "prepared" / "train.parquet").is_file(), err
        assert (tmp_path / "prepared" / "validation.parquet").exists() == ("val_set_size" in values)


def test_the_page_has_an_example_for_each_of_its_parts() -> None:
    parts = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]
    without = [part.splitlines()[0] for part in parts if "```yaml" not in part]
    assert without == ["Kept between runs"]
