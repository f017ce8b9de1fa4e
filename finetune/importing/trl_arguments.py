"""TRL's configurations -> keys: what each has beside transformers' TrainingArguments, and its own defaults.

For trl 1.14.2, with what versions since 0.8 still had. A test holds the tables against the installed signatures."""

from collections.abc import Mapping
from typing import Any

from finetune.importing import converting as to
from finetune.importing.rules import Carry, Idle, Lost, Only, Read, Rule, Table

VERSION = "1.14.2"
_ROUTER = Lost("the loss of a mixture's routers counts as the model's own configuration says", off=(None,))
_PADDED = Idle("how rows are padded does not change what is learned")
_GENERATES = Idle("how the answers are generated is not what they are; transformers generates them here")
_SHOWN = Idle("what is shown of the answers")
_NO_REFERENCE = Lost("the reference is the model as it began")
_CAST = Lost("the output head keeps the model's number type", off=(None, False))
_CUT = "TRL cuts a question and an answer apart; here max_prompt_len and sequence_len say it"

SHARED: dict[str, Rule] = {
    "max_length": Read("`sequence_len`, with `excess_length_strategy: truncate`; null leaves rows as long as they are"),
    "max_seq_length": Read("the former name of max_length"),
    "dataset_num_proc": Carry("dataset_num_proc", to.whole),
    "model_init_kwargs": Read("as the model's own loading"),
    "trust_remote_code": Carry("trust_remote_code", to.flag, off=(None, False)),
    "router_aux_loss_coef": _ROUTER,
    "disable_dropout": Only((True,), "a model's own dropout is off; lora_dropout is not"),
    "activation_offloading": Carry("activation_offloading", to.flag, off=(None, False)),
    "pad_to_multiple_of": _PADDED,
    "pad_token": Carry("special_tokens.pad_token", to.text),
    "padding_value": _PADDED,
    "padding_free": Idle("`batch_flattening: auto` lays rows end to end, with the same loss"),
    "generate_during_eval": Lost("", "`eval_table_size: 8` writes answers beside the expected ones"),
    "is_encoder_decoder": Only((None, False), "models here only decode"),
    "ref_model_init_kwargs": _NO_REFERENCE,
}
SFT: dict[str, Rule] = {
    **SHARED,
    "dataset_text_field": Read("the column of `type: completion`, where rows are plain text"),
    "dataset_kwargs": Read("add_special_tokens and skip_prepare_dataset are told; nothing else was ever read"),
    "truncation_mode": Read("`truncation_side`: keep_end is left"),
    "shuffle_dataset": Idle("rows are drawn in random order anyway"),
    "packing": Carry("sample_packing", to.flag, off=(None, False)),
    "packing_strategy": Read("bfd is what happens here; wrapped has no counterpart but for plain text"),
    "eval_packing": Read("`eval_sample_packing`"),
    "completion_only_loss": Read("`train_on_inputs` of rows with a prompt and a completion"),
    "assistant_only_loss": Read("`train_on_inputs: false` of conversations"),
    "loss_type": Only((None, "nll", "chunked_nll"), "the loss is cross-entropy over the learned tokens"),
    "chat_template_path": Read("`chat_template_jinja` for a .jinja file"),
    "eos_token": Carry("special_tokens.eos_token", to.text),
    "use_liger": Read("the former name of use_liger_kernel"),
    "num_of_sequences": Idle("it was of the former way of packing"),
    "chars_per_token": Idle("it was of the former way of packing"),
    "dataset_batch_size": Idle("how rows are tokenized"),
}
_PAIRS: dict[str, Rule] = {
    **SHARED,
    "max_prompt_length": Carry("max_prompt_len", to.whole),
    "max_completion_length": Lost(_CUT),
    "max_target_length": Lost(_CUT),
    "label_pad_token_id": _PADDED,
    "truncation_mode": Only((None, "keep_start", "keep_end"), "a question loses its beginning, as with keep_end"),
    "precompute_ref_log_probs": Carry("precompute_ref_log_probs", to.flag, off=(None, False)),
    "precompute_ref_batch_size": Idle("how the reference is asked"),
    "sync_ref_model": Lost("the reference stays as it is"),
    "ref_model_mixup_alpha": Idle("of sync_ref_model"),
    "ref_model_sync_steps": Idle("of sync_ref_model"),
    "model_adapter_name": Idle("adapters have no names here"),
    "ref_adapter_name": _NO_REFERENCE,
    "force_use_ref_model": Idle("there is a reference wherever the loss needs one"),
    "base_model_attribute_name": Idle("how TRL finds the model's body"),
}
DPO: dict[str, Rule] = {
    **_PAIRS,
    "beta": Carry("rl_beta", to.number),
    "loss_type": Read("`dpo_loss_type`"),
    "loss_weights": Carry("dpo_loss_weights"),
    "label_smoothing": Carry("dpo_label_smoothing", to.number, off=(None, 0)),
    "use_weighting": Carry("dpo_use_weighting", to.flag, off=(None, False)),
    "rpo_alpha": Carry("rpo_alpha", to.number),
    "use_liger_loss": Carry("dpo_use_liger_kernel", to.flag, off=(None, False)),
    "ld_alpha": Lost("answers are not weighed by their length"),
    "f_divergence_type": Only(("reverse_kl", None), "the reverse Kullback-Leibler divergence"),
    "f_divergence_params": Lost("the divergence has no parameters", off=(None, {})),
    "f_alpha_divergence_coef": Idle("of another divergence"),
    "discopop_tau": Only((None, 0.05), "DiscoPOP's temperature is 0.05"),
    "reference_free": Lost("", "`rl: simpo` and `rl: orpo` have no reference"),
    "use_logits_to_keep": Idle("how the loss is computed"),
    "use_num_logits_to_keep": Idle("how the loss is computed"),
    "tools": Lost("tools stand in a row's `tools`"),
}
KTO: dict[str, Rule] = {
    **_PAIRS,
    "beta": Carry("rl_beta", to.number),
    "desirable_weight": Carry("kto_desirable_weight", to.number),
    "undesirable_weight": Carry("kto_undesirable_weight", to.number),
    "loss_type": Only((None, "kto"), "KTO's own loss"),
    "use_liger_loss": Lost("", off=(None, False)),
}
ORPO: dict[str, Rule] = {**_PAIRS, "beta": Carry("orpo_alpha", to.number)}
CPO: dict[str, Rule] = {
    **_PAIRS,
    "beta": Carry("rl_beta", to.number),
    "loss_type": Read("simpo is `rl: simpo`; sigmoid is `rl: cpo`"),
    "label_smoothing": Lost("CPO has no smoothing here"),
    "cpo_alpha": Carry("cpo_alpha", to.number),
    "simpo_gamma": Carry("simpo_gamma", to.number),
    "alpha": Lost("AlphaPO is not supported", off=(None, 0, 0.0)),
}
REWARD: dict[str, Rule] = {
    **SHARED,
    "center_rewards_coefficient": Carry("center_rewards_coefficient", to.number),
    "chat_template_path": Read("`chat_template_jinja` for a .jinja file"),
    "eos_token": Carry("special_tokens.eos_token", to.text),
}
_INSIDE = (
    "num_generations num_generations_eval temperature top_p min_p repetition_penalty num_iterations epsilon "
    "epsilon_high reward_weights mask_truncated_completions sync_ref_model ref_model_mixup_alpha ref_model_sync_steps"
).split()
_ONLINE: dict[str, Rule] = {
    **SHARED,
    **{name: Carry(f"trl.{name}", off=(None, False)) for name in _INSIDE},
    "top_k": Carry("trl.top_k", to.whole, off=(None, 0, -1)),
    "generation_kwargs": Carry("trl.generation_kwargs", off=(None, {})),
    "generation_batch_size": Carry("trl.generation_batch_size", to.whole),
    "max_completion_length": Carry("trl.max_completion_length", to.whole),
    "max_prompt_length": Read("`sequence_len` is it and max_completion_length together"),
    "beta": Carry("rl_beta", to.number),
    "steps_per_generation": Lost("answers of one optimizer step are generated at a time", "trl.generation_batch_size"),
    "disable_dropout": Idle("answers are learned as they were generated"),
    "shuffle_dataset": Idle("questions are drawn in random order anyway"),
    "ds3_gather_for_generation": _GENERATES,
    "cache_implementation": _GENERATES,
    "use_transformers_paged": _GENERATES,
    "use_transformers_continuous_batching": _GENERATES,
    "transformers_continuous_batching_config": _GENERATES,
    "use_vllm": Idle("vLLM only generates faster; transformers generates the answers here"),
    "chat_template_kwargs": Carry("chat_template_kwargs", off=(None, {})),
    "log_completions": _SHOWN,
    "log_multimodal": _SHOWN,
    "num_completions_to_print": _SHOWN,
    "log_unique_prompts": _SHOWN,
    "log_completions_hub_repo": _SHOWN,
    "wandb_log_unique_prompts": _SHOWN,
    "use_liger_loss": Lost("", off=(None, False)),
    **{
        f"vllm_{name}": _GENERATES
        for name in (
            "mode model_impl enable_sleep_mode structured_outputs_regex server_base_url server_host server_port "
            "server_timeout group_port gpu_memory_utilization max_model_length max_model_len tensor_parallel_size "
            "importance_sampling_correction importance_sampling_mode importance_sampling_clip_max "
            "guided_decoding_regex importance_sampling_clip_min importance_sampling_cap device dtype sampling_params"
        ).split()
    },
}
GRPO: dict[str, Rule] = {
    **_ONLINE,
    **{
        name: Carry(f"trl.{name}")
        for name in (
            "loss_type scale_rewards importance_sampling_level multi_objective_aggregation off_policy_mask_threshold"
        ).split()
    },
    "cast_lm_head_to_fp32": _CAST,
    "delta": Lost("the other side of a step is not bounded"),
    "use_bias_correction_kl": Only((True,), "the divergence is corrected as in DeepSeek-V3.2"),
    "max_tool_calling_iterations": Lost("no tools are called while training"),
    "top_entropy_quantile": Only((1.0, None), "every token is learned"),
    "entropy_coef": Lost("entropy is not rewarded", off=(None, 0, 0.0)),
    "use_adaptive_entropy": Lost("entropy is not rewarded"),
    **{f"entropy_{name}": Idle("of use_adaptive_entropy") for name in ("coef_min", "coef_max", "coef_delta", "target")},
    **{
        name: Lost("that loss's own constants are TRL's")
        for name in (
            "sapo_temperature_neg sapo_temperature_pos vespo_k_pos vespo_lambda_pos vespo_k_neg vespo_lambda_neg"
        ).split()
    },
}
RLOO: dict[str, Rule] = {
    **_ONLINE,
    "normalize_advantages": Carry("trl.normalize_advantages", to.flag, off=(None, False)),
    "reward_clip_range": Carry("trl.reward_clip_range"),
}
METHODS: Mapping[str, Table] = {
    "sft": SFT,
    "dpo": DPO,
    "kto": KTO,
    "orpo": ORPO,
    "cpo": CPO,
    "reward": REWARD,
    "grpo": GRPO,
    "rloo": RLOO,
}
CONFIGS = {f"{'Reward' if name == 'reward' else name.upper()}Config": name for name in METHODS}
TRAINERS = {f"{'Reward' if name == 'reward' else name.upper()}Trainer": name for name in METHODS}

_OWN: dict[str, Any] = {"gradient_checkpointing": True, "logging_steps": 10, "bf16": "auto", "fp16": False}
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "sft": {**_OWN, "learning_rate": 2e-5, "sequence_len": 1024},
    "dpo": {**_OWN, "learning_rate": 1e-6, "sequence_len": 1024, "rl_beta": 0.1},
    "kto": {**_OWN, "learning_rate": 1e-6, "sequence_len": 1024, "rl_beta": 0.1},
    "orpo": {**_OWN, "learning_rate": 1e-6, "sequence_len": 1024, "orpo_alpha": 0.1},
    "cpo": {**_OWN, "learning_rate": 1e-6, "sequence_len": 1024, "rl_beta": 0.1},
    "reward": {**_OWN, "learning_rate": 1e-4, "sequence_len": 1024},
    "grpo": {**_OWN, "learning_rate": 1e-6},
    "rloo": {**_OWN, "learning_rate": 1e-6},
}
"""What each does where nothing is written, where it is not as transformers has it, by our keys."""
