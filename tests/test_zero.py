"""DeepSpeed's ZeRO learns what one process learns, and its configuration is judged with the recipe."""

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import RecipeError
from finetune.machine import Machine, assumed
from finetune.recipe.load import load_recipe
from finetune.recipe.zero_known import KNOWN
from tests.test_ranks import SHORT, codes, planned, same, team, weights

INSTALLED = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")


def config(stage: int, **more: Any) -> dict[str, Any]:
    return {"zero_optimization": {"stage": stage}, **more}


def without_compiler() -> None:
    """DeepSpeed on CPUs would first compile a way of its own for processes to talk, for minutes."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


THREE = "deepspeed: {zero_optimization: {stage: 3}}"


def judged(tmp_path: Path, lines: str) -> Any:
    path = tmp_path / "r.yaml"
    path.write_text(f"base_model: m\ndatasets: [{{path: org/d}}]\noutput_dir: o\n{lines}\n")
    return load_recipe(path)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("deepspeed: none.json", "no such file beside the recipe"),
        ("deepspeed: {bf16: {enabled: auto}}", "`zero_optimization: {stage: 1}`, 2 or 3 is wanted"),
        ("deepspeed: {zero_optimization: {stage: 2}, optimizer: {type: AdamW}}", "write optimizer and learning_rate"),
        ("deepspeed: {zero_optimization: {stage: 2}, amp: {enabled: true}}", "`amp` is not supported"),
        ("deepspeed: {zero_optimization: {stage: 2, stagee: 1}}", "`zero_optimization.stagee` is not supported"),
        ("deepspeed: {zero_optimization: {stage: 2, offload_optimizer: {device: nvme}}}", "NVMe is not supported"),
        ("deepspeed: {zero_optimization: {stage: 2, offload_param: {device: cpu}}}", "counts only with stage 3"),
        ("deepspeed: {zero_optimization: {stage: 2, stage3_max_live_parameters: 0}}", "counts only with stage 3"),
        ("deepspeed: {zero_optimization: {stage: 3, offload_param: {device: nvme}}}", "NVMe is not supported"),
        (
            "deepspeed: {zero_optimization: {stage: 3, sub_group_size: true}}",
            "`zero_optimization.sub_group_size: True`",
        ),
        ("deepspeed: {zero_optimization: {stage: 3, overlap_comm: 3}}", "a number, true, false or auto is wanted"),
        ("deepspeed: deepspeed_configs/zero3_bf16.json\nbf16: false", "needs `bf16: true`"),
        (f"{THREE}\nlora_kernels: true\nadapter: lora", "outside of the layer"),
        (f"{THREE}\npeft_autocast_adapter_dtype: true\nadapter: lora", "one number type"),
        (f"{THREE}\npeft_init_lora_weights: pissa\nadapter: lora", "changes the base model's weights"),
        (f"{THREE}\ngradient_checkpointing: unsloth", "does not go with ZeRO-3"),
        (
            f"{THREE}\nadapter: lora\ngradient_checkpointing: true\n"
            "gradient_checkpointing_kwargs: {use_reentrant: false}",
            "`use_reentrant: false` does not go with ZeRO-3 and an adapter",
        ),
        ("deepspeed: {zero_optimization: {stage: 2}, gradient_clipping: 0.5}", "contradicts `max_grad_norm: 1.0`"),
        (
            "deepspeed: {zero_optimization: {stage: 2}, gradient_accumulation_steps: 4}\n"
            "gradient_accumulation_steps: 2",
            "`gradient_accumulation_steps: 4` contradicts `gradient_accumulation_steps: 2`",
        ),
        ("deepspeed: {zero_optimization: {stage: 2}, bf16: {enabled: true}}\nbf16: false", "needs `bf16: true`"),
        ("deepspeed: {zero_optimization: {stage: 2}}\nfsdp_version: 2", "Keep one of the two"),
        ("deepspeed: {zero_optimization: {stage: 2}}\nrl: dpo", "serves fine-tuning alone"),
        ("deepspeed: {zero_optimization: {stage: 2}}\noptimizer: adamw_8bit", "`optimizer: adamw_8bit` does not go"),
    ],
)
def test_what_deepspeed_cannot_do_is_refused_with_the_recipe(lines: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        judged(tmp_path, lines)
    assert says in str(caught.value)


@pytest.mark.parametrize("name", KNOWN)
def test_a_well_known_name_needs_no_file_and_a_file_counts_before_it(name: str, tmp_path: Path) -> None:
    lines = f"deepspeed: deepspeed_configs/{name}"
    checked = judged(tmp_path, lines)
    assert checked.recipe.deepspeed == KNOWN[name]
    assert any("the settings of that well-known name are taken" in note.message for note in checked.notes)
    (tmp_path / "deepspeed_configs").mkdir()
    (tmp_path / "deepspeed_configs" / name).write_text(json.dumps(config(1)))
    checked = judged(tmp_path, lines)
    assert checked.recipe.deepspeed == config(1)
    assert not any("well-known" in note.message for note in checked.notes)
    (tmp_path / "deepspeed_configs" / name).write_text("{")
    with pytest.raises(RecipeError, match="cannot be read as JSON"):
        judged(tmp_path, lines)


def test_a_plan_has_what_deepspeed_is_told(write_recipe: Any) -> None:
    path = write_recipe(deepspeed=config(2, train_batch_size=7))
    plan = planned(path)
    (told,) = [call.arguments["deepspeed"] for call in plan.stage("train") if call.arguments.get("deepspeed")]
    assert told["zero_optimization"]["stage"] == 2 and told["gradient_clipping"] == "auto"
    assert any("ZeRO-2: optimizer and gradients are shared out" in note for note in plan.notes)
    said = "\n".join(plan.blockers)
    assert "train_batch_size: 7 contradicts the" in said
    assert "add --nproc 2" in "\n".join(planned(path, processes=1).blockers)


IN_PARTS = {"stage": 3, "stage3_param_persistence_threshold": 0}
"""Of a tiny model every weight would else stay whole."""


def arguments(plan: Any, stage: str, target: str) -> dict[str, Any]:
    call = plan.one(stage, target)
    assert call is not None
    found: dict[str, Any] = call.arguments
    return found


def test_weights_in_parts_are_loaded_trained_and_saved_as_such(write_recipe: Any) -> None:
    stayed = {"stage": 3, "max_live_parameters": 0, "offload_param": {"device": "cpu"}, "allgather_partitions": True}
    path = write_recipe(deepspeed={"zero_optimization": stayed}, gradient_checkpointing=True)
    plan = planned(path)
    loading = arguments(plan, "load", ".load_in_parts")["config"]["zero_optimization"]
    assert loading == {"stage": 3, "offload_param": {"device": "cpu"}, "stage3_param_persistence_threshold": 0}
    (model,) = [call for call in plan.stage("load") if "dtype" in call.arguments]
    assert model.arguments["device_map"] is None, "DeepSpeed places the parts"
    assert not arguments(plan, "adapt", "get_peft_model")["autocast_adapter_dtype"]
    assert plan.one("adapt", "kernels.lora.fuse") is None
    (told,) = [call.arguments for call in plan.stage("train") if call.arguments.get("deepspeed")]
    inside = told["deepspeed"]["zero_optimization"]
    assert inside["stage3_max_live_parameters"] == 0 and inside["stage3_param_persistence_threshold"] == "auto"
    assert told["gradient_checkpointing_kwargs"] == {"use_reentrant": True}
    assert "state_dict" in plan.stage("save")[0].runtime, "gathered before it is saved"
    said = "\n".join(plan.notes)
    assert "kept in the CPU's memory: weights" in said and "lora_kernels: not with ZeRO-3" in said
    assert "a checkpoint goes on with as many processes" in said
    assert "without effect here: zero_optimization.allgather_partitions" in said


def test_a_part_of_a_weight_that_is_no_number_is_found() -> None:
    import torch

    from finetune.progress import bad_weight

    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data = torch.empty(0)
    layer.weight.ds_tensor = torch.tensor([1.0, float("nan")])  # where DeepSpeed keeps it
    assert bad_weight(layer) == "weight"
    layer.weight.ds_tensor[1] = 0
    assert bad_weight(layer) is None


def test_what_the_file_says_of_the_number_type_is_held_against_the_machine(write_recipe: Any) -> None:
    path = write_recipe(deepspeed="deepspeed_configs/zero3_bf16.json")
    cpu = Machine(packages=assumed().packages, processes=2)
    assert "contradicts the recipe on this machine" in "\n".join(planned(path, machine=cpu).blockers)
    assert not planned(path).blockers
    path = write_recipe(deepspeed="deepspeed_configs/zero3.json")
    assert not planned(path, machine=cpu).blockers


PACKED = {"sample_packing": True, "sequence_len": 128, "tokens_per_pass": 128}


ANSWERING = {
    "sample_prompts": ["how are you"],
    "generation_max_new_tokens": 3,
    "do_causal_lm_eval": True,
    "eval_table_size": 2,
    "eval_max_new_tokens": 2,
}
AWAY = {f"offload_{name}": {"device": "cpu", "pin_memory": False} for name in ("optimizer", "param")}
WHOLE = {"adapter": None, "learning_rate": 1e-4}
BEST = {"load_best_model_at_end": True, "greater_is_better": True, "eval_steps": 3}
"""As if the greatest loss were the best, which an early checkpoint has."""
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "1": ({"stage": 1}, {}),
    "2 packed": ({"stage": 2}, PACKED),
    "2 whole model": ({"stage": 2}, WHOLE),
    "2 qlora": ({"stage": 2}, {"adapter": "qlora", "load_in_4bit": True}),
    "2 padded": ({"stage": 2}, {"attn_implementation": "eager", "batch_flattening": False}),
    "3 answering": (IN_PARTS, {"gradient_checkpointing": True, **ANSWERING}),
    "3 whole model packed": (IN_PARTS, WHOLE | PACKED | {"sample_prompts": ["how are you"]}),
    "3 whole tied model": (IN_PARTS, WHOLE | {"gradient_checkpointing": True, "base_model": "tied"}),
    "3 in the memory of the CPU": ({**IN_PARTS, **AWAY}, {"lora_modules_to_save": ["embed_tokens", "lm_head"]}),
    "3 qlora": (IN_PARTS, {"adapter": "qlora", "load_in_4bit": True, "sample_prompts": ["how are you"]}),
    "2 best": ({"stage": 2}, BEST),
    "3 best": (IN_PARTS, BEST),
    "3 best tied model": (IN_PARTS, BEST | WHOLE | {"base_model": "tied"}),
    "3 padded": (IN_PARTS, {"attn_implementation": "eager", "batch_flattening": False}),
}
"""What is shared out, and what else the recipe says."""


def tied(folder: Path, like: Path) -> Path:
    """A model whose output layer is its embeddings."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    settings = AutoConfig.from_pretrained(like)
    settings.tie_word_embeddings = True
    AutoModelForCausalLM.from_config(settings).save_pretrained(folder)
    AutoTokenizer.from_pretrained(like).save_pretrained(folder)
    return folder


@INSTALLED
@pytest.mark.slow
@pytest.mark.parametrize(("shared", "changes"), CASES.values(), ids=CASES)
def test_deepspeed_learns_what_one_process_learns_and_goes_on(
    shared: dict[str, Any],
    changes: dict[str, Any],
    write_recipe: Any,
    finetune: Any,
    tiny_models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("CRASHING_LOG", str(log))
    both = SHORT | changes | {"save_steps": 3, "max_grad_norm": 0.3}
    if "base_model" in both:
        both["base_model"] = str(tied(tmp_path / "tied", tiny_models["chatml"]))
    path = write_recipe(**both)
    assert finetune(path, f"output_dir={tmp_path / 'one'}")[0] == 0
    path = write_recipe(**(both | {"micro_batch_size": 2, "deepspeed": {"zero_optimization": shared}}))
    found = codes(team([path, f"output_dir={tmp_path / 'two'}"], before=without_compiler))
    assert found == [0, 0], log.read_text()[-5000:]
    same(tmp_path / "two", tmp_path / "one")
    assert weights(tmp_path / "two").keys() == weights(tmp_path / "one").keys(), "nothing twice that is tied"
    answers = [json.loads((tmp_path / run / "answers.json").read_text()) for run in ("one", "two")]
    assert answers[0] == answers[1]
    three = tmp_path / "two" / "checkpoints" / "checkpoint-3"
    states = sorted(path.name for path in three.glob("global_step*/*optim_states.pt"))
    assert len(states) == 2, "each process wrote its part of the optimizer"
    again = team([path, f"output_dir={tmp_path / 'three'}", f"resume_from_checkpoint={three}"], before=without_compiler)
    assert codes(again) == [0, 0], log.read_text()[-5000:]
    same(tmp_path / "three", tmp_path / "one")
    path = write_recipe(**both)
    code, _, err = finetune(path, f"output_dir={tmp_path / 'four'}", f"resume_from_checkpoint={three}")
    assert code == RecipeError.exit_code and "DeepSpeed" in err
