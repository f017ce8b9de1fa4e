"""A step learns the same however its rows are split into batches, with every method; two runs of one seed are equal."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.methods import METHODS
from tests.crashing import differences, metrics

SPLITS = ((8, 1), (4, 2), (2, 4), (1, 8))
"""(micro_batch_size, gradient_accumulation_steps) of eight rows."""
BY_BATCH = {
    "grpo": "answers are drawn batch by batch, so another split draws others",
    "gdpo": "as grpo",
    "rloo": "as grpo",
    "kto": "what it compares with is made of the other rows of a batch",
}
ROUGHLY = ("orpo", "simpo", "cpo")
"""Part of the loss is a mean over the tokens of a batch, which weighs otherwise between batches of other lengths."""
RECIPES: dict[str, dict[str, Any]] = {
    "sft": {},
    **{name: {"rl": name} for name in ("dpo", "ipo", "orpo", "simpo", "cpo")},
    "reward": {"reward_model": True, "sample_prompts": None, "generation_max_new_tokens": None},
}
"""What the recipe of a method needs besides."""
PATHS: dict[str, dict[str, Any]] = {
    "unpacked": {},
    "packed": {"sample_packing": True, "sequence_len": 96},
    "bounded passes": {"tokens_per_pass": 96},
    "packed, bounded passes": {"sample_packing": True, "sequence_len": 96, "tokens_per_pass": 192},
    "padded": {"batch_flattening": False},
    "whole model": {"adapter": None},
    "checkpointing": {"gradient_checkpointing": True},
}
BRIEF = ("sft", "dpo")
LONG = ("bounded passes", "packed, bounded passes", "padded", "whole model", "checkpointing")
ROWS_ONLY = ("sample_packing", "tokens_per_pass", "batch_flattening")
"""Keys of fine-tuning, refused or without a meaning with other methods."""


def rows_of(method: str, tmp_path: Path) -> dict[str, Any]:
    """Rows of different lengths of the kind that a method learns from."""
    kind, path = METHODS[method].kind, tmp_path / "rows.jsonl"
    if kind == "rows":
        return {}
    rows = [
        {"prompt": "walk home " * (1 + n % 3), "chosen": "warm " * (1 + n % 5), "rejected": "calm sea " * (1 + n % 4)}
        for n in range(24)
    ]
    if kind == "judged":
        rows = [
            {"prompt": row["prompt"], "completion": row["chosen"], "label": n % 2 == 0} for n, row in enumerate(rows)
        ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"datasets": [{"path": str(path)}]}


def test_every_method_is_tried() -> None:
    assert {*RECIPES, *BY_BATCH} == set(METHODS), "name the method in RECIPES, with what its recipe needs"


@pytest.mark.parametrize(
    "changes",
    [pytest.param(path, id=name, marks=[pytest.mark.slow] * (name in LONG)) for name, path in PATHS.items()],
)
@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=[pytest.mark.slow] * (name not in BRIEF)) for name in RECIPES]
)
def test_loss_and_gradient_of_a_step_do_not_hang_on_how_its_rows_are_split(
    method: str, changes: dict[str, Any], write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    if method != "sft" and set(changes) & set(ROWS_ONLY):
        pytest.skip("other methods pad their batches")
    found = []
    # Gradients are compared before they are shortened, on rows of different lengths.
    base = {"max_steps": 2, "max_grad_norm": 100.0, "sample_prompts": [], "save_strategy": "no"}
    base |= rows_of(method, tmp_path) | RECIPES[method]
    for micro, steps in SPLITS:
        split = {"micro_batch_size": micro, "gradient_accumulation_steps": steps}
        run = tmp_path / f"{micro}x{steps}"
        code, _, err = finetune(write_recipe(**(base | changes | split)), f"output_dir={run}")
        assert code == 0, err
        found.append([(line["loss"], line["grad_norm"]) for line in metrics(run) if "loss" in line])
    for split, other in zip(SPLITS[1:], found[1:], strict=True):
        for one, two in zip(found[0], other, strict=True):
            assert two == pytest.approx(one, rel=0.1 if method in ROUGHLY else 2e-5), (
                f"{split[0]} rows x {split[1]} differ from {SPLITS[0][0]} rows"
            )


def test_two_runs_of_one_seed_are_equal_to_the_last_bit(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    path = write_recipe(
        lora_dropout=0.1, neftune_noise_alpha=5.0, dataloader_num_workers=2, val_set_size=0.2, save_steps=2, max_steps=4
    )
    for name in ("one", "two"):
        assert finetune(path, f"output_dir={tmp_path / name}")[0] == 0
    assert differences(tmp_path / "one", tmp_path / "two") == []
