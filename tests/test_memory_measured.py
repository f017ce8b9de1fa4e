"""The estimate is within a few hundredths of the peaks that runs on a GPU had."""

import json
import runpy
from pathlib import Path

import pytest

from finetune.memory.estimate import GIB, Pass
from finetune.memory.foreseeing import Foresight, foresee
from finetune.memory.gpus import machine_with
from finetune.recipe.recipe import Recipe
from finetune.resolve import resolve
from tests.conftest import ROOT

BENCH = runpy.run_path(str(ROOT / "bench" / "gpu" / "memory.py"))

MEASURED_GIB = {
    "llama-lora16": 4.561,
    "llama-lora16-ckpt": 2.579,
    "llama-qlora4-ckpt": 1.907,
    "llama-qlora4": 3.908,
    "llama-qlora4-attention-cut": 3.221,
    "llama-lora8-ckpt": 1.655,
    "llama-lora16-dropout": 3.571,
    "llama-full": 5.914,
    "llama-full-8bit-ckpt": 5.272,
    "qwen2-lora16": 4.907,
    "qwen2-qlora4-ckpt": 3.207,
    "qwen2-lora8": 2.338,
    "qwen2-padded": 6.254,
    "qwen2-full-ckpt": 6.192,
    "qwen3-qlora4-fp16-ckpt": 3.202,
    "phi3-qlora4-ckpt": 2.300,
    "phi3-lora16": 3.719,
    "gemma3-lora16": 4.562,
    "gemma3-qlora4-ckpt": 1.801,
}
"""Peaks of bench/gpu/memory.py on an H100."""


@pytest.mark.parametrize("name", MEASURED_GIB)
def test_the_estimate_is_what_an_h100_measured(name: str, tmp_path: Path) -> None:
    (model, tokens, rows, passes), keys = BENCH["CASES"][name]
    config = {"num_hidden_layers": BENCH["LAYERS"], **BENCH["MODELS"][model]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    written = {"base_model": str(tmp_path), "datasets": [{"path": "d"}], "output_dir": "o", "backend": "transformers"}
    sizes = {"sequence_len": tokens, "micro_batch_size": rows, "gradient_accumulation_steps": passes}
    known = foresee(resolve(Recipe.model_validate(written | sizes | keys), machine_with("H100")))
    assert isinstance(known, Foresight) and not known.work.unmeasured
    there = known.work.rows.tokens_per_pass or rows * tokens
    peak = known.with_largest(Pass(there, there * 3 // 4, tokens)).peak / GIB
    assert peak == pytest.approx(MEASURED_GIB[name], rel=0.05)
