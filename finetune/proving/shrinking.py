"""config.json of a model -> that of a tiny one of the same architecture: as many key heads to a query head, every kind
of layer it has, its rope, windows, caps and ties; narrow, shallow, and with a small vocabulary. Knows the names that
architectures give their sizes; knows no recipe and loads no weights."""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from finetune.errors import ModelError

HEAD_WIDTH = 16
MANY_HEADS = 8
LAYERS = 2
MOST_LAYERS = 8
WINDOW = 64
"""Tokens of a sliding window at most: rows are to be longer than it."""
SPARE = 8
"""Embeddings beyond the tokenizer's tokens, where the model has some."""
_HIDDEN = "hidden_size n_embd d_model dim model_dim embed_dim embedding_size word_embed_proj_dim".split()
_LAYERS = "num_hidden_layers n_layer n_layers num_layers".split()
_HEADS = "num_attention_heads n_head n_heads num_heads".split()
_KEY_HEADS = "num_key_value_heads num_kv_heads n_head_kv multi_query_group_num".split()
_INNER = "intermediate_size ffn_dim n_inner ffn_hidden_size d_ff inner_dim ffn_intermediate_size".split()
_SMALL = {
    **dict.fromkeys("moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size".split(), 64),
    **dict.fromkeys("expert_ffn_hidden_size intermediate_size_mlp moe_shared_expert_intermediate_size".split(), 64),
    **dict.fromkeys("num_experts num_local_experts n_routed_experts moe_num_experts num_routed_experts".split(), 4),
    **dict.fromkeys("num_experts_per_tok num_experts_per_token moe_top_k top_k_experts experts_per_token".split(), 2),
    **dict.fromkeys("moe_k n_shared_experts num_shared_experts".split(), 1),
    **dict.fromkeys("n_group topk_group first_k_dense_replace".split(), 1),
    **dict.fromkeys("q_lora_rank kv_lora_rank v_head_dim qk_nope_head_dim".split(), HEAD_WIDTH),
    **dict.fromkeys("qk_rope_head_dim rotary_dim".split(), HEAD_WIDTH // 2),
    **dict.fromkeys("mamba_d_state ssm_state_size state_size".split(), 16),
    **dict.fromkeys("hidden_size_per_layer_input index_head_dim".split(), 16),
    **dict.fromkeys("linear_key_head_dim linear_value_head_dim".split(), HEAD_WIDTH),
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "index_n_heads": 4,
    "index_topk": 32,
}
"""Sizes of parts that only some architectures have: at most so many."""
_WINDOWS = "sliding_window attention_window_size window_size attention_chunk_size".split()
_DROPS = re.compile("dropout|pdrop")
_PERIODS = ("_interval", "_period")
_FACTORS = ("short_factor", "long_factor")
_LEFT_OUT = ("model_type", "quantization_config", "auto_map", "dtype", "torch_dtype", "architectures")


def full_config(config: Mapping[str, Any]) -> Any:
    """The library's config object, with what config.json leaves out. ModelError for an architecture it does not
    know."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = str(config.get("model_type"))
    inner = config.get("text_config")
    if isinstance(inner, dict) and str(inner.get("model_type", f"{kind}_text")) in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        outer = {key: config[key] for key in ("tie_word_embeddings",) if key in config}
        config = {"model_type": f"{kind}_text", **outer, **inner}
        kind = str(config["model_type"])
    if kind not in CONFIG_MAPPING or kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ModelError(
            f"the installed transformers has no architecture {kind!r} that writes text, and none can be made tiny"
        )
    fields = {key: value for key, value in config.items() if key not in _LEFT_OUT and not key.startswith("_")}
    try:
        return CONFIG_MAPPING[kind](**fields)
    except Exception as error:  # configs raise whatever their checks raise
        raise ModelError(f"its config.json is none of {kind}: {_first_line(error)}") from error


def shrunk(config: Mapping[str, Any], vocabulary: int, ids: Mapping[str, int | None]) -> Any:
    """The tiny config. `vocabulary`: tokens of its tokenizer; `ids`: its bos_token_id, eos_token_id and pad_token_id.
    ModelError where the architecture is not known or cannot be made so small."""
    full = full_config(config)
    fields = {key: value for key, value in full.to_dict().items() if key not in ("transformers_version", "dtype")}
    spare = fields.get("vocab_size", 0) > vocabulary and "vocab_size" in config
    layers = _layers(fields)
    tiny = {**_cut_lists(fields, layers), **_sizes(fields, len(layers))}
    tiny["vocab_size"] = vocabulary + SPARE * spare
    tiny |= {name: None for name in tiny if name.endswith("_token_id")} | dict(ids)
    tiny.pop("model_type", None)
    try:
        made = type(full)(**tiny)
    except Exception as error:
        raise ModelError(f"no tiny {full.model_type} can be made: {_first_line(error)}") from error
    return made


def _sizes(fields: Mapping[str, Any], layers: int) -> dict[str, Any]:
    heads, key_heads = _heads(fields)
    old_heads, old_hidden = _first(fields, _HEADS), _first(fields, _HIDDEN)
    apart = fields.get("head_dim") and old_heads and old_hidden and fields["head_dim"] * old_heads != old_hidden
    hidden = 64 if apart else heads * HEAD_WIDTH
    tiny: dict[str, Any] = {}
    for names, value in ((_HIDDEN, hidden), (_LAYERS, layers), (_HEADS, heads), (_KEY_HEADS, key_heads)):
        tiny |= {name: value for name in names if isinstance(fields.get(name), int)}
    tiny |= {name: 2 * hidden for name in _INNER if isinstance(fields.get(name), int)}
    if isinstance(fields.get("head_dim"), int):
        tiny["head_dim"] = HEAD_WIDTH
    tiny |= {name: min(fields[name], most) for name, most in _SMALL.items() if isinstance(fields.get(name), int)}
    tiny |= {name: min(fields[name], WINDOW) for name in _WINDOWS if isinstance(fields.get(name), int)}
    if isinstance(fields.get("query_pre_attn_scalar"), int | float):
        tiny["query_pre_attn_scalar"] = HEAD_WIDTH
    if isinstance(fields.get("num_nextn_predict_layers"), int):
        tiny["num_nextn_predict_layers"] = 0
    # Two splits of the same rows would drop other numbers.
    tiny |= {name: 0.0 for name, value in fields.items() if _DROPS.search(name) and isinstance(value, float)}
    if "router_aux_loss_coef" in fields:
        # The loss of routers is one of a whole pass: by hand, row by row, and in other passes it is another.
        tiny["router_aux_loss_coef"] = 0.0
    return tiny | _rope(fields) | _state_space(fields, hidden)


def _heads(fields: Mapping[str, Any]) -> tuple[int, int]:
    """(query heads, key heads) in the ratio that the model has."""
    heads = _first(fields, _HEADS) or 4
    key_heads = _first(fields, _KEY_HEADS) or heads
    ratio = max(1, min(MANY_HEADS, heads // max(1, key_heads)))
    fewest = {1: 4, 2: 2}.get(ratio, 1)
    return ratio * fewest, fewest


def _rope(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of factors hold one for each pair of a head's rotated numbers."""
    found = {}
    for name in ("rope_parameters", "rope_scaling"):
        rope = fields.get(name)
        if not isinstance(rope, dict):
            continue
        rotated = HEAD_WIDTH * float(rope.get("partial_rotary_factor") or fields.get("partial_rotary_factor") or 1.0)
        found[name] = {
            key: value[: int(rotated) // 2] if key in _FACTORS and isinstance(value, list) else value
            for key, value in rope.items()
        }
    return found


def _state_space(fields: Mapping[str, Any], hidden: int) -> dict[str, Any]:
    """Layers of Mamba's kind: their heads times the width of one are the hidden size times `expand`."""
    tiny: dict[str, Any] = {}
    for heads, width, expand in (
        ("mamba_n_heads", "mamba_d_head", "mamba_expand"),
        ("mamba_num_heads", "mamba_head_dim", "expand"),
        ("num_heads", "head_dim", "expand"),
    ):
        if all(isinstance(fields.get(name), int) for name in (heads, width, expand)):
            tiny |= {width: HEAD_WIDTH, heads: hidden * fields[expand] // HEAD_WIDTH}
    for name in ("mamba_n_groups", "n_groups"):
        if isinstance(fields.get(name), int):
            tiny[name] = 1
    if isinstance(fields.get("mamba_dt_rank"), int):
        tiny["mamba_dt_rank"] = 4
    if isinstance(fields.get("lru_width"), int):
        tiny["lru_width"] = hidden
    return tiny


def _layers(fields: Mapping[str, Any]) -> list[int]:
    """Which layers are kept: the first ones, and one of each kind that the lists with an item for each layer tell."""
    count = _first(fields, _LAYERS) or LAYERS
    lists = list(_of_layers(fields, count))
    wanted = max([LAYERS, *(value for key, value in _integers(fields) if key.endswith(_PERIODS))])
    kinds: dict[str, int] = {}
    for layer in range(count):
        kinds.setdefault(repr([fields[name][layer] for name in lists]), layer)
    found = sorted(kinds.values())[:MOST_LAYERS]
    for layer in itertools.takewhile(lambda _: len(found) < min(wanted, MOST_LAYERS, count), range(count)):
        if layer not in found:
            found.append(layer)
    return sorted(found)


def _of_layers(fields: Mapping[str, Any], count: int) -> Iterator[str]:
    for name, value in fields.items():
        if isinstance(value, list) and len(value) == count and count > 1:
            yield name


def _cut_lists(fields: Mapping[str, Any], layers: list[int]) -> dict[str, Any]:
    count = _first(fields, _LAYERS) or LAYERS
    lists = set(_of_layers(fields, count))
    cut = {key: [value[layer] for layer in layers] if key in lists else value for key, value in fields.items()}
    if isinstance(fields.get("max_window_layers"), int):
        cut["max_window_layers"] = min(fields["max_window_layers"], len(layers))
    return cut


def _integers(fields: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    yield from ((key, value) for key, value in fields.items() if type(value) is int)


def _first(fields: Mapping[str, Any], names: list[str]) -> int | None:
    return next((fields[name] for name in names if isinstance(fields.get(name), int)), None)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
