"""Checkpoints that are quantized already, weights of torchao, and what cannot be trained."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune.backends.checkpoints import PACKAGES, UNPACKED, verdict
from finetune.errors import ModelError, RecipeError


@pytest.fixture(scope="module")
def ready_made(tiny_models: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders as hubs hold them: the weights quantized, and config.json saying how."""
    import torch
    from transformers import AutoTokenizer, BitsAndBytesConfig, LlamaForCausalLM

    base = tiny_models["chatml"]
    ways = {
        "tiny-bnb-4bit": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        ),
        "tiny-bnb-8bit": BitsAndBytesConfig(load_in_8bit=True),
    }
    found = {}
    for name, way in ways.items():
        folder = tmp_path_factory.mktemp("ready") / name
        LlamaForCausalLM.from_pretrained(base, quantization_config=way).save_pretrained(folder)
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
        found[name] = folder
    return found


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("tiny-bnb-4bit", {"adapter": "lora"}),
        ("tiny-bnb-4bit", {"adapter": "qlora", "load_in_4bit": True}),
        ("tiny-bnb-8bit", {"adapter": "lora"}),
    ],
    ids=str,
)
def test_a_checkpoint_that_is_quantized_already_is_trained_on_and_named(
    name: str, lines: dict[str, Any], ready_made: Any, write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    path = write_recipe(base_model=str(ready_made[name]), max_steps=8, learning_rate=5e-3, **lines)
    code, out, err = finetune(path)
    assert code == 0, err
    wanted = "bitsandbytes 4-bit nf4, double quantization" if "4bit" in name else "bitsandbytes 8-bit"
    assert f"weights are already quantized ({wanted})" in out
    status = json.loads((tmp_path / "run" / "run.json").read_text())
    assert status["loss_last"] < status["loss_first"]
    assert finetune("chat", tmp_path / "run", "--prompt", "hello")[0] == 0
    assert "FT028" in finetune("validate", path)[2]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ({"adapter": None}, "quantized weights cannot be trained themselves. Set adapter: lora"),
        ({"load_in_8bit": True}, "`load_in_8bit: true` contradicts the checkpoint"),
        (
            {"load_in_4bit": True, "bnb_config_kwargs": {"bnb_4bit_quant_type": "fp4"}},
            "`bnb_config_kwargs.bnb_4bit_quant_type: fp4` contradicts the checkpoint, which was made with nf4",
        ),
        ({"load_in_torchao": "int8"}, "`load_in_torchao` would quantize anew"),
    ],
    ids=str,
)
def test_what_contradicts_a_quantized_checkpoint_is_refused(
    lines: dict[str, Any], says: str, ready_made: Any, write_recipe: Any, finetune: Any
) -> None:
    path = write_recipe(base_model=str(ready_made["tiny-bnb-4bit"]), **lines)
    code, _, err = finetune(path)
    assert code == ModelError.exit_code and says in err, err
    assert says.split(". Set")[0] in finetune("validate", path)[2]


@pytest.mark.parametrize(
    ("quantization", "says"),
    [
        ({"quant_method": "gptq", "bits": 4}, "pip install gptqmodel optimum. Or name the 16-bit model"),
        ({"quant_method": "awq", "bits": 4}, "pip install gptqmodel"),
        ({"quant_method": "mxfp4"}, "Set model_quantization_config: Mxfp4Config"),
        ({"quant_method": "fp8"}, "Set model_quantization_config: FineGrainedFP8Config"),
        ({"quant_method": "nvfp4"}, "transformers trains nothing on them. Name the 16-bit model"),
    ],
    ids=str,
)
def test_a_checkpoint_that_cannot_be_trained_on_here_is_refused_before_its_weights_are_read(
    quantization: dict[str, Any], says: str, tiny_models: Any, write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    shutil.copytree(tiny_models["chatml"], tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"quantization_config": quantization}))
    path = write_recipe(base_model=str(tmp_path / "model"))
    code, _, err = finetune(path)
    assert code == ModelError.exit_code and says in err, err
    assert says in finetune("validate", path)[2]
    assert not (tmp_path / "run").exists()


def test_every_kind_of_transformers_is_judged() -> None:
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    for kind in AUTO_QUANTIZATION_CONFIG_MAPPING:
        method = "bitsandbytes" if kind.startswith("bitsandbytes") else kind
        config = {"quantization_config": {"quant_method": method, "load_in_4bit": True}}
        key, why, said = verdict(config, {"adapter": "lora"}, lambda package: True)
        assert said and (why is None) == (method in PACKAGES), kind
        if method in UNPACKED:
            assert verdict(config, {"model_quantization_config": UNPACKED[method]}, lambda package: True)[1] is None
        assert key in (None, "base_model")


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ({"load_in_torchao": "int8", "adapter": None}, "needs an adapter"),
        ({"load_in_torchao": "int8", "load_in_4bit": True}, "a weight has one size"),
        ({"load_in_torchao": "int4"}, "should be 'int8'"),
        ({"model_quantization_config": "Mxfp4Config", "load_in_8bit": True}, "a weight has one size"),
        (
            {"model_quantization_config": "Mxfp4Config", "model_quantization_config_kwargs": {"dequantize": False}},
            "should be True",
        ),
    ],
    ids=str,
)
def test_sizes_of_weights_that_cannot_be_are_named(
    lines: dict[str, Any], says: str, write_recipe: Any, finetune: Any
) -> None:
    code, _, err = finetune("validate", write_recipe(**lines))
    assert code == RecipeError.exit_code and says in err, err
