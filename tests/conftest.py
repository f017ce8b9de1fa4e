"""What every test stands on: offline, tiny real models built once, small real data, and recipes written to disk."""

import hashlib
import json
import os
import random
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import pytest
import yaml

from finetune.cli import main
from tests import tiny

# Nothing that an earlier run of the suite prepared is found, and nothing of the user's is touched.
_CACHE = tempfile.TemporaryDirectory(prefix="finetune-tests-")
os.environ["FINETUNE_CACHE"] = _CACHE.name
ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def in_turn(count: int, recipes: Sequence[Path] = RECIPES) -> list[Any]:
    """All of them as parameters of a test. The ordinary suite runs so many, the slow one the others; which ones hangs
    on the commit, so that each has its turn and a commit always has the same."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    drawn = sorted(recipes, key=lambda path: hashlib.sha256(f"{head}{path.name}".encode()).hexdigest())[:count]
    return [pytest.param(path, id=path.name, marks=[] if path in drawn else [pytest.mark.slow]) for path in recipes]


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {family: tiny.save_model(folder / family, family) for family in tiny.FAMILIES}


@pytest.fixture(scope="session")
def sharegpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 ShareGPT conversations of one to three exchanges."""
    rng = random.Random(1)
    path = tmp_path_factory.mktemp("data") / "sharegpt.jsonl"
    rows = []
    for _ in range(48):
        turns = []
        for _ in range(rng.randint(1, 3)):
            turns.append({"from": "human", "value": tiny.sentence(rng, 5)})
            turns.append({"from": "gpt", "value": tiny.sentence(rng, 8)})
        rows.append({"conversations": turns})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def write_recipe(tmp_path: Path, tiny_models: dict[str, Path], sharegpt: Path) -> Callable[..., Path]:
    """Write a recipe that trains the tiny ChatML model for two steps; keyword arguments change or (None) drop keys."""

    def write(**changes: Any) -> Path:
        values = {
            "base_model": str(tiny_models["chatml"]),
            "datasets": [{"path": str(sharegpt), "type": "chat_template"}],
            "adapter": "lora",
            "learning_rate": 1e-3,
            "max_steps": 2,
            "sequence_len": 256,
            "logging_steps": 1,
            "micro_batch_size": 2,
            "gradient_accumulation_steps": 1,
            "output_dir": str(tmp_path / "run"),
            "sample_prompts": ["how are you"],
            "generation_max_new_tokens": 4,
        } | changes
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not None}))
        return path

    return write


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path], sharegpt: Path) -> Path:
    """The folder of a finished run: an adapter that learned for some steps, with measurements. Nobody changes it."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = {
        "base_model": str(tiny_models["chatml"]),
        "datasets": [{"path": str(sharegpt), "type": "chat_template"}],
        "val_set_size": 0.2,
        "adapter": "lora",
        "learning_rate": 2e-2,
        "max_steps": 6,
        "logging_steps": 1,
        "eval_steps": 3,
        "output_dir": str(folder / "run"),
        "sample_prompts": ["how are you", "the sea is <b>calm</b>"],
        "generation_max_new_tokens": 8,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main([str(folder / "recipe.yaml")]) == 0
    return folder / "run"


@pytest.fixture
def finetune(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: (exit code, standard output, standard error)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        assert "Traceback" not in shown.out + shown.err
        return code, shown.out, shown.err

    return call


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 70 MB: room to start a run, not to save much."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=70m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
