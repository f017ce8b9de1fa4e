"""A tiny model of any architecture that transformers can load as a causal language model: its own configuration, with
every size that it has made small."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

LAYERS = 4
VOCABULARY = 400
WINDOW = 8
EVERY = tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))


def _named(value: Any, names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), value)


SIZES: dict[str, Any] = (
    _named(
        32,
        "hidden_size d_model n_embd dim embedding_size emb_dim word_embed_proj_dim attention_hidden_size lru_width",
    )
    | _named(
        48,
        "intermediate_size ffn_dim n_inner dff ffn_hidden_size intermediate_size_mlp d_inner "
        "decoder_ffn_dim encoder_ffn_dim feed_forward_size dim_ff block_ff_dim "
        "prefix_dense_intermediate_size",
    )
    | _named(
        LAYERS,
        "num_hidden_layers n_layer n_layers num_layers decoder_layers num_decoder_layers num_encoder_layers num_blocks",
    )
    | _named(
        4,
        "num_attention_heads n_head n_heads decoder_attention_heads encoder_attention_heads "
        "num_decoder_attention_heads num_encoder_attention_heads num_heads swa_num_attention_heads "
        "num_experts num_local_experts n_routed_experts moe_num_experts adapter_rank mamba_dt_rank "
        "time_step_rank linear_num_value_heads linear_num_heads rotary_dim hc_lowrank",
    )
    | _named(
        2,
        "num_key_value_heads num_kv_heads swa_num_key_value_heads num_global_key_value_heads "
        "num_experts_per_tok num_experts_per_token moe_topk moe_k moe_num_experts_per_tok zero_expert_num "
        "index_n_heads o_groups n_mamba_heads mamba_expand expand linear_num_key_heads altup_num_inputs "
        "attn_layer_period type_vocab_size heads_per_ngram eos_token_id",
    )
    | _named(
        1,
        "num_shared_experts n_shared_experts n_group topk_group num_expert_group first_k_dense_replace "
        "num_dense_layers moe_layer_start_index mamba_n_groups n_groups attn_layer_offset "
        "split_ngram_parts num_codebooks bos_token_id",
    )
    | _named(
        8,
        "head_dim attention_head_dim kv_channels swa_head_dim d_kv global_head_dim swa_v_head_dim dim_head "
        "qk_nope_head_dim qk_rope_head_dim v_head_dim o_lora_rank mamba_d_state state_size ssm_state_size "
        "mamba_n_heads mamba_num_heads mamba_head_dim linear_key_head_dim linear_value_head_dim "
        "linear_head_dim laurel_rank hidden_size_per_layer_input d_head index_topk "
        "make_ngram_vocab_size_divisible_by",
    )
    | _named(
        16,
        "moe_intermediate_size shared_expert_intermediate_size moe_shared_expert_intermediate_size "
        "shared_intermediate_size expert_ffn_hidden_size q_lora_rank kv_lora_rank index_head_dim "
        "mamba_chunk_size chunk_size router_hidden_size ple_embed_dim",
    )
    | _named(
        VOCABULARY,
        "vocab_size vocab_size_per_layer_input",
    )
    | _named(
        512,
        "max_position_embeddings n_positions n_ctx max_seq_len model_max_length max_target_positions "
        "seq_length max_position",
    )
    | _named(
        WINDOW,
        "sliding_window attention_window_size window_size attention_chunk_size sliding_window_size "
        "local_attention swa_window_size",
    )
    | _named(
        0.0,
        "attention_dropout hidden_dropout attn_pdrop embd_pdrop resid_pdrop dropout activation_dropout "
        "residual_dropout hidden_dropout_prob attention_probs_dropout_prob",
    )
    | _named(
        0,
        "num_kv_shared_layers num_nextn_predict_layers pad_token_id",
    )
    | {"mamba_d_head": "auto", "conv_L_cache": 3, "dim_model_base": 32, "ngram_vocab_size_base": 1000}
)
"""Name of a size -> a small one, for every configuration that has it."""
_HYBRID = ["linear_attention", "hybrid", "linear_attention", "hybrid"]
OWN: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1, 3]},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_d_head": 8},
    "falcon_mamba": {"intermediate_size": 64},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba": {"intermediate_size": 64},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "mpt": {"attn_config": {"attn_pdrop": 0}},
    "nemotron_h": {"layers_block_type": ["mamba", "moe", "attention", "moe"]},
    "qwen4_exp_text": {
        "indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 8,
        "indexer_compress_ratio": 2,
    },
    "recurrent_gemma": {"num_hidden_layers": 6, "block_types": ["recurrent", "recurrent", "attention"]},
    "zamba": {"attention_hidden_size": 64, "attention_head_dim": 16, "num_key_value_heads": 4},
    "zamba2": {
        "attention_hidden_size": 64, "attention_head_dim": 16, "num_key_value_heads": 4, "num_query_groups": 4,
        "n_mamba_heads": 8, "mamba_headdim": 8, "hybrid_layer_ids": [1, 3], "layers_block_type": _HYBRID,
    },
    "zaya": {"num_experts_per_tok": 1},
}  # fmt: skip
"""`model_type` -> what has to fit each other besides."""
KINDS_OF_LAYERS = ("layer_types", "layers_block_type", "mlp_layer_types", "indexer_types")
UNSET_STAYS = ("q_lora", "sliding", "attention_chunk", "index_", "encoder_ffn")


def tiny_config(model_type: str, vocabulary: int = VOCABULARY, **more: Any) -> Any:
    default = AutoConfig.for_model(model_type)
    chosen = _small(default, vocabulary)
    for name in type(default).sub_configs:
        part = getattr(default, name, None)
        if part is not None:
            inside = _small(part, vocabulary)
            if "text" not in name and "decoder" not in name:
                inside.pop("vocab_size", None)
            chosen[name] = inside | {"model_type": part.model_type}
    return CONFIG_MAPPING[model_type](**chosen | OWN.get(model_type, {}) | more)


def _small(default: Any, vocabulary: int) -> dict[str, Any]:
    said, aliases = default.to_dict(), getattr(type(default), "attribute_map", {}) or {}
    chosen = {}
    for name, value in SIZES.items():
        real = aliases.get(name, name)
        if real not in said or (name != real and real in SIZES):
            continue
        if said[real] is None and name.startswith(UNSET_STAYS):
            continue
        chosen[name] = vocabulary if value == VOCABULARY else value
    if "qk_rope_head_dim" in said:
        chosen.pop("head_dim", None)
        chosen |= {"num_key_value_heads": 4} if "num_key_value_heads" in chosen else {}
    for name in KINDS_OF_LAYERS:
        kinds = list(dict.fromkeys(said.get(name) or ()))
        if kinds:
            chosen[name] = [kinds[number % len(kinds)] for number in range(LAYERS)]
    if said.get("no_rope_layers"):
        chosen["no_rope_layers"] = [1, 0] * (LAYERS // 2)
    if default.is_encoder_decoder:
        chosen["encoder_layers"] = LAYERS
    return chosen | OWN.get(default.model_type, {})


def tiny_model(model_type: str, spread: float = 1.0, **more: Any) -> Any:
    """With weights at random. `spread`: how much larger than they are drawn, so that what is far away counts too."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config(model_type, **more))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(spread)
    return model.eval()


@contextmanager
def unless_it_cannot_be_made() -> Iterator[None]:
    """Skips where an architecture needs a configuration of its own, or packages that are not there."""
    import pytest

    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever a configuration that was made small by rote raises
        pytest.skip(
            f"not made: {type(error).__name__}: {str(error).strip().splitlines()[0][:100] if str(error) else ''}"
        )
