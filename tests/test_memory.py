"""The estimate of memory: sizes counted from config.json are the models' own, and what is foreseen of a step is what
PyTorch keeps."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from finetune.kernels import tiled
from finetune.memory.estimate import LIBRARIES, QUERIES, Estimate, Pass, estimated
from finetune.memory.finding import Found, found
from finetune.memory.known import _MODELS, config_of_name
from finetune.memory.optimizers import STATES
from finetune.memory.shapes import KINDS, Shape, shape_of
from finetune.memory.weights import weights_of
from finetune.memory.work import Lora, Rows, Work
from finetune.pieces import ENOUGH, ROOM, TILE, tokens_of_a_piece
from finetune.recipe.optimizers import OPTIMIZERS
from tests.memory_oracle import LEARNING, SIZES, step_bytes

TOKENS = 512
ROWS = Rows(1, 1, TOKENS, True, False, None)
WORK = Work("transformers", None, True, 2, True, None, None, False, False, "cut", "sgd", False, ROWS, False, ())


def shape(**config: Any) -> Shape:
    made = shape_of(config)
    assert isinstance(made, Shape), made
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_counted_from_config_json_are_those_of_the_model(kind: str) -> None:
    sizes = SIZES | {"tie_word_embeddings": kind in ("gemma2", "qwen2")}
    if kind in ("llama", "qwen3", "granite"):
        sizes |= {"attention_bias": True}
    if kind in ("ministral", "hunyuan_v1_dense"):
        sizes |= {"head_dim": 32}
    config = AutoConfig.for_model(kind, **sizes)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    counted = shape(**json.loads(config.to_json_string(use_diff=True)))
    assert counted.parameters == sum(weight.numel() for weight in model.parameters())
    assert counted.matrix_weights == sum(
        weight.numel() for name, weight in model.named_parameters() if name.endswith("_proj.weight")
    )
    for patterns in (("model.layers.1.", "lm_head"), (r".*norm", r"model\.embed"), (r"model\.layers\.[02]\.mlp",)):
        learns = [weight for name, weight in model.named_parameters() if any(re.match(one, name) for one in patterns)]
        assert weights_of(counted, replace(WORK, patterns=patterns)).learned == sum(one.numel() for one in learns)


def test_the_table_of_known_models_has_the_sizes_that_their_names_say() -> None:
    billions = {"llama-3.2-1b": 1.24, "qwen2.5-7b": 7.62, "gemma-2-9b": 9.24, "phi-3.5-mini-instruct": 3.82}
    billions |= {"mistral-7b-v0.3": 7.25, "smollm2-1.7b": 1.71, "qwen3-4b": 4.02, "gemma-3-1b": 1.0, "phi-4": 14.66}
    billions |= {"qwen1.5-1.8b": 1.84, "llama-3.3-70b": 70.55, "qwen2.5-0.5b": 0.494, "gemma-2-27b": 27.2}
    for name, wanted in billions.items():
        config = config_of_name(f"unsloth/{name}")
        assert config is not None
        assert shape(**config).parameters / 1e9 == pytest.approx(wanted, rel=0.01), name
    assert all(isinstance(shape_of(config_of_name(f"google/{name}") or {}), Shape) for name in _MODELS)


def test_what_sees_pictures_besides_is_not_counted_as_if_it_read_alone() -> None:
    config = AutoConfig.for_model("gemma3").to_dict()
    assert "what a gemma3 model has besides text (vision_config) is not counted" in str(shape_of(config))
    assert isinstance(shape_of({"model_type": "gemma3", "text_config": config["text_config"]}), Shape)


def test_where_the_sizes_of_a_model_come_from(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **SIZES}))
    here = found(str(tmp_path))
    assert isinstance(here, Found) and here.source.endswith("config.json")
    known = found("unsloth/Llama-3.2-3B-Instruct-bnb-4bit")
    assert isinstance(known, Found) and known.shape.layers == 28
    unknown = found("somebody/something")
    assert isinstance(unknown, str) and "hf download somebody/something config.json" in unknown
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    other = found(str(tmp_path))
    assert isinstance(other, str) and "a mamba model is not counted" in other


def foreseen(kind: str, how: str, checkpointing: bool, tokens: int = TOKENS) -> Estimate:
    sizes = shape(model_type=kind, **({} if kind == "phi3" else {"head_dim": 32}), **SIZES)
    targets, fused = frozenset(one.name for one in sizes.matrices), how not in ("plain", "dora")
    lora = Lora(16, targets, fused, False, how == "dora", (), 2 if how == "qlora" else 4)
    wide = how == "float32"
    work = replace(
        WORK,
        bits=4 if how == "qlora" else None,
        dtype_bytes=4 if wide else 2,
        mixed=not wide,
        lora=None if how in ("full", "part") else lora,
        checkpointing=checkpointing,
        float16=how == "qlora",
        patterns=(LEARNING,) if how == "part" else None,
    )
    return estimated(sizes, work, Pass(tokens, tokens, tokens))


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("how", ["lora", "qlora", "full"])
@pytest.mark.parametrize("kind", ["llama", "gemma3_text"])
def test_what_is_foreseen_of_a_step_is_what_pytorch_keeps(kind: str, how: str, checkpointing: bool) -> None:
    compare(kind, how, checkpointing)


@pytest.mark.parametrize("how", ["lora", "full"])
@pytest.mark.parametrize("kind", ["olmo2", "exaone4", "hunyuan_v1_dense"])
def test_so_it_is_of_blocks_whose_norms_lie_elsewhere(kind: str, how: str) -> None:
    compare(kind, how, checkpointing=True)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("how", ["lora", "full"])
def test_so_it_is_of_attention_in_tiles(how: str, checkpointing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiled, "SMALL", tiled.TILE)
    assert tiled.TILE == QUERIES
    compare("gemma2", how, checkpointing, QUERIES)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("how", ["plain", "dora", "float32", "part"])
def test_so_it_is_of_the_ways_in_which_few_train(how: str, checkpointing: bool) -> None:
    compare("llama", how, checkpointing)


def compare(kind: str, how: str, checkpointing: bool, tokens: int = TOKENS) -> None:
    _, peak = step_bytes(kind, tokens, how, checkpointing)
    estimate = foreseen(kind, how, checkpointing, tokens)
    assert estimate.moment != "the optimizer's step"
    step = estimate.gradients + estimate.activations + estimate.loss + estimate.workspace - LIBRARIES
    if how == "qlora":
        # The matrix that is unpacked is not there in the model that stands in for a quantized one.
        step -= 2 * SIZES["intermediate_size"] * SIZES["hidden_size"]
    assert step == pytest.approx(peak, rel=0.1)


def test_every_optimizer_has_its_states_counted() -> None:
    assert set(STATES) == set(OPTIMIZERS)


def test_the_loss_is_counted_in_the_pieces_in_which_it_is_made() -> None:
    for vocabulary in (300, 32_064, 151_936, 2**20):
        for learns in (False, True):
            rows = tokens_of_a_piece(vocabulary, learns)
            assert 4 * rows * vocabulary <= ROOM
            # As large as the room allows, where the head's gradient is written for each; else as small as is fast.
            assert rows > (ROOM // (4 * vocabulary) if learns else min(ENOUGH, ROOM // (4 * vocabulary))) - TILE
    assert tokens_of_a_piece(32_064, False) == ENOUGH
    assert tokens_of_a_piece(2**30, True) == 1
