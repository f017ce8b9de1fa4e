"""The sizes of models that many people fine-tune, by their names on the hub, so that a recipe can be judged where
neither the hub nor its cache is at hand. Only a table, copied from the models' own config.json."""

from collections.abc import Container
from typing import Any

_FIELDS = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "tie_word_embeddings",
)
_LLAMA3_8B = ("llama", 128256, 4096, 14336, 32, 32, 8, 128, False)
_LLAMA32_1B = ("llama", 128256, 2048, 8192, 16, 32, 8, 64, True)
_LLAMA32_3B = ("llama", 128256, 3072, 8192, 28, 24, 8, 128, True)
_QWEN25_15B = ("qwen2", 151936, 1536, 8960, 28, 12, 2, 128, True)
_QWEN25_7B = ("qwen2", 152064, 3584, 18944, 28, 28, 4, 128, False)
_PHI35 = ("phi3", 32064, 3072, 8192, 32, 32, 32, 96, False)
_MODELS: dict[str, tuple[object, ...]] = {
    "phi-3.5-mini-instruct": _PHI35,
    "phi-3-mini-4k-instruct": _PHI35,
    "phi-3-mini-128k-instruct": _PHI35,
    "phi-3-medium-4k-instruct": ("phi3", 32064, 5120, 17920, 40, 40, 10, 128, False),
    "phi-4": ("phi3", 100352, 5120, 17920, 40, 40, 10, 128, False),
    "phi-4-mini-instruct": ("phi3", 200064, 3072, 8192, 32, 24, 8, 128, True),
    "llama-2-7b-hf": ("llama", 32000, 4096, 11008, 32, 32, 32, 128, False),
    "llama-2-13b-hf": ("llama", 32000, 5120, 13824, 40, 40, 40, 128, False),
    "meta-llama-3-8b": _LLAMA3_8B,
    "llama-3-8b": _LLAMA3_8B,
    "llama-3.1-8b": _LLAMA3_8B,
    "meta-llama-3.1-8b": _LLAMA3_8B,
    "llama-3.2-1b": _LLAMA32_1B,
    "llama-3.2-3b": _LLAMA32_3B,
    "llama-3.3-70b": ("llama", 128256, 8192, 28672, 80, 64, 8, 128, False),
    "llama-3.1-70b": ("llama", 128256, 8192, 28672, 80, 64, 8, 128, False),
    "meta-llama-3-70b": ("llama", 128256, 8192, 28672, 80, 64, 8, 128, False),
    "tinyllama-1.1b-chat-v1.0": ("llama", 32000, 2048, 5632, 22, 32, 4, 64, False),
    "mistral-7b-v0.1": ("mistral", 32000, 4096, 14336, 32, 32, 8, 128, False),
    "mistral-7b-instruct-v0.1": ("mistral", 32000, 4096, 14336, 32, 32, 8, 128, False),
    "mistral-7b-instruct-v0.2": ("mistral", 32000, 4096, 14336, 32, 32, 8, 128, False),
    "mistral-7b-v0.3": ("mistral", 32768, 4096, 14336, 32, 32, 8, 128, False),
    "mistral-7b-instruct-v0.3": ("mistral", 32768, 4096, 14336, 32, 32, 8, 128, False),
    "mistral-nemo-base-2407": ("mistral", 131072, 5120, 14336, 40, 32, 8, 128, False),
    "mistral-nemo-instruct-2407": ("mistral", 131072, 5120, 14336, 40, 32, 8, 128, False),
    "qwen1.5-0.5b": ("qwen2", 151936, 1024, 2816, 24, 16, 16, 64, True),
    "qwen1.5-1.8b": ("qwen2", 151936, 2048, 5504, 24, 16, 16, 128, False),
    "qwen1.5-4b": ("qwen2", 151936, 2560, 6912, 40, 20, 20, 128, False),
    "qwen1.5-7b": ("qwen2", 151936, 4096, 11008, 32, 32, 32, 128, False),
    "qwen2-0.5b": ("qwen2", 151936, 896, 4864, 24, 14, 2, 64, True),
    "qwen2-1.5b": _QWEN25_15B,
    "qwen2-7b": _QWEN25_7B,
    "qwen2.5-0.5b": ("qwen2", 151936, 896, 4864, 24, 14, 2, 64, True),
    "qwen2.5-1.5b": _QWEN25_15B,
    "qwen2.5-3b": ("qwen2", 151936, 2048, 11008, 36, 16, 2, 128, True),
    "qwen2.5-7b": _QWEN25_7B,
    "qwen2.5-14b": ("qwen2", 152064, 5120, 13824, 48, 40, 8, 128, False),
    "qwen2.5-32b": ("qwen2", 152064, 5120, 27648, 64, 40, 8, 128, False),
    "qwen2.5-72b": ("qwen2", 152064, 8192, 29568, 80, 64, 8, 128, False),
    "qwen3-0.6b": ("qwen3", 151936, 1024, 3072, 28, 16, 8, 128, True),
    "qwen3-1.7b": ("qwen3", 151936, 2048, 6144, 28, 16, 8, 128, True),
    "qwen3-4b": ("qwen3", 151936, 2560, 9728, 36, 32, 8, 128, True),
    "qwen3-8b": ("qwen3", 151936, 4096, 12288, 36, 32, 8, 128, False),
    "qwen3-14b": ("qwen3", 151936, 5120, 17408, 40, 40, 8, 128, False),
    "qwen3-32b": ("qwen3", 151936, 5120, 25600, 64, 64, 8, 128, False),
    "gemma-2b": ("gemma", 256000, 2048, 16384, 18, 8, 1, 256, True),
    "gemma-7b": ("gemma", 256000, 3072, 24576, 28, 16, 16, 256, True),
    "gemma-2-2b": ("gemma2", 256000, 2304, 9216, 26, 8, 4, 256, True),
    "gemma-2-9b": ("gemma2", 256000, 3584, 14336, 42, 16, 8, 256, True),
    "gemma-2-27b": ("gemma2", 256000, 4608, 36864, 46, 32, 16, 128, True),
    "gemma-3-270m": ("gemma3_text", 262144, 640, 2048, 18, 4, 1, 256, True),
    "gemma-3-1b": ("gemma3_text", 262144, 1152, 6912, 26, 4, 1, 256, True),
    "smollm2-135m": ("llama", 49152, 576, 1536, 30, 9, 3, 64, True),
    "smollm2-360m": ("llama", 49152, 960, 2560, 32, 15, 5, 64, True),
    "smollm2-1.7b": ("llama", 49152, 2048, 8192, 24, 32, 32, 64, True),
    "smollm3-3b": ("smollm3", 128256, 2048, 11008, 36, 16, 4, 128, True),
}
OWNERS = frozenset(
    "unsloth meta-llama nousresearch microsoft mistralai qwen google huggingfacetb tinyllama axolotl-ai-co".split()
)
"""Whose repositories of these names hold these models."""
SUFFIXES = ("-bnb-4bit", "-unsloth", "-instruct-2507", "-base", "-instruct", "-chat", "-it", "-pt")
"""Ends of names that do not change the sizes."""


def model_of(name: str, known: Container[str] = _MODELS) -> str | None:
    """Which of the `known` models a hub's repository holds, whatever its owner calls the variant."""
    owner, _, model = name.lower().partition("/")
    if owner not in OWNERS:
        return None
    while model not in known:
        shorter = next((model.removesuffix(end) for end in SUFFIXES if model.endswith(end)), None)
        if shorter is None:
            return None
        model = shorter
    return model


def config_of_name(name: str) -> dict[str, Any] | None:
    """What config.json of a hub's repository says of its sizes, where the name is known here."""
    owner, _, _ = name.lower().partition("/")
    model = model_of(name)
    if model is None:
        return None
    config = dict(zip(_FIELDS, _MODELS[model], strict=True))
    if owner == "unsloth" and config["model_type"] == "phi3" and model != "phi-4-mini-instruct":
        # Theirs are stored as Llama's are: query, key and value each a matrix. Llama turns whole heads, Phi-4-mini not.
        config["model_type"] = "llama"
    if name.lower().endswith("-bnb-4bit"):
        quantized = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True}
        return config | {"quantization_config": quantized}
    return config
