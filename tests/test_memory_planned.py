"""`plan` says what memory a recipe takes and whether it fits a GPU; `auto` is the fastest that fits."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune.commands.checking import resolved
from finetune.commands.memory import before_loading
from finetune.errors import MachineError, UsageError
from finetune.machine import Machine
from finetune.memory.choosing import settled
from finetune.memory.fitting import Data, smallest_change, verdict
from finetune.memory.foreseeing import Foresight, foresee
from finetune.memory.gpus import GPUS, machine_with
from finetune.memory.passes import largest_pass
from finetune.memory.work import Rows
from finetune.mending import of_memory
from finetune.recipe.load import load_recipe
from finetune.recipe.recipe import Recipe
from finetune.resolve import resolve

BASE: dict[str, Any] = {
    "base_model": "unsloth/Llama-3.2-3B-Instruct",
    "datasets": [{"path": "d", "type": "chat_template"}],
    "output_dir": "o",
    "backend": "transformers",
    "adapter": "lora",
    "sequence_len": 4096,
}


def recipe(**keys: Any) -> Recipe:
    return Recipe.model_validate(BASE | keys)


def needed(made: Recipe, gpu: str) -> tuple[float, bool]:
    machine = machine_with(gpu)
    known = foresee(resolve(made, machine))
    assert isinstance(known, Foresight), known
    judged = verdict(known, machine, Data())
    assert judged is not None
    return judged.estimate.needed / 2**30, judged.fits


def test_a_gpu_is_named_by_its_size_or_its_name() -> None:
    assert machine_with("24GB").gpus[0].memory_gib == machine_with("24").gpus[0].memory_gib == 24
    assert machine_with("nvidia-h100").gpus[0].memory_gib == GPUS["H100"][0]
    assert machine_with("rtx4090").gpus[0].name == "RTX 4090" and not machine_with("T4").bf16
    with pytest.raises(UsageError, match="24, or one of these names"):
        machine_with("potato")


def test_plan_shows_the_parts_and_the_smallest_change_that_fits(finetune: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(BASE | {"micro_batch_size": 4}))
    code, out, err = finetune("plan", path, "--gpu", "24GB")
    assert code == 0 and "[FT030]" in err and "gradient_checkpointing: true" in err
    assert "passes of 16,384 tokens" in out and "does not fit GPU of 24 GB" in out
    facts = json.loads(finetune("plan", path, "--gpu", "24GB", "--json")[1])["memory"]
    assert facts["peak_gib"] == pytest.approx(sum(facts["parts_gib"].values()), abs=0.01)
    assert not facts["fits"] and facts["change"] == {"gradient_checkpointing": True}
    assert "[FT030]" not in finetune("plan", path, "--gpu", "24GB", "gradient_checkpointing=true")[2]
    unknown = finetune("plan", path, "--gpu", "24GB", "base_model=nobody/nothing")[1]
    assert "memory is not estimated: the sizes of nobody/nothing are not known here" in unknown


def test_the_change_that_is_named_fits_and_a_smaller_one_does_not() -> None:
    assert needed(recipe(micro_batch_size=2), "24")[1] is False
    machine = machine_with("24")
    change = smallest_change(recipe(micro_batch_size=2), machine, resolve, Data())
    assert change == {"micro_batch_size": 1, "gradient_accumulation_steps": 8}
    for gpu in ("12", "8", "6"):
        change = smallest_change(recipe(micro_batch_size=4), machine_with(gpu), resolve, Data())
        assert change is not None and needed(recipe(**{"micro_batch_size": 4} | change), gpu)[1]
    assert smallest_change(recipe(), machine_with("1"), resolve, Data()) is None


AUTO = {"micro_batch_size": "auto", "gradient_accumulation_steps": 16}


@pytest.mark.parametrize("gpu", ["8", "12", "24", "H100"])
def test_auto_fits_and_keeps_the_rows_of_a_step(gpu: str) -> None:
    wish = recipe(**AUTO, gradient_checkpointing="auto", load_in_4bit="auto")
    made = settled(wish, machine_with(gpu), resolve, Data())
    assert needed(made.recipe, gpu)[1]
    assert made.recipe.rows_at_once * made.recipe.gradient_accumulation_steps == 16
    assert "auto ->" in made.notes[0] and "GiB" in made.notes[0]


def test_auto_is_faster_where_there_is_more_memory() -> None:
    wish = recipe(**AUTO, gradient_checkpointing="auto", load_in_4bit="auto")
    small, large = (settled(wish, machine_with(gpu), resolve, Data()).recipe for gpu in ("8", "H100"))
    assert small.load_in_4bit and small.gradient_checkpointing
    assert not large.load_in_4bit and not large.gradient_checkpointing
    assert isinstance(large.tokens_per_pass, int) and large.tokens_per_pass > 4096
    padded = settled(recipe(**AUTO, batch_flattening=False), machine_with("80"), resolve, Data()).recipe
    assert padded.tokens_per_pass is None and padded.rows_at_once > 1


def test_the_backend_that_is_left_open_is_the_faster_one_for_the_rows_of_a_pass() -> None:
    both = replace(machine_with("24"), packages={"unsloth": "2026.10.7"})
    made = settled(recipe(**AUTO, backend="auto"), both, resolve, Data()).recipe
    plan = resolve(made, both)
    assert plan.backend == "transformers" and made.tokens_per_pass is not None
    # Written by hand, two rows a pass are as fast with the one that takes less memory.
    assert resolve(recipe(backend="auto"), both).backend == "unsloth"


def test_auto_without_a_gpu_or_a_known_model_is_what_takes_least() -> None:
    wish = recipe(**AUTO, gradient_checkpointing="auto")
    nothing = settled(wish, Machine(), resolve)
    assert (nothing.recipe.micro_batch_size, nothing.recipe.gradient_checkpointing) == (1, True)
    assert "there is no GPU" in nothing.notes[0]
    unknown = settled(recipe(**AUTO, base_model="a/b"), machine_with("24"), resolve)
    assert unknown.recipe.micro_batch_size == 1 and "the sizes of a/b are not known" in unknown.notes[0]


def test_batch_size_is_the_rows_of_a_step_where_the_rest_is_left_to_memory(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(BASE | {"micro_batch_size": "auto", "batch_size": 12}))
    assert load_recipe(path, []).recipe.gradient_accumulation_steps == 12


def test_lengths_that_were_seen_once_count_in_the_next_plan(
    write_recipe: Any, finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    path = write_recipe()
    assert "each row as long as sequence_len: 256" in finetune("plan", path, "--gpu", "8")[1]
    assert finetune("preview", path)[0] == 0
    assert "the longest of 48 rows has" in finetune("plan", path, "--gpu", "8")[1]
    data = Path(yaml.safe_load(path.read_text())["datasets"][0]["path"])
    os.utime(data, ns=(0, data.stat().st_mtime_ns + 1))
    assert "each row as long as sequence_len" in finetune("plan", path, "--gpu", "8")[1]


def test_the_largest_pass_by_bounds_and_by_lengths() -> None:
    rows = Rows(2, 4, 100, True, False, None)
    assert largest_pass(rows).tokens == 200
    assert largest_pass(rows, [30, 90, 40]).tokens == 130
    assert largest_pass(Rows(2, 4, 100, True, False, 350), [90, 80, 70]).tokens == 240
    assert largest_pass(Rows(2, 4, 100, True, False, 64), [90, 80, 70]).tokens == 90
    assert largest_pass(Rows(2, 4, 100, False, False, None), [30, 90, 40]).tokens == 180
    assert largest_pass(Rows(2, 1, 100, True, True, None), [30]).tokens == 200


def test_a_run_that_cannot_fit_is_refused_before_the_model_is_loaded(write_recipe: Any) -> None:
    path = write_recipe(base_model="meta-llama/Llama-3.1-8B", adapter=None, backend="transformers")
    checked, machine = load_recipe(path, []), machine_with("12")

    class Rows_:
        facts: dict[str, Any] = {"kind": "pair"}

    with pytest.raises(MachineError, match="cannot fit") as refused:
        before_loading(checked, resolved(checked, machine), machine, Rows_())
    assert "load_in_4bit: true" in str(refused.value)


def test_the_patch_after_a_full_memory_lowers_what_bounds_a_pass() -> None:
    keys = {"sequence_len": 512, "micro_batch_size": 4, "gradient_accumulation_steps": 2}
    assert of_memory(keys | {"tokens_per_pass": 4096}) == {"tokens_per_pass": 2048}
    assert of_memory(keys | {"tokens_per_pass": 512}) == {"gradient_checkpointing": True}
    assert of_memory(keys | {"micro_batch_size": "auto"}) == {"micro_batch_size": 1}


def test_the_patch_of_a_recipe_left_to_memory_begins_at_what_was_planned() -> None:
    from finetune.memory.trying import as_planned

    wish = recipe(**AUTO, gradient_checkpointing="auto")
    made = settled(wish, machine_with("H100"), resolve, Data()).recipe
    keys = as_planned(resolve(made, machine_with("H100")), wish.model_dump())
    assert keys["tokens_per_pass"] == made.tokens_per_pass and keys["gradient_checkpointing"] is False
    assert of_memory(keys) == {"tokens_per_pass": made.tokens_per_pass // 2}  # type: ignore[operator]


LIGER = dict.fromkeys(
    ("liger_rms_norm", "liger_glu_activation", "liger_rope", "liger_fused_linear_cross_entropy"), True
)


@pytest.mark.parametrize(
    ("tokens", "checkpointing", "measured_gib"),
    [(2048, False, 13.4), (8192, False, 31.7), (16384, False, 56.0), (16384, True, 12.4)],
)
def test_peaks_that_were_measured_on_an_h100(tokens: int, checkpointing: bool, measured_gib: float) -> None:
    """Of Phi-3.5-mini's shape, LoRA of rank 16 on 16-bit weights, one pass of so many tokens a step."""
    keys = {"base_model": "unsloth/Phi-3.5-mini-instruct", "lora_r": 16, "gradient_checkpointing": checkpointing}
    made = recipe(**keys, **LIGER, sequence_len=2048, micro_batch_size=8, tokens_per_pass=tokens)
    known = foresee(resolve(made, machine_with("H100")))
    assert isinstance(known, Foresight)
    assert known.of_rows().peak / 2**30 == pytest.approx(measured_gib, rel=0.05)


def shared_out(processes: int, **keys: Any) -> Any:
    machine = machine_with("H200")
    machine = replace(machine, gpus=machine.gpus * processes, processes=processes)
    known = foresee(resolve(recipe(**keys), machine), machine.processes)
    assert isinstance(known, Foresight), known
    return known.of_rows()


MEASURED_ON_TWO = {
    "base_model": "unsloth/Phi-3.5-mini-instruct",
    "sequence_len": 2048,
    "sample_packing": True,
    "micro_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "liger_rope": True,
    "liger_rms_norm": True,
    "liger_glu_activation": True,
    "bf16": True,
}
"""The run of docs/many_gpus.md."""


def test_a_gpu_is_counted_with_its_part_where_weights_are_shared_out() -> None:
    whole, part = (shared_out(2, **MEASURED_ON_TWO, **keys) for keys in ({}, {"fsdp_version": 2}))
    assert whole.peak / 2**30 == pytest.approx(56.7, rel=0.02) and part.peak / 2**30 == pytest.approx(53.0, rel=0.02)
    assert part.optimizer == pytest.approx(whole.optimizer / 2, rel=0.01)


def test_the_more_gpus_share_a_model_the_less_each_holds() -> None:
    keys = {"adapter": None, "learning_rate": 1e-5, "gradient_checkpointing": True, "fsdp_version": 2}
    one_pass = keys | {"gradient_accumulation_steps": 1}
    peaks = [shared_out(count, **one_pass).peak for count in (2, 4, 8)]
    assert peaks == sorted(peaks, reverse=True)
    # Several passes of a step add whole gradients up before they are dealt out.
    assert shared_out(8, **keys, gradient_accumulation_steps=4).gradients > 4 * shared_out(8, **one_pass).gradients
    kept = shared_out(8, **one_pass, fsdp_config={"reshard_after_forward": False})
    assert kept.weights > shared_out(8, **one_pass).weights
    assert shared_out(8, **one_pass, fsdp_config={"offload_params": True}).optimizer == 0
    again = {"gradient_checkpointing": False, "fsdp_config": {"activation_checkpointing": True}}
    assert shared_out(8, **(one_pass | again)).activations == shared_out(8, **one_pass).activations


def test_no_change_is_advised_that_the_recipe_would_be_refused_with() -> None:
    keys = {
        "adapter": None,
        "backend": "transformers",
        "bf16": True,
        "gradient_checkpointing": True,
        "micro_batch_size": 1,
    }
    machine = machine_with("A100-40GB")
    machine = replace(machine, gpus=machine.gpus * 2, processes=2)
    assert smallest_change(recipe(**keys), machine, resolve, Data()) == {"optimizer": "adamw_8bit"}
    shared = recipe(**keys, deepspeed={"zero_optimization": {"stage": 1}})
    assert "optimizer" not in (smallest_change(shared, machine, resolve, Data()) or {})


def test_each_stage_of_zero_leaves_a_gpu_what_it_does_not_share_out() -> None:
    keys = {
        "adapter": None,
        "learning_rate": 1e-5,
        "gradient_checkpointing": True,
        "bf16": True,
        "backend": "transformers",
    }

    def stage(number: int, **more: Any) -> Any:
        return shared_out(4, **keys, deepspeed={"zero_optimization": {"stage": number, **more}})

    one, two, three = (stage(number) for number in (1, 2, 3))
    numbers = one.weights / 2
    # AdamW's two float32 numbers and the float32 copy of each weight, on each of 4 GPUs.
    assert all(each.optimizer == pytest.approx(numbers * 12 / 4, rel=0.01) for each in (one, two, three))
    assert one.gradients == pytest.approx(4 * two.gradients, rel=0.01) and two.gradients == three.gradients
    at_once = {"stage3_max_live_parameters": 0}
    assert two.weights == one.weights > three.weights > stage(3, **at_once).weights > one.weights / 4
    away = {f"offload_{name}": {"device": "cpu"} for name in ("optimizer", "param")}
    assert stage(3, **away).optimizer == 0 and stage(3, **at_once, **away).weights < one.weights / 4
