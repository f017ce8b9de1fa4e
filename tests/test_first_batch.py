"""The largest batch is tried before the first step, leaves no trace, and a memory too small is told what to change."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.memory.first import First
from tests.test_steps import RECIPES, rows_of


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[First]:
    """Have runs on a CPU try their largest batch, which they else do on a GPU alone."""
    seen: list[First] = []

    def begin(self: First, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.try_largest(kwargs["train_dataloader"])
        seen.append(self)

    monkeypatch.setattr(First, "on_train_begin", begin)
    return seen


def losses(run: Path) -> list[Any]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [[line.get(key) for key in ("step", "loss", "grad_norm", "num_input_tokens_seen")] for line in lines]


RANDOM: dict[str, Any] = {"lora_dropout": 0.1, "neftune_noise_alpha": 5.0, "max_steps": 3, "num_epochs": None}


@pytest.mark.parametrize("keys", [{"batch_flattening": False}, {"tokens_per_pass": 64}], ids=str)
def test_the_trial_changes_nothing_of_the_training(
    keys: dict[str, Any], write_recipe: Any, finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert finetune(write_recipe(**RANDOM, **keys), f"output_dir={tmp_path / 'without'}")[0] == 0
    sizes: list[int] = []

    def begin(self: First, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.foresee_largest(kwargs["train_dataloader"])
        alone = self.largest, self.foreseen
        self.try_largest(kwargs["train_dataloader"])
        assert alone == (self.largest, self.foreseen)
        assert self.largest is not None and self.foreseen is not None
        sizes.append(self.largest.tokens)

    monkeypatch.setattr(First, "on_train_begin", begin)
    assert finetune(write_recipe(**RANDOM, **keys), f"output_dir={tmp_path / 'with'}")[0] == 0
    assert losses(tmp_path / "with") == losses(tmp_path / "without")
    weights = [tmp_path / name / "adapter" / "adapter_model.safetensors" for name in ("with", "without")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert len(sizes) == 1 and sizes[0] > 64 - bool(keys.get("tokens_per_pass")) * 64


@pytest.mark.parametrize(
    "method",
    ["dpo", "orpo", "kto", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ipo", "simpo", "cpo", "reward"))],
)
def test_the_largest_batch_of_every_method_is_tried(
    method: str, tried: list[First], write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    brief = {"max_steps": 1, "save_strategy": "no", "sample_prompts": [], "micro_batch_size": 2}
    keys = brief | rows_of(method, tmp_path) | RECIPES.get(method, {"rl": method})
    code, _, err = finetune(write_recipe(**keys))
    assert code == 0, err
    assert tried[0].largest is not None and tried[0].largest.tokens > 0


def test_a_memory_too_small_ends_the_run_before_its_first_step_with_rows_and_a_patch(
    tried: list[First], write_recipe: Any, finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl import SFTTrainer

    def full(*given: Any, **named: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(SFTTrainer, "training_step", full)
    code, _, err = finetune(write_recipe(micro_batch_size=4))
    assert code != 0 and tried == []
    assert "does not hold the largest batch (4 rows" in err and "before the first step" in err
    assert "micro_batch_size: 2\ngradient_accumulation_steps: 2" in err
    metrics = list(tmp_path.glob("run*/metrics.jsonl"))
    assert all(path.read_text() == "" for path in metrics)
