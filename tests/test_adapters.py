"""Every kind of adapter: trains, saves, loads again as it was, answers, and merges where it can. What cannot be is
refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.adapters import ADAPTERS
from finetune.errors import ModelError, RecipeError
from finetune.machine import Machine, assumed
from finetune.plan import Plan
from finetune.recipe.recipe import Recipe
from finetune.resolve import Refused, resolve
from finetune.rundir import RunDir

FOUR = {"load_in_4bit": True, "bnb_config_kwargs": {"bnb_4bit_compute_dtype": "float32"}}
CASES: dict[str, dict[str, Any]] = {
    "lora": {"adapter": "lora"},
    "qlora": {"adapter": "qlora", **FOUR},
    "qlora fp4, no double": {
        "adapter": "qlora",
        "load_in_4bit": True,
        "bnb_config_kwargs": {"bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": False},
    },
    "loftq": {"adapter": "qlora", "peft": {"loftq_config": {"loftq_bits": 4}}, **FOUR},
    "rslora and patterns": {
        "peft_use_rslora": True,
        "lora_rank_pattern": {"q_proj": 4},
        "lora_alpha_pattern": {"v_proj": 8},
    },
    "dora": {"peft_use_dora": True},
    "pissa": {"peft_init_lora_weights": "pissa"},
    "pissa by iterations": {"peft_init_lora_weights": "pissa_niter_4"},
    "olora": {"peft_init_lora_weights": "olora"},
    "embeddings": {"lora_modules_to_save": ["embed_tokens", "lm_head"]},
    "new tokens": {"tokens": ["<tool>"], "lora_modules_to_save": ["embed_tokens", "lm_head"]},
    "single tokens": {"peft_trainable_token_indices": [1, 2]},
    "lora+": {"loraplus_lr_ratio": 8},
    "ia3": {"adapter": "ia3", "learning_rate": 2e-2},
    "ia3 chosen": {"adapter": "ia3", "ia3_target_modules": ["v_proj", "down_proj"], "learning_rate": 2e-2}
    | {"ia3_feedforward_modules": ["down_proj"]},
    "ia3 4-bit": {"adapter": "ia3", "learning_rate": 2e-2, **FOUR},
    "prefix_tuning": {"adapter": "prefix_tuning", "num_virtual_tokens": 4, "learning_rate": 3e-2},
    "prefix_tuning projected": {
        "adapter": "prefix_tuning",
        "prefix_projection": True,
        "prompt_encoder_hidden_size": 32,
    },
    "prompt_tuning": {"adapter": "prompt_tuning", "num_virtual_tokens": 4, "learning_rate": 3e-2},
    "prompt_tuning text": {"adapter": "prompt_tuning", "prompt_tuning_init_text": "the sun", "learning_rate": 3e-2},
    "p_tuning": {"adapter": "p_tuning", "num_virtual_tokens": 4},
    "p_tuning lstm": {"adapter": "p_tuning", "prompt_encoder_type": "lstm", "prompt_encoder_hidden_size": 16},
    "torchao": {"load_in_torchao": "int8"},
    "p_tuning 8-bit": {"adapter": "p_tuning", "load_in_8bit": True},
}
QUICK = ("lora", "loftq", "pissa by iterations", "new tokens", "ia3", "prefix_tuning", "prompt_tuning text", "p_tuning")
EVERY = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]


def logits(model: Any) -> Any:
    import torch

    ids = torch.arange(24).reshape(2, 12)
    model.eval()
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -12:].float()


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the model says when a run saves its adapter."""
    import peft

    said: list[Any] = []
    whole = peft.PeftModel.save_pretrained

    def recorded(self: Any, save_directory: str, **arguments: Any) -> None:
        if save_directory.endswith(".partial"):
            said.append(logits(self))
        whole(self, save_directory, **arguments)

    monkeypatch.setattr(peft.PeftModel, "save_pretrained", recorded)
    return said


def reloaded(folder: Path) -> Any:
    from finetune.trained import load_trained

    run = RunDir(folder)
    return load_trained(Plan.from_json(run.read("plan.json")), run).model


def test_every_adapter_has_a_case() -> None:
    assert {changes.get("adapter", "lora") for changes in CASES.values()} == set(ADAPTERS)


@pytest.mark.parametrize("name", EVERY)
def test_an_adapter_learns_and_loads_again_as_it_was(
    name: str, ends: list[Any], write_recipe: Any, finetune: Any, tmp_path: Path, tiny_models: Any
) -> None:
    path = write_recipe(**{"max_steps": 12, "learning_rate": 5e-3, "val_set_size": 0.2} | CASES[name])
    code, _, err = finetune(path)
    assert code == 0, err
    status = json.loads((tmp_path / "run" / "run.json").read_text())
    assert status["eval_loss_last"] < status["eval_loss_first"]
    model = reloaded(tmp_path / "run")
    assert (logits(model) - ends[-1]).abs().max() < 1e-5
    adapter = CASES[name].get("adapter", "lora")
    if ADAPTERS[adapter].MERGES:
        merged_is_the_same(tmp_path / "run" / "adapter", tiny_models["chatml"])


def merged_is_the_same(adapter: Path, base: Path) -> None:
    """In float32: a quantized model is merged so, since rounding what was merged would lose it."""
    from peft import PeftModel
    from transformers import AutoTokenizer, LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(max(len(AutoTokenizer.from_pretrained(adapter)), model.config.vocab_size))
    model = PeftModel.from_pretrained(model, str(adapter))
    before = logits(model)
    assert (logits(model.merge_and_unload()) - before).abs().max() < 1e-5


def test_loftq_begins_nearer_to_the_model_that_was_quantized(tiny_models: Any) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import BitsAndBytesConfig, LlamaForCausalLM

    from finetune.adapters.loftq import start_from_lost_part
    from finetune.backends.transformers import keep_cpu_weights_as_loaded

    base = tiny_models["chatml"]
    quantization = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    whole = logits(LlamaForCausalLM.from_pretrained(base))
    model = get_peft_model(
        LlamaForCausalLM.from_pretrained(base, quantization_config=quantization),
        LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=16),
    )
    keep_cpu_weights_as_loaded(model)
    lost = (logits(model) - whole).abs().mean()
    start_from_lost_part(model=model, base_model=str(base), revision="main")
    assert (logits(model) - whole).abs().mean() < 0.8 * lost


def test_training_goes_on_from_an_adapter(ends: list[Any], write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    assert finetune(write_recipe(lora_r=4, max_steps=6, learning_rate=5e-3))[0] == 0
    first = tmp_path / "first"
    (tmp_path / "run").rename(first)
    going_on = {"lora_model_dir": str(first / "adapter"), "max_steps": 1, "learning_rate": 1e-9}
    code, _, err = finetune(write_recipe(**going_on))
    assert code == 0, err
    assert (ends[1] - ends[0]).abs().max() < 1e-5, "it goes on from where the first run ended"
    code, _, err = finetune(write_recipe(**going_on, lora_r=8), "--overwrite")
    assert code == ModelError.exit_code and "Write lora_r: 4, or remove the line" in err, err
    code, _, err = finetune(write_recipe(**going_on | {"adapter": "ia3"}), "--overwrite")
    assert code == ModelError.exit_code and "holds a LORA adapter" in err, err
    code, _, err = finetune(write_recipe(lora_model_dir=str(tmp_path / "nowhere")), "--overwrite")
    assert code == ModelError.exit_code and "holds no adapter" in err, err


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ({"lora_target_modules": ["q_proj", "v_porj"]}, "'v_porj' is no module of the model"),
        ({"lora_target_modules": ["q_proj", "v_porj"]}, "did you mean v_proj"),
        ({"lora_target_modules": ".*attentions.*"}, "'.*attentions.*' is no module"),
        ({"lora_modules_to_save": ["lm_heads"]}, "did you mean lm_head?"),
        ({"lora_rank_pattern": {"k_prj": 4}}, "lora_rank_pattern: 'k_prj'"),
        ({"adapter": "ia3", "ia3_target_modules": ["value"]}, "ia3_target_modules: 'value'"),
    ],
    ids=str,
)
def test_a_module_that_is_not_there_is_named_with_near_names(
    lines: dict[str, Any], says: str, write_recipe: Any, finetune: Any
) -> None:
    code, _, err = finetune(write_recipe(**lines))
    assert code == ModelError.exit_code and says in err, err


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("adapter: lora\nlora_target_modules: q_proj, v_proj]", "[q_proj, v_proj]"),
        ("adapter: lora\nlora_target_modules: q_proj, v_proj", "[q_proj, v_proj]"),
        ("adapter: lora\nlora_target_modules: q_proj v_proj", "A list needs both brackets"),
        ("adapter: prompt_tuning\nsample_packing: true", "packed rows have no place"),
        ("adapter: prefix_tuning\ngradient_checkpointing: true", "do not go together in peft"),
        ("adapter: ia3\nia3_feedforward_modules: [down_proj]", "needs `ia3_target_modules`"),
        ("adapter: ia3\nia3_target_modules: [k]\nia3_feedforward_modules: [v]", "'v' is not in"),
        ("adapter: lora\npeft_init_lora_weights: pissa\npeft_use_dora: true", "cannot be rewritten"),
        ("adapter: qlora\nload_in_4bit: true\npeft_init_lora_weights: pissa", "begins from unquantized weights"),
        ("adapter: lora\npeft: {loftq_config: {loftq_bits: 4}}", "set `load_in_4bit: true`"),
        ("adapter: lora\npeft: {loftq_confg: {loftq_bits: 4}}", "did you mean `loftq_config`?"),
        ("adapter: lora\npeft: {loftq_config: {loftq_bits: 2}}", "should be 4"),
        ("lora_model_dir: x", "set `adapter: lora`"),
        ("adapter: ia3\nbackend: unsloth", "Unsloth trains LoRA and whole models"),
        ("adapter: lora\nbackend: unsloth\npeft_init_lora_weights: pissa", "only fit the weights it changed"),
        ("adapter: prompt_tuning\nbackend: unsloth\nnum_virtual_tokens: 4", "Unsloth has no learned tokens"),
    ],
)
def test_what_cannot_be_is_refused_by_name(lines: str, says: str, finetune: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"base_model: m\ndatasets: [{{path: d}}]\noutput_dir: o\n{lines}\n")
    code, _, err = finetune("validate", path)
    assert code == RecipeError.exit_code and says in err, err


def test_a_pattern_of_modules_is_still_a_pattern(finetune: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    for pattern in (r".*\.[qv]_proj", r"model\.layers\.\d{1,2}\.self_attn\.(q|v)_proj", "all-linear"):
        path.write_text(
            f"base_model: m\ndatasets: [{{path: d}}]\noutput_dir: o\nadapter: lora\nlora_target_modules: '{pattern}'\n"
        )
        assert finetune("validate", path)[0] == 0, pattern


def test_with_a_gpu_another_backend_is_chosen_where_unsloth_cannot() -> None:
    values = {"base_model": "m", "datasets": [{"path": "d"}], "output_dir": "o"}
    for adapter in set(ADAPTERS) - {"lora", "qlora"}:
        recipe = Recipe.model_validate(values | {"adapter": adapter})
        assert resolve(recipe, assumed()).backend == "transformers"
        with pytest.raises(Refused, match="adapter"):
            resolve(recipe.model_copy(update={"backend": "unsloth"}), assumed())
    assert resolve(Recipe.model_validate(values | {"adapter": "lora"}), assumed()).backend == "unsloth"
    assert Machine().gpus == ()
