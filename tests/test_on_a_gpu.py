"""What only a CUDA GPU shows: its own attention kernel, recordings, answers that are awaited late, sums in a fixed
order. On a machine with one: pytest -m gpu"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.errors import TrainingError
from finetune.kernels import attention, flash
from finetune.kernels.terms import Terms
from finetune.machine import installed
from tests.architectures import tiny_model
from tests.crashing import metrics
from tests.test_aftermath import poisoned
from tests.test_kernels import FAMILIES, UNUSUAL, end_to_end, model_of, rows_of, unusual_model

__all__ = ["poisoned"]
pytestmark = pytest.mark.gpu
LOSSES = 2e-3
"""Relative difference of a loss that bfloat16 explains."""


def apart(wanted: Any, model: Any) -> float:
    """How far documents in one row are from what `wanted` says of each alone, relative."""
    rows = [row.to("cuda") for row in rows_of()]
    given = {name: value.to("cuda") if torch.is_tensor(value) else value for name, value in end_to_end(rows).items()}
    with torch.no_grad():
        alone = torch.cat([wanted(input_ids=row[None]).logits[0] for row in rows]).float()
        assert attention.take(model=model) == ""
        together = model(**given).logits[0].float()
    return float((together - alone).norm() / alone.norm())


@pytest.mark.parametrize("family", FAMILIES)
def test_flash_attention_lets_no_document_see_another(family: str) -> None:
    model = model_of(family).to("cuda", torch.bfloat16)
    assert apart(model, model) < 0.02


@pytest.mark.parametrize("family", UNUSUAL)
def test_bounds_and_sinks_are_kept_on_a_gpu(family: str) -> None:
    wanted = unusual_model(family, "eager").to("cuda", torch.bfloat16)
    model = unusual_model(family, "sdpa" if type(wanted)._supports_sdpa else "eager").to("cuda", torch.bfloat16)
    attention.keep_bound(model, chosen=False)
    assert apart(wanted, model) < 0.03


@pytest.mark.parametrize("kind", ["deepseek_v2", "deepseek_v3", "minicpm3", "glm4_moe_lite"])
def test_values_narrower_than_keys_lie_flat(kind: str) -> None:
    model = tiny_model(kind, spread=4.0).to("cuda", torch.bfloat16).eval()
    assert apart(model, model) < 0.03


SHAPES = {
    "as many keys as queries": (32, 32, 96, 96, Terms(0.1)),
    "several queries a key": (32, 8, 128, 128, Terms(0.1)),
    "wide heads": (8, 4, 256, 256, Terms(0.06)),
    "narrow heads": (14, 2, 64, 64, Terms(0.12)),
    "values narrower than keys": (16, 16, 192, 128, Terms(0.07)),
    "a window": (8, 8, 128, 128, Terms(0.1, window=100)),
    "bounded scores": (8, 4, 256, 256, Terms(0.06, cap=2.0, window=100)),
}


@pytest.mark.parametrize("package", flash.LIBRARIES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ordered", [False, True])
def test_an_installed_library_agrees_or_is_left(package: str, shape: str, ordered: bool) -> None:
    if not installed(package):
        pytest.skip(f"{package} is not installed")
    heads = flash.Heads(*SHAPES[shape], torch.bfloat16, torch.device("cuda", 0))
    kernel, why = flash._tried(flash.LIBRARIES[package], heads, ordered)
    print("RESULT", package, shape, ordered, why or "taken")
    assert kernel or why
    if shape in ("as many keys as queries", "several queries a key", "narrow heads") and not ordered:
        assert kernel, why


def losses(finetune: Any, recipe: Path, out: Path, *overrides: str) -> list[float]:
    code, shown, err = finetune(recipe, f"output_dir={out}", *overrides)
    assert code == 0, shown + err
    return [line["loss"] for line in metrics(out) if "loss" in line]


@pytest.mark.parametrize(
    "overrides",
    [
        ["cuda_graphs=true"],
        ["lora_kernels=false"],
        ["cut_cross_entropy=false"],
        ["tokens_per_pass=64"],
        ["batch_flattening=false"],
        ["gradient_checkpointing=true"],
        ["gradient_checkpointing=true", "activation_offloading=true"],
        ["optimizer=adamw_torch_fused"],
    ],
    ids=" ".join,
)
def test_how_it_is_computed_does_not_change_what_is_learned(
    overrides: list[str], write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    recipe = write_recipe(backend="transformers", max_steps=6, micro_batch_size=4, sample_prompts=[])
    plain = losses(finetune, recipe, tmp_path / "plain")
    assert losses(finetune, recipe, tmp_path / "other", *overrides) == pytest.approx(plain, rel=LOSSES)


@pytest.mark.parametrize("backend", ["transformers", "unsloth"])
@pytest.mark.parametrize("packed", [True, False])
def test_sums_in_a_fixed_order_give_the_same_bits(
    backend: str, packed: bool, write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    if backend == "unsloth":
        pytest.importorskip("unsloth")
    changes = {"full_determinism": True, "sample_packing": packed, "load_in_4bit": True, "adapter": "qlora"}
    recipe = write_recipe(backend=backend, max_steps=20, sample_prompts=[], **changes)
    losses(finetune, recipe, tmp_path / "once")
    code, out, err = finetune("reproduce", tmp_path / "once")
    assert code == 0 and "verdict: bit-equal" in out, out + err


@pytest.mark.parametrize("kept", [{"save_strategy": "no"}, {"save_steps": 1}], ids=["nothing kept", "each step kept"])
def test_a_loss_that_is_no_number_names_its_step_and_rows(
    kept: dict[str, Any], poisoned: Any, write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    model, rows = poisoned
    values = {"datasets": [{"path": str(rows)}], "max_steps": None, "num_epochs": 2, "logging_steps": 50}
    path = write_recipe(base_model=str(model), backend="transformers", **(values | kept))
    code, _, err = finetune(path)
    assert code == TrainingError.exit_code
    assert "loss is nan at step" in err and f"{rows} row 9" in err
    step = int(err.split("loss is nan at step ")[1].split(":")[0])
    written = [int(path.name.split("-")[1]) for path in (tmp_path / "run" / "checkpoints").glob("checkpoint-*")]
    assert max(written, default=0) == (step - 1 if "save_steps" in kept else 0)


def test_the_measured_peak_is_the_foreseen_one(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    recipe = write_recipe(backend="transformers", max_steps=3, sample_packing=True, sample_prompts=[])
    losses(finetune, recipe, tmp_path / "run")
    memory = json.loads((tmp_path / "run" / "run.json").read_text())["memory"]
    assert memory["measured_gib"] == pytest.approx(memory["estimate"]["peak_gib"], abs=0.1)
