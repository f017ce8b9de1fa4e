"""Which values a key may have, written down by hand and apart from the program's own models: the judge of whether a
changed recipe is another legal recipe. Knows nothing of what may not stand together."""

import math
import re
from collections.abc import Callable
from typing import Any

Legal = Callable[[Any], bool]
Path_ = tuple[str | int, ...]
NOTHING: tuple[Any, ...] = (None, False, "", [], {}, 0)
"""Values that ask for nothing: "as if not written" for a key that is unset unless it is written."""
NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)


WORDS: set[str] = set()
"""Every word that is one of the choices of a key."""


def number_of(value: Any) -> float | None:
    if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def number(least: float = 0, most: float = math.inf, above: bool = False, below: bool = False) -> Legal:
    def legal(value: Any) -> bool:
        found = number_of(value)
        if found is None or not least <= found <= most:
            return False
        return not (above and found == least) and not (below and found == most)

    return legal


def whole(least: int, most: float = 2**63 - 1) -> Legal:
    return lambda value: number(least, most)(value) and float(number_of(value) or 0).is_integer()


def steps(value: Any) -> bool:
    found = number_of(value)
    return found is not None and (0 <= found < 1 or (1 <= found <= 2**63 - 1 and float(found).is_integer()))


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def one_of(*words: Any) -> Legal:
    WORDS.update(word for word in words if isinstance(word, str))
    return lambda value: any(value == word and type(value) is type(word) for word in words)


def either(*kinds: Legal) -> Legal:
    return lambda value: any(kind(value) for kind in kinds)


def listed(kind: Legal, least: int = 1) -> Legal:
    return lambda value: isinstance(value, list) and len(value) >= least and all(kind(item) for item in value)


def mapped(kind: Legal, key: Legal = lambda key: isinstance(key, str)) -> Legal:
    return lambda value: isinstance(value, dict) and all(key(name) and kind(item) for name, item in value.items())


def matching(pattern: str) -> Legal:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _table(*rows: tuple[str, Legal]) -> dict[str, Legal]:
    return {key: legal for keys, legal in rows for key in keys.split()}


def is_group(group: dict[str, Any]) -> bool:
    """Whether an entry of lr_groups is legal."""
    kinds = {"name": text, "modules": listed(text), "lr": number(0, above=True)}
    return group.keys() == kinds.keys() and all(kinds[key](value) for key, value in group.items())


ADDED = either(flag, text, lambda value: number_of(value) is not None)
"""A value inside a mapping that is handed on."""
LOSS = one_of(
    *"sigmoid hinge ipo exo_pair nca_pair robust bco_pair sppo_hard aot aot_unpaired apo_zero apo_down".split(),
    *"discopop sft sigmoid_norm".split(),
)
# Unset unless they are written.
UNSET = _table(
    (
        "revision_of_model tokenizer_config chat_template_jinja wandb_project wandb_entity "
        "wandb_name wandb_run_id mlflow_tracking_uri mlflow_experiment_name mlflow_run_name comet_project_name "
        "comet_workspace comet_experiment_key trackio_project_name trackio_run_name trackio_space_id swanlab_project "
        "swanlab_experiment_name swanlab_workspace default_system_message dataset_prepared_path",
        text,
    ),
    (
        "tokens lora_modules_to_save lora_target_parameters peft_layers_pattern unfrozen_parameters sample_prompts",
        listed(text),
    ),
    ("hub_model_id", matching(r"[A-Za-z0-9][\w.-]*/[\w.-]+")),
    ("lora_target_modules", either(text, listed(text))),
    ("optim_target_modules", either(one_of("all_linear"), listed(text))),
    ("eot_tokens", listed(text)),
    ("roles_to_train", listed(text, 0)),
    ("train_on_eos train_on_eot", one_of("turn", "all", "last", "none")),
    (
        "chat_template_kwargs",
        mapped(either(ADDED, lambda value: value is None or value == ""), matching(r"[A-Za-z_][A-Za-z0-9_]*")),
    ),
    ("lora_rank_pattern lora_alpha_pattern", mapped(whole(1))),
    ("peft_layers_to_transform", listed(whole(0))),
    ("peft_layer_replication", listed(lambda pair: listed(whole(0), 2)(pair) and len(pair) == 2)),
    ("peft_trainable_token_indices", either(listed(whole(0)), mapped(listed(whole(0), 0)))),
    ("device_map", either(one_of("auto", "balanced", "sequential", "cpu", "cuda", "cuda:0"), mapped(ADDED))),
    ("torch_compile_backend", one_of("inductor", "aot_eager", "eager", "cudagraphs")),
    ("lr_scheduler_kwargs", mapped(ADDED)),
    ("optim_args", either(mapped(ADDED), matching(r"\s*\w+\s*=[^,=]+(,\s*\w+\s*=[^,=]+)*"))),
    ("gradient_checkpointing_kwargs", mapped(flag, one_of("use_reentrant"))),
    (
        "tf32 lora_target_linear eval_sample_packing load_best_model_at_end greater_is_better use_wandb use_mlflow "
        "use_comet use_trackio use_swanlab",
        flag,
    ),
    ("adapter", one_of("lora", "qlora", "ia3", "prefix_tuning", "prompt_tuning", "p_tuning")),
    ("lora_model_dir prompt_tuning_init_text", text),
    ("ia3_target_modules ia3_feedforward_modules", listed(text)),
    ("prompt_encoder_hidden_size", whole(1)),
    ("load_in_torchao", one_of("int8")),
    ("model_quantization_config", one_of("Mxfp4Config", "FineGrainedFP8Config")),
    ("save_strategy eval_strategy", one_of("epoch", "steps", "no")),
    (
        "metric_for_best_model",
        matching(
            "(eval_)?(loss|perplexity|mean_token_accuracy|rewards/accuracies|rewards/margins|answers_stopped|exact_match|"
            "token_f1|rouge1|rouge2|rougeL|sacrebleu|chrf|ter|accuracy|precision|recall|f1)"
        ),
    ),
    (
        "eval_causal_lm_metrics",
        listed(
            one_of(
                *"perplexity exact_match token_f1 rouge sacrebleu chrf ter accuracy precision recall f1".split(),
            )
        ),
    ),
    ("eval_labels", listed(text, 2)),
    ("do_causal_lm_eval generate_samples generation_do_sample comet_online", flag),
    ("eval_generation_rows sample_steps", whole(1)),
    ("torch_compile_mode", one_of("default", "reduce-overhead", "max-autotune")),
    ("wandb_mode", one_of("online", "offline", "disabled")),
    ("wandb_watch", one_of("gradients", "parameters", "all")),
    ("wandb_log_model", one_of("checkpoint", "end")),
    ("comet_mode", one_of("get", "create", "get_or_create")),
    ("swanlab_mode", one_of("cloud", "local", "offline", "disabled")),
    ("max_steps saves_per_epoch save_total_limit evals_per_epoch", whole(0)),
    (
        "torch_empty_cache_steps dataloader_prefetch_factor eval_batch_size early_stopping_patience generation_top_k",
        whole(1),
    ),
    ("fsdp_version", one_of(1, 2)),
    ("deepspeed", either(text, lambda value: isinstance(value, dict))),
    ("ddp_bucket_cap_mb", whole(1)),
    ("ddp_broadcast_buffers", flag),
    ("data_seed", whole(0, 2**32 - 1)),
    ("dataset_num_proc", whole(1, 64)),
    ("warmup_steps save_steps eval_steps", steps),
    ("warmup_ratio", number(0, 1, below=True)),
    ("cosine_min_lr_ratio cosine_constant_lr_ratio generation_min_p", number(0, 1)),
    ("eta_min", number(0)),
    ("loraplus_lr_ratio loraplus_lr_embedding embedding_lr embedding_lr_scale", number(0, above=True)),
    ("lr_groups", listed(lambda group: isinstance(group, dict) and is_group(group))),
    ("generation_top_p", number(0, 1, above=True)),
    ("generation_seed", whole(0, 2**32 - 1)),
    ("generation_stop", lambda value: listed(text)(value) and len(value) <= 16),
    ("export_to", listed(one_of("safetensors", "gguf", "ollama", "vllm", "tgi"))),
    ("rl", one_of("dpo", "ipo", "orpo", "simpo", "cpo", "kto", "grpo", "gdpo", "rloo")),
    ("rl_beta cpo_alpha simpo_gamma", number(0)),
    ("center_rewards_coefficient kto_desirable_weight kto_undesirable_weight", number(0, above=True)),
    ("orpo_alpha rpo_alpha", number(0, above=True)),
    ("dpo_label_smoothing", number(0, 0.5, below=True)),
    ("dpo_loss_type", either(LOSS, listed(LOSS, 0))),
    ("dpo_loss_weights", listed(number(-math.inf))),
    ("max_prompt_len", whole(1)),
    ("tokens_per_pass", either(whole(1), one_of("auto"))),
    ("resume_from_checkpoint", text),
    ("resume_changed", listed(lambda value: value in (*UNSET, *SET, "libraries"))),
    ("cut_cross_entropy", flag),
    ("cuda_graphs", flag),
    ("neftune_noise_alpha loss_watchdog_threshold", number(0, above=True)),
)
# With a default of their own, or (the first three) needed.
SET = _table(
    ("base_model output_dir", text),
    ("datasets", lambda value: isinstance(value, list) and bool(value)),
    ("backend", one_of("auto", "unsloth", "transformers")),
    ("model_type", matching(r"GPT2LMHeadModel|[A-Z][A-Za-z0-9]*ForCausalLM")),
    ("tokenizer_type", matching(r"[A-Z][A-Za-z0-9]*Tokenizer(Fast)?")),
    (
        "attn_implementation",
        one_of(
            "auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3", "flash_attention_4", "flex_attention"
        ),
    ),
    (
        "allow_pickle_weights trust_remote_code resize_token_embeddings_to_32x mean_resizing_embeddings "
        "load_in_8bit train_on_inputs sample_packing pad_to_sequence_len peft_use_rslora peft_use_dora "
        "lora_fan_in_fan_out peft_ensure_weight_tying peft_autocast_adapter_dtype activation_offloading torch_compile "
        "liger_rope liger_rms_norm liger_layer_norm liger_glu_activation liger_cross_entropy "
        "liger_fused_linear_cross_entropy curriculum_sampling group_by_length dataloader_persistent_workers "
        "dataloader_drop_last dataloader_pin_memory save_only_model dataset_exact_deduplication streaming "
        "shuffle_before_merging_datasets "
        "use_tensorboard hf_mlflow_log_artifacts lr_quadratic_warmup prefix_projection",
        flag,
    ),
    ("bf16 fp16", either(flag, one_of("auto"))),
    ("batch_flattening", either(flag, one_of("auto"))),
    (
        "auto_resume_from_checkpoints dpo_use_liger_kernel dpo_use_weighting lora_kernels precompute_ref_log_probs "
        "reward_model save_first_step full_determinism",
        flag,
    ),
    ("micro_batch_size", either(whole(1), one_of("auto"))),
    ("load_in_4bit", either(flag, one_of("auto"))),
    ("gradient_checkpointing", either(flag, one_of("unsloth", "auto"))),
    ("excess_length_strategy", one_of("drop", "truncate", "split", "error")),
    ("truncation_side", one_of("right", "left")),
    ("text_chunks", one_of("document", "joined", "whole")),
    ("on_bad_row", one_of("error", "skip")),
    ("multiturn", one_of("all", "last", "explode")),
    ("special_tokens_in_content", one_of("parse", "text", "error")),
    ("min_sample_len", whole(0)),
    ("max_dropped_share", number(0, 1)),
    ("chat_template", one_of("tokenizer_default", "chatml", "llama3", "phi_3", "phi_35", "jinja")),
    (
        "peft_init_lora_weights",
        either(flag, one_of("gaussian", "olora", "pissa", "orthogonal"), matching(r"pissa_niter_\d+")),
    ),
    (
        "lr_scheduler",
        one_of(
            *"linear cosine constant constant_with_warmup polynomial inverse_sqrt cosine_with_restarts".split(),
            *"cosine_with_min_lr cosine_warmup_with_min_lr warmup_stable_decay reduce_lr_on_plateau greedy rex".split(),
        ),
    ),
    (
        "optimizer",
        one_of(
            *"adamw_torch adamw_torch_fused adamw_8bit adamw_bnb_8bit paged_adamw_8bit paged_adamw_32bit".split(),
            *"adamw_torch_8bit adamw_torch_4bit adafactor sgd adagrad rmsprop ademamix ademamix_8bit".split(),
            *"paged_ademamix_8bit paged_ademamix_32bit lion_8bit lion_32bit paged_lion_8bit paged_lion_32bit".split(),
            *"galore_adamw galore_adamw_8bit galore_adafactor apollo_adamw schedule_free_adamw".split(),
            *"schedule_free_sgd schedule_free_radam stable_adamw grokadamw rmsprop_bnb rmsprop_bnb_8bit".split(),
            *"rmsprop_bnb_32bit muon optimi_adamw came_pytorch".split(),
        ),
    ),
    ("sequence_len", whole(8)),
    ("prompt_encoder_type", one_of("mlp", "lstm")),
    ("num_virtual_tokens", whole(1, 4096)),
    ("prompt_encoder_layers", whole(1)),
    ("prompt_encoder_dropout", number(0, 1, below=True)),
    (
        "lora_r lora_alpha gradient_accumulation_steps logging_steps loss_watchdog_patience "
        "generation_max_new_tokens eval_max_new_tokens",
        whole(1),
    ),
    ("dataloader_num_workers eval_table_size", whole(0)),
    ("num_generation_samples", whole(1, 16)),
    ("generation_prompt_ratio", lambda value: number(0, 1, above=True, below=True)(value)),
    ("ddp_timeout", whole(1)),
    ("ddp_find_unused_parameters", flag),
    ("seed", whole(0, 2**32 - 1)),
    ("recipe_version", one_of(1)),
    ("export_quantization", one_of("f32", "f16", "bf16", "q8_0", "q4_k_m")),
    ("generation_repetition_penalty", number(0, 10, above=True)),
    ("num_epochs learning_rate adam_epsilon adam_epsilon2", number(0, above=True)),
    ("lora_dropout adam_beta1 adam_beta2 adam_beta3", number(0, 1, below=True)),
    ("val_set_size weight_decay max_grad_norm generation_temperature", number(0)),
)
DATASET_UNSET = _table(
    (
        "type",
        one_of(
            *"chat_template completion input_output pretokenized prompt_completion question_answer".split(),
            *"summarization translation alpaca alpaca:instruct alpaca:chat alpaca:chatml alpaca:phi".split(),
            *"alpaca_instruct alpaca_instruct.load_no_prompt alpaca_chat alpaca_chat.load_concise".split(),
            *"alpaca_chat.load_no_prompt alpaca_chat.load_qa alpaca_chat.load_camel_ai alpaca_w_system".split(),
            *"alpaca_w_system.load_chat alpaca_w_system.load_instruct alpaca_w_system.load_open_orca".split(),
            *"alpaca_w_system.load_open_orca_chatml reflection reflection:instruct orcamini metharme".split(),
            *"concisechoice concisechoice:chat context_qa context_qa.load_404 context_qa.load_v2".split(),
            *"summarizetldr summarizetldr:chat creative_acr.load_answer creative_acr.load_critique".split(),
            "creative_acr.load_revise",
            *"gpteacher oasst jeopardy explainchoice".split(),
            *(
                f"{form}:{style}"
                for form in ("gpteacher", "oasst", "jeopardy", "explainchoice")
                for style in ("instruct", "chat", "chatml", "phi")
            ),
        ),
    ),
    ("name revision field field_messages filter chat_template_jinja", text),
    ("field_prompt field_chosen field_rejected field_completion field_label", text),
    ("chat_template", one_of("tokenizer_default", "chatml", "llama3", "phi_3", "phi_35", "jinja")),
    ("data_files", either(text, listed(text))),
    ("ds_type", one_of("json", "csv", "parquet", "text", "arrow", "jsonl", "txt", "tsv")),
    ("sample_by", one_of("line", "paragraph", "document")),
    ("shards max_rows", whole(1)),
    (
        "roles",
        mapped(either(text, listed(text, 0)), one_of("system", "user", "assistant", "tool", "developer", "function")),
    ),
    (
        "field_system field_tools field_thinking template_thinking_key message_field_training "
        "message_field_training_detail",
        text,
    ),
    ("roles_to_train", listed(text, 0)),
    ("train_on_eos train_on_eot", one_of("turn", "all", "last", "none")),
)
DATASET_SET = _table(
    ("path split", text),
    ("weight", number(0, 1000, above=True)),
    ("weight_unit", one_of("rows", "tokens")),
    ("shards_idx sample_seed", whole(0)),
    ("split_thinking drop_system_message", flag),
)
NEEDED = ("base_model", "output_dir", "datasets", "path")
OFF = either(flag, lambda value: value == 0 or str(value).lower() in ("", "none", "false", "no", "null", "[]", "{}"))
OLD = _table(
    (
        "flash_attention sdp_attention eager_attention xformers_attention flex_attention bfloat16 float16 float32",
        OFF,
    ),
    ("fsdp", lambda value: value in NOTHING),
    ("dataset_processes", either(lambda value: value in NOTHING and value is not True, whole(1, 64))),
    ("debug local_rank gptq", lambda value: True),
    ("batch_size", either(OFF, whole(1))),
)
"""Old spellings, and keys of Axolotl that are off or do nothing."""
PIECES = ("prompt", "chosen", "rejected", "completion")
NUMBER_TYPE = one_of("bfloat16", "float16", "float32")
INSIDE: dict[str, tuple[dict[str, Legal], dict[str, Legal]]] = {
    "message_property_mappings": (
        _table(("tool_calls tool_call_id name reasoning_content thinking", text)),
        _table(("role content", text)),
    ),
    "type": (
        _table(
            *((f"{name}_format", matching(rf"(?s).*\{{{name}\}}.*")) for name in PIECES),
            ("field_prompt field_chosen field_rejected field_completion field_label", text),
        ),
        _table(
            ("field_instruction field_output no_input_format", text),
            ("field_input field_system system_prompt system_format", lambda value: isinstance(value, str)),
            ("format", matching(r"(?s).*\{(instruction|input)\}.*")),
            ("as_turns", flag),
        ),
    ),
    "special_tokens": (
        _table(("bos_token eos_token unk_token pad_token", text), ("additional_special_tokens", listed(text, 0))),
        {},
    ),
    "dynamic_checkpoint": ({}, _table(("enabled", flag), ("check_interval", whole(1)), ("trigger_file_path", text))),
    "trl": (
        _table(
            ("reward_funcs", listed(text)),
            ("reward_weights", listed(number(-math.inf))),
            ("num_generations generation_batch_size", whole(2)),
            ("num_generations_eval max_completion_length num_iterations ref_model_sync_steps", whole(1)),
            ("temperature repetition_penalty epsilon epsilon_high off_policy_mask_threshold", number(0, above=True)),
            ("top_p", number(0, 1, above=True)),
            ("min_p ref_model_mixup_alpha", number(0, 1)),
            ("top_k", whole(0)),
            ("beta", number(0)),
            ("generation_kwargs", mapped(ADDED)),
            ("loss_type", one_of("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo")),
            ("scale_rewards", either(flag, one_of("group", "batch", "none"))),
            ("importance_sampling_level", one_of("token", "sequence")),
            ("multi_objective_aggregation", one_of("sum_then_normalize", "normalize_then_sum")),
            ("reward_clip_range", lambda value: listed(number(-math.inf), 2)(value) and len(value) == 2),
        ),
        _table(("mask_truncated_completions sync_ref_model normalize_advantages", flag)),
    ),
    "fsdp_config": (
        _table(("transformer_layer_cls_to_wrap", either(text, listed(text)))),
        _table(("reshard_after_forward offload_params cpu_ram_efficient_loading activation_checkpointing", flag)),
    ),
    "peft": ({"loftq_config": lambda value: isinstance(value, dict)}, {}),
    "model_quantization_config_kwargs": ({"modules_to_not_convert": listed(text, 0)}, {"dequantize": one_of(True)}),
    "loftq_config": ({}, {"loftq_bits": one_of(4)}),
    "bnb_config_kwargs": (
        {
            "bnb_4bit_compute_dtype": NUMBER_TYPE,
            "bnb_4bit_quant_storage": one_of("uint8", "bfloat16", "float16", "float32"),
        },
        {"bnb_4bit_quant_type": one_of("nf4", "fp4"), "bnb_4bit_use_double_quant": flag},
    ),
}
"""Sections by the key that holds them: (keys that are unset, keys with a default)."""


def tables(path: Path_) -> tuple[dict[str, Legal], dict[str, Legal]]:
    """The tables of the mapping at a path; KeyError where there is no such mapping."""
    names = [part for part in path if isinstance(part, str)]
    if not names:
        return UNSET, SET
    if names[-1] in INSIDE:
        return INSIDE[names[-1]]
    if names[-1] in ("datasets", "test_datasets"):
        return DATASET_UNSET, DATASET_SET
    raise KeyError(names[-1])


def is_legal(path: Path_, value: Any) -> bool:
    """Whether the key at `path` may have the value, all the keys inside it included."""
    unset, default = tables(path[:-1])
    key = str(path[-1])
    in_entries = key in ("message_property_mappings", "type")
    if key in INSIDE and in_entries == (len(path) == 3) and (key != "type" or isinstance(value, dict)):
        inside = isinstance(value, dict) and all(is_legal((*path, name), item) for name, item in value.items())
        return value in NOTHING or inside
    if key == "test_datasets" and value in NOTHING:
        return True
    if key in ("datasets", "test_datasets") and isinstance(value, list | dict):
        entries = value if isinstance(value, list) else [value]
        whole_entries = bool(entries) and all(isinstance(entry, dict) and entry.get("path") for entry in entries)
        return whole_entries and all(
            is_legal((key, 0, name), item) for entry in entries for name, item in entry.items()
        )
    if len(path) == 1 and key in OLD:
        return value is None or OLD[key](value)
    if key in unset:
        return any(value == one and type(value) is type(one) for one in NOTHING) or unset[key](value)
    return key in default and (default[key](value) or (value is None and key not in NEEDED))
