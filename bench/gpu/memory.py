"""The memory that training takes beside the memory that was foreseen, for models of random weights: each configuration
is a recipe that the program itself trains for two steps, all of them in one process.

Run from the repository root on a machine with a GPU: python bench/gpu/memory.py [FOLDER] [--tiny] [NAME ...]
Prints `RESULT name measured estimate ratio`, in GiB; `--tiny` tries the script itself, where there is no GPU."""

import contextlib
import gc
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LLAMA = {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8}
QWEN = {"hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12, "num_key_value_heads": 2}
GEMMA = {"hidden_size": 1152, "intermediate_size": 6912, "num_attention_heads": 4, "num_key_value_heads": 1}
PHI = {"hidden_size": 1536, "intermediate_size": 4096, "num_attention_heads": 16, "num_key_value_heads": 16}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "vocab_size": 32064, "tie_word_embeddings": False, **LLAMA},
    "qwen2": {"model_type": "qwen2", "vocab_size": 151936, "tie_word_embeddings": True, **QWEN},
    "gemma3": {"model_type": "gemma3_text", "vocab_size": 262144, "head_dim": 256, **GEMMA},
}
MODELS |= {
    "qwen3": {"model_type": "qwen3", "vocab_size": 151936, "tie_word_embeddings": False, "head_dim": 128, **QWEN},
    "phi3": {"model_type": "phi3", "vocab_size": 32064, "tie_word_embeddings": False, **PHI},
}
SHAPE = {"vocab_size": 32064, "tie_word_embeddings": False, **LLAMA}
MODELS |= {
    "mistral": {"model_type": "mistral", "sliding_window": 512, **SHAPE},
    "granite": {"model_type": "granite", **SHAPE, "tie_word_embeddings": True},
    "smollm3": {"model_type": "smollm3", **SHAPE, "vocab_size": 128256},
    "gemma2": {"model_type": "gemma2", "vocab_size": 256000, "head_dim": 256, **GEMMA},
    "gemma": {"model_type": "gemma", "vocab_size": 256000, "head_dim": 256, **GEMMA},
}
LAYERS = 8
TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "num_hidden_layers": 2,
}
LORA = {"adapter": "lora", "lora_r": 16}
QLORA = {"adapter": "qlora", "lora_r": 16, "load_in_4bit": True}
LORA8 = {"adapter": "lora", "lora_r": 16, "load_in_8bit": True}
FULL = {"learning_rate": 1e-6}
CKPT = {"gradient_checkpointing": True}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
Shape = tuple[str, int, int, int]
"""(model, tokens of a row, rows of a pass, passes of a step)"""
CASES: dict[str, tuple[Shape, dict[str, Any]]] = {
    "llama-lora16": (("llama", 512, 8, 1), LORA),
    "llama-lora16-ckpt": (("llama", 1024, 8, 1), LORA | CKPT),
    "llama-qlora4-ckpt": (("llama", 1024, 8, 1), QLORA | CKPT),
    "llama-qlora4": (("llama", 1024, 4, 2), QLORA),
    "llama-qlora4-attention-cut": (
        ("llama", 2048, 2, 4),
        QLORA | {"lora_target_modules": ATTENTION, "tokens_per_pass": 4096},
    ),
    "llama-lora8-ckpt": (("llama", 512, 4, 1), LORA8 | CKPT),
    "llama-lora16-dropout": (("llama", 512, 4, 1), LORA | {"lora_dropout": 0.1}),
    "llama-full": (("llama", 512, 4, 1), FULL),
    "llama-full-8bit-ckpt": (("llama", 1024, 8, 2), FULL | CKPT | {"optimizer": "adamw_8bit"}),
    "qwen2-lora16": (("qwen2", 1024, 4, 1), LORA),
    "qwen2-qlora4-ckpt": (("qwen2", 2048, 8, 1), QLORA | CKPT),
    "qwen2-lora8": (("qwen2", 512, 2, 1), LORA8),
    "qwen2-padded": (("qwen2", 512, 4, 1), LORA | {"batch_flattening": False}),
    "qwen2-full-ckpt": (("qwen2", 512, 4, 2), FULL | CKPT),
    "qwen3-qlora4-fp16-ckpt": (("qwen3", 1536, 4, 2), QLORA | CKPT | {"bf16": False, "fp16": True}),
    "qwen3-lora16-graphs": (("qwen3", 768, 2, 1), LORA | {"cuda_graphs": True}),
    "phi3-qlora4-ckpt": (("phi3", 1024, 16, 1), QLORA | CKPT | {"lora_r": 64, "lora_target_linear": True}),
    "phi3-lora16": (("phi3", 2560, 2, 1), LORA),
    "gemma3-lora16": (("gemma3", 1024, 4, 1), LORA),
    "gemma3-qlora4-ckpt": (("gemma3", 1024, 8, 1), QLORA | CKPT),
}
CASES |= {
    "mistral-qlora4-long-offloaded": (("mistral", 16384, 1, 1), QLORA | CKPT | {"activation_offloading": True}),
    "llama-lora16-long": (("llama", 16384, 1, 1), LORA),
    "llama-lora16-long-ckpt": (("llama", 16384, 1, 2), LORA | CKPT),
    "llama-dora-ckpt": (("llama", 1024, 4, 1), LORA | CKPT | {"peft_use_dora": True}),
    "llama-lora16-rank256": (("llama", 1024, 4, 1), LORA | {"lora_r": 256, "peft_use_rslora": True}),
    "llama-lora16-embeddings": (("llama", 1024, 4, 1), LORA | {"lora_modules_to_save": ["embed_tokens", "lm_head"]}),
    "llama-lora16-plain-layers": (("llama", 1024, 4, 1), LORA | {"lora_kernels": False}),
    "llama-lora16-whole-loss": (("llama", 1024, 4, 1), LORA | {"cut_cross_entropy": False}),
    "llama-lora16-liger-loss": (("llama", 1024, 4, 1), LORA | {"liger_fused_linear_cross_entropy": True}),
    "llama-lora32": (("llama", 512, 4, 1), LORA | {"bf16": False}),
    "llama-lora16-packed": (("llama", 1024, 8, 1), LORA | {"sample_packing": True}),
    "llama-lora16-eager": (("llama", 1024, 2, 1), LORA | {"attn_implementation": "eager"}),
    "llama-lora16-sdpa": (("llama", 1024, 4, 1), LORA | {"attn_implementation": "sdpa"}),
    "llama-lora16-some-layers": (("llama", 1024, 4, 1), LORA | {"lora_target_modules": ["q_proj", "v_proj"]}),
    "llama-qlora4-single": (
        ("llama", 1024, 4, 1),
        QLORA | CKPT | {"bnb_config_kwargs": {"bnb_4bit_use_double_quant": False}},
    ),
    "llama-int8-torchao": (("llama", 1024, 4, 1), LORA | CKPT | {"load_in_torchao": "int8"}),
    "llama-full-fused": (("llama", 512, 8, 1), FULL | CKPT | {"optimizer": "adamw_torch_fused"}),
    "llama-full-paged": (("llama", 512, 8, 1), FULL | CKPT | {"optimizer": "paged_adamw_8bit"}),
    "llama-full-adafactor": (("llama", 512, 8, 1), FULL | CKPT | {"optimizer": "adafactor"}),
    "llama-full-sgd": (("llama", 512, 4, 4), FULL | {"optimizer": "sgd"}),
    "llama-part": (("llama", 1024, 4, 1), FULL | {"unfrozen_parameters": ["model\\.layers\\.[67]\\."]}),
    "granite-lora16": (("granite", 1024, 4, 1), LORA),
    "smollm3-qlora4": (("smollm3", 1024, 4, 1), QLORA),
    "gemma2-lora16": (("gemma2", 1024, 2, 1), LORA),
    "gemma2-lora16-long-ckpt": (("gemma2", 8192, 1, 1), LORA | CKPT),
    "gemma2-qlora4-ckpt": (("gemma2", 512, 16, 1), QLORA | CKPT),
    "gemma-qlora4-ckpt": (("gemma", 1024, 8, 1), QLORA | CKPT),
    "gemma3-full-8bit-ckpt": (("gemma3", 1024, 4, 1), FULL | CKPT | {"optimizer": "adamw_8bit"}),
    "qwen3-lora16-long-ckpt": (("qwen3", 8192, 2, 1), LORA | CKPT),
    "qwen2-qlora4-tokens": (("qwen2", 1024, 8, 2), QLORA | CKPT | {"tokens_per_pass": 2048}),
    "phi3-full-ckpt": (("phi3", 1024, 8, 2), FULL | CKPT),
    "phi3-lora8": (("phi3", 1024, 4, 1), LORA8),
    "llama-unsloth-qlora4": (
        ("llama", 1024, 4, 1),
        QLORA | {"backend": "unsloth", "gradient_checkpointing": "unsloth"},
    ),
    "llama-dpo": (("llama", 512, 2, 1), LORA | CKPT | {"rl": "dpo"}),
    "llama-orpo": (("llama", 512, 2, 1), LORA | CKPT | {"rl": "orpo"}),
    "llama-kto": (("llama", 512, 2, 1), LORA | CKPT | {"rl": "kto"}),
    "qwen2-dpo-qlora4": (("qwen2", 512, 2, 1), QLORA | CKPT | {"rl": "dpo"}),
}
"""What the counting was fitted to and, after cuda_graphs, what it was never shown."""
ROWS = 32


def save_model(folder: Path, name: str, tiny: bool) -> None:
    """Random weights in bfloat16, and a tokenizer of bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    sizes = {"num_hidden_layers": LAYERS, "max_position_embeddings": 16384, **MODELS[name]} | (TINY if tiny else {})
    if tiny and "head_dim" in sizes:
        sizes["head_dim"] = 16
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: number for number, word in enumerate(["<pad>", "<eos>", *alphabet])}
    backend = Tokenizer(models.BPE(words, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}<eos>{% endfor %}"
    ends = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    config = AutoConfig.for_model(**sizes, **ends)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_rows(path: Path, tokens: int) -> None:
    """Rows that are all equally long; of each, the last three quarters are learned."""
    rng = random.Random(tokens)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(ROWS):
            ids = [rng.randrange(2, 250) for _ in range(tokens)]
            asked = tokens // 4
            labels = [-100] * asked + ids[asked:]
            file.write(json.dumps({"input_ids": ids, "labels": labels}) + "\n")


def write_answers(path: Path, tokens: int, method: str) -> None:
    """Questions with answers of a preference method, each pair of them so many tokens (bytes)."""
    asked, answer, other = ("a" * (tokens // 4), "b" * (tokens * 3 // 4 - 8), "c" * (tokens * 3 // 4 - 8))
    with path.open("w", encoding="utf-8") as file:
        for number in range(ROWS):
            line = {"prompt": asked, "chosen": answer, "rejected": other}
            if method == "kto":
                line = {"prompt": asked, "completion": answer, "label": number % 2 == 0}
            file.write(json.dumps(line) + "\n")


def recipe_of(folder: Path, name: str, tiny: bool) -> Path:
    import yaml

    (model, tokens, rows, passes), keys = CASES[name]
    if tiny:
        tokens = 64
        keys = keys | ({"tokens_per_pass": 128} if "tokens_per_pass" in keys else {})
    method = keys.get("rl")
    data = folder / f"rows{tokens}{method or ''}.jsonl"
    if not data.exists():
        write_answers(data, tokens, method) if method else write_rows(data, tokens)
    recipe = {
        "base_model": str(folder / model),
        "datasets": [{"path": str(data)}],
        "backend": "transformers",
        "sequence_len": tokens,
        "micro_batch_size": rows,
        "gradient_accumulation_steps": passes,
        "max_steps": 2,
        "logging_steps": 1,
        "sample_prompts": [],
        "output_dir": str(folder / "runs" / name),
        **keys,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


def allocated_gib() -> float:
    import torch

    return torch.cuda.memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


def measure(folder: Path, name: str, tiny: bool, usual: float | None) -> tuple[str, float]:
    """The RESULT line of one configuration, and what it left allocated, in GiB. `usual`: what the first one left, which
    is the libraries' work space; what others left beyond it is none of this one's."""
    import torch

    from finetune.cli import main as finetune

    began, before = time.monotonic(), allocated_gib()
    with (folder / f"{name}.log").open("w", encoding="utf-8") as log, contextlib.redirect_stdout(log):
        code = finetune([str(recipe_of(folder, name, tiny))])
    seconds = time.monotonic() - began
    run = folder / "runs" / name
    memory = json.loads((run / "run.json").read_text("utf-8")).get("memory") if code == 0 else None
    shutil.rmtree(run, ignore_errors=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    left = allocated_gib()
    if memory is None or memory["estimate"] is None:
        return f"FAILED {name} code {code}: {(folder / f'{name}.log').read_text('utf-8')[-1500:]}", left
    estimate = memory["estimate"]
    parts = " ".join(f"{part}={gib}" for part, gib in estimate["parts_gib"].items())
    foreign = max(before - usual, 0.0) if usual is not None else 0.0
    measured = memory["measured_gib"] - foreign
    line = f"RESULT {name} {measured:.3f} {estimate['peak_gib']:.3f} {estimate['peak_gib'] / measured:.3f}"
    return f"{line}  # {seconds:.1f} s, {foreign:.2f} GiB of others, {estimate['moment']}: {parts}", left


def main() -> None:
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    tiny = "--tiny" in sys.argv
    folder = Path(words[0]) if words else Path(tempfile.mkdtemp(prefix="finetune-memory-"))
    folder.mkdir(parents=True, exist_ok=True)
    names = words[1:] or list(CASES)
    for model in dict.fromkeys(CASES[name][0][0] for name in names):
        if not (folder / model / "config.json").exists():
            save_model(folder / model, model, tiny)
    usual: float | None = None
    for name in names:
        line, left = measure(folder, name, tiny, usual)
        usual = left if usual is None else usual
        print(line, flush=True)


if __name__ == "__main__":
    main()
