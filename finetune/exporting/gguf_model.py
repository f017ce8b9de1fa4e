"""A model's configuration and weights in GGUF's terms, for the architectures that are written here. The names of
tensors come from the `gguf` package; knows no tokenizer and no file."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from finetune.errors import ModelError

Config = Mapping[str, Any]
Array = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Architecture:
    """`arch`: its name in gguf.MODEL_ARCH; `rotated`: queries and keys are laid out for the other kind of rotation;
    `shifted`: norms are stored less one; `headless`: the output head is the embeddings; `own`: settings of its own."""

    arch: str
    rotated: bool = False
    shifted: bool = False
    headless: bool = False
    own: Callable[[Any, Config], None] | None = None


def _gemma2(writer: Any, config: Config) -> None:
    writer.add_attn_logit_softcapping(float(config["attn_logit_softcapping"]))
    writer.add_final_logit_softcapping(float(config["final_logit_softcapping"]))
    writer.add_sliding_window(int(config["sliding_window"]))
    if config.get("query_pre_attn_scalar") not in (None, _head_dim(config)) and config["num_hidden_layers"] != 46:
        _refuse("query_pre_attn_scalar", config["query_pre_attn_scalar"], "takes the width of a head")


def _gemma3(writer: Any, config: Config) -> None:
    pattern = config.get("_sliding_window_pattern") or config.get("sliding_window_pattern") or 6
    kinds = config.get("layer_types") or []
    expected = [
        "sliding_attention" if (n + 1) % 6 else "full_attention" for n in range(int(config["num_hidden_layers"]))
    ]
    if pattern != 6 or (kinds and list(kinds) != expected):
        _refuse("sliding_window_pattern", pattern, "takes every sixth layer as a global one")
    if config.get("query_pre_attn_scalar") not in (None, _head_dim(config)) and config["num_hidden_layers"] != 62:
        _refuse("query_pre_attn_scalar", config["query_pre_attn_scalar"], "takes the width of a head")
    if config.get("final_logit_softcapping"):
        writer.add_final_logit_softcapping(float(config["final_logit_softcapping"]))
    writer.add_sliding_window(int(config["sliding_window"]))


def _phi3(writer: Any, config: Config) -> None:
    rope = rope_of(config)
    long = int(config["max_position_embeddings"])
    original = int(
        rope.get("original_max_position_embeddings") or config.get("original_max_position_embeddings") or long
    )
    writer.add_rope_scaling_orig_ctx_len(original)
    writer.add_sliding_window(int(config.get("sliding_window") or 0))
    if rope.get("long_factor"):
        scale = long / original
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0)


ARCHITECTURES: Mapping[str, Architecture] = {
    "LlamaForCausalLM": Architecture("LLAMA", rotated=True),
    "MistralForCausalLM": Architecture("LLAMA", rotated=True),
    "Qwen2ForCausalLM": Architecture("QWEN2"),
    "Qwen3ForCausalLM": Architecture("QWEN3"),
    "GemmaForCausalLM": Architecture("GEMMA", shifted=True, headless=True),
    "Gemma2ForCausalLM": Architecture("GEMMA2", shifted=True, headless=True, own=_gemma2),
    "Gemma3ForCausalLM": Architecture("GEMMA3", shifted=True, own=_gemma3),
    "Phi3ForCausalLM": Architecture("PHI3", own=_phi3),
}
"""Class in config.json -> how it is written."""
ROPES = ("default", "linear", "yarn", "llama3", "longrope", "su")


def architecture_of(config: Config) -> Architecture:
    """ModelError if the model is none of those that are written here, or is built in a way that llama.cpp lacks."""
    names = config.get("architectures") or ["?"]
    found = ARCHITECTURES.get(str(names[0]))
    if found is None:
        raise ModelError(
            f"a {names[0]} cannot be written as GGUF here; {', '.join(ARCHITECTURES)} can. llama.cpp's converter knows "
            "more: set LLAMA_CPP to the folder of a llama.cpp checkout"
        )
    kind = str(rope_of(config).get("rope_type") or "default")
    if kind not in ROPES or (kind in ("longrope", "su") and found.arch != "PHI3"):
        raise ModelError(f"rope_type {kind} of {names[0]} cannot be written as GGUF here")
    if found.headless and config.get("tie_word_embeddings") is False:
        raise ModelError(
            f"llama.cpp's {found.arch} has no output head of its own, and training gave this model one (its two ends "
            "were trained apart). Train with peft_ensure_weight_tying: true, or export --to vllm"
        )
    if config.get("mlp_bias"):
        _refuse("mlp_bias", True, "has none")
    return found


def _refuse(key: str, value: Any, instead: str) -> None:
    raise ModelError(f"{key}: {value} in config.json cannot be written as GGUF: llama.cpp {instead}")


def rope_of(config: Config) -> Mapping[str, Any]:
    """The parameters of rotary positions; of two kinds of layers, those of the layers that see everything."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    full: Mapping[str, Any] = found.get("full_attention", found) or {}
    return {"rope_theta": config.get("rope_theta", 10000.0), **full}


def _head_dim(config: Config) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def write_settings(writer: Any, architecture: Architecture, config: Config) -> None:
    """What llama.cpp must know of the model besides its weights."""
    heads = int(config["num_attention_heads"])
    rope = rope_of(config)
    writer.add_context_length(int(config["max_position_embeddings"]))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(heads)
    writer.add_head_count_kv(int(config.get("num_key_value_heads") or heads))
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))
    writer.add_key_length(_head_dim(config))
    writer.add_value_length(_head_dim(config))
    writer.add_rope_dimension_count(int(_head_dim(config) * float(rope.get("partial_rotary_factor") or 1.0)))
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    local = (config.get("rope_parameters") or {}).get("sliding_attention", {}).get("rope_theta")
    if local or config.get("rope_local_base_freq"):
        writer.add_rope_freq_base_swa(float(local or config["rope_local_base_freq"]))
    _scaling(writer, rope)
    if architecture.own is not None:
        architecture.own(writer, config)


def _scaling(writer: Any, rope: Mapping[str, Any]) -> None:
    from gguf import RopeScalingType

    kind = rope.get("rope_type")
    if kind == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))
    elif kind in ("longrope", "su"):
        writer.add_rope_scaling_type(RopeScalingType.LONGROPE)
    elif kind == "yarn":
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(float(rope["factor"]))
        writer.add_rope_scaling_orig_ctx_len(int(rope["original_max_position_embeddings"]))
        if rope.get("beta_fast") is not None:
            writer.add_rope_scaling_yarn_beta_fast(float(rope["beta_fast"]))
        if rope.get("beta_slow") is not None:
            writer.add_rope_scaling_yarn_beta_slow(float(rope["beta_slow"]))


def extra_tensors(config: Config) -> dict[str, Array]:
    """Factors of rotary positions that GGUF keeps as tensors."""
    rope = rope_of(config)
    found: dict[str, Array] = {}
    if rope.get("rope_type") == "llama3":
        found["rope_freqs.weight"] = _llama3_factors(rope, _head_dim(config))
    if rope.get("long_factor"):
        found["rope_factors_long.weight"] = np.array(rope["long_factor"], dtype=np.float32)
        found["rope_factors_short.weight"] = np.array(rope["short_factor"], dtype=np.float32)
    return found


def _llama3_factors(rope: Mapping[str, Any], width: int) -> Array:
    """By how much each frequency is slowed: not at all the fast ones, by `factor` the slow ones, between them gradually
    (transformers' rope_type llama3)."""
    frequencies = 1.0 / (float(rope["rope_theta"]) ** (np.arange(0, width, 2, dtype=np.float64) / width))
    lengths = 2 * math.pi / frequencies
    original = float(rope["original_max_position_embeddings"])
    low, high, factor = float(rope["low_freq_factor"]), float(rope["high_freq_factor"]), float(rope["factor"])
    share = (original / lengths - low) / (high - low)
    between = 1.0 / ((1.0 - share) / factor + share)
    factors = np.where(lengths < original / high, 1.0, np.where(lengths > original / low, factor, between))
    return factors.astype(np.float32)


def arranged(name: str, weight: Array, architecture: Architecture, config: Config) -> Array:
    """A weight as llama.cpp's kernels want it."""
    heads = int(config["num_attention_heads"])
    if architecture.rotated and ".q_proj." in name:
        weight = _interleaved(weight, heads)
    if architecture.rotated and ".k_proj." in name:
        weight = _interleaved(weight, int(config.get("num_key_value_heads") or heads))
    if architecture.shifted and name.endswith("norm.weight"):
        weight = weight + np.float32(1.0)
    return weight


def restored(name: str, weight: Array, architecture: Architecture, config: Config) -> Array:
    """The other way round."""
    heads = int(config["num_attention_heads"])
    if architecture.rotated and (".q_proj." in name or ".k_proj." in name):
        heads = heads if ".q_proj." in name else int(config.get("num_key_value_heads") or heads)
        pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
        weight = np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(weight.shape)
    if architecture.shifted and name.endswith("norm.weight"):
        weight = weight - np.float32(1.0)
    return weight


def _interleaved(weight: Array, heads: int) -> Array:
    """Each head's rows from halves (first, second) to pairs: ggml rotates neighbours, transformers the two halves."""
    rows = weight.shape[0] // heads
    split = weight.reshape(heads, 2, rows // 2, *weight.shape[1:])
    paired: Array = np.ascontiguousarray(split.swapaxes(1, 2)).reshape(weight.shape)
    return paired
