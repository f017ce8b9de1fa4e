"""Which keys of a recipe a proof keeps, which it leaves out and which it changes, each with the reason. Every key is in
exactly one of the three tables. Knows no model and no rows."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from finetune.recipe.optimizers import OPTIMIZERS
from finetune.recipe.recipe import Recipe

KEPT = frozenset(
    """
    special_tokens tokens resize_token_embeddings_to_32x mean_resizing_embeddings load_in_8bit load_in_torchao
    train_on_inputs roles_to_train train_on_eos train_on_eot eot_tokens multiturn special_tokens_in_content
    chat_template_kwargs default_system_message shuffle_before_merging_datasets dataset_exact_deduplication on_bad_row
    excess_length_strategy truncation_side min_sample_len text_chunks chat_template chat_template_jinja sample_packing
    pad_to_sequence_len
    rl reward_model rl_beta dpo_loss_type dpo_loss_weights dpo_label_smoothing dpo_use_weighting rpo_alpha
    precompute_ref_log_probs max_prompt_len orpo_alpha simpo_gamma cpo_alpha kto_desirable_weight
    kto_undesirable_weight center_rewards_coefficient
    adapter lora_dropout lora_target_linear peft_use_rslora peft_use_dora lora_modules_to_save lora_fan_in_fan_out
    lora_target_parameters lora_alpha_pattern peft_layers_pattern peft_init_lora_weights peft peft_ensure_weight_tying
    peft_autocast_adapter_dtype ia3_target_modules ia3_feedforward_modules prompt_tuning_init_text prefix_projection
    prompt_encoder_type prompt_encoder_layers prompt_encoder_dropout
    warmup_ratio lr_scheduler_kwargs cosine_min_lr_ratio cosine_constant_lr_ratio lr_quadratic_warmup optim_args
    optim_target_modules weight_decay adam_beta1 adam_beta2 adam_epsilon adam_beta3 adam_epsilon2 loraplus_lr_ratio
    embedding_lr_scale max_grad_norm gradient_checkpointing_kwargs neftune_noise_alpha seed data_seed
    curriculum_sampling group_by_length batch_flattening cut_cross_entropy lora_kernels
    generation_temperature generation_do_sample generation_top_p generation_top_k generation_min_p
    generation_repetition_penalty generation_stop generation_seed recipe_version
    """.split()
)
_CPU = "a proof runs on a CPU, in float32"
_GPU_KERNELS = "its kernels need a GPU"
_SEVERAL = "a proof runs in one process"
_MEASURED = "a proof measures nothing besides its own checks"
_TRACKED = "a proof tells no tracker"
_SHORT = "a proof has its own few steps and checkpoints"
_PUBLISHED = "a proof merges, and exports nothing further"
_WORKERS = "a proof reads its few rows in its own process"
_OWN_MODEL = "the tiny model has its own weights and files"
_TRACKERS = re.compile("(use_|hf_)?(tensorboard|wandb|mlflow|comet|trackio|swanlab)")
_LEFT_OUT: Mapping[str, str] = {
    "bf16 fp16 tf32 device_map full_determinism": _CPU,
    "revision_of_model model_type tokenizer_type tokenizer_config allow_pickle_weights trust_remote_code": _OWN_MODEL,
    "model_quantization_config model_quantization_config_kwargs": _OWN_MODEL,
    "lora_model_dir": "the earlier adapter fits the real model alone, so the proof begins with a new one",
    "activation_offloading torch_empty_cache_steps dpo_use_liger_kernel cuda_graphs": _GPU_KERNELS,
    "torch_compile torch_compile_backend torch_compile_mode": "compiling takes longer than the whole proof",
    "val_set_size test_datasets eval_strategy eval_steps evals_per_epoch eval_batch_size": _MEASURED,
    "eval_sample_packing do_causal_lm_eval eval_causal_lm_metrics eval_labels eval_max_new_tokens": _MEASURED,
    "eval_generation_rows eval_table_size generation_prompt_ratio generate_samples": _MEASURED,
    "num_generation_samples sample_steps load_best_model_at_end metric_for_best_model greater_is_better": _MEASURED,
    "early_stopping_patience": _MEASURED,
    "num_epochs save_strategy saves_per_epoch save_total_limit save_only_model save_first_step": _SHORT,
    "dynamic_checkpoint resume_from_checkpoint auto_resume_from_checkpoints resume_changed": _SHORT,
    "loss_watchdog_threshold loss_watchdog_patience": _SHORT,
    "export_to export_quantization hub_model_id": _PUBLISHED,
    "dataloader_num_workers dataloader_prefetch_factor dataloader_persistent_workers": _WORKERS,
    "dataloader_pin_memory dataloader_drop_last streaming": _WORKERS,
}
DROPPED: Mapping[str, str] = {
    **{key: why for keys, why in _LEFT_OUT.items() for key in keys.split()},
    **dict.fromkeys((key for key in Recipe.model_fields if key.startswith("liger_")), _GPU_KERNELS),
    **dict.fromkeys((key for key in Recipe.model_fields if key.startswith(("ddp_", "fsdp_", "deepspeed"))), _SEVERAL),
    **dict.fromkeys((key for key in Recipe.model_fields if _TRACKERS.match(key)), _TRACKED),
}
"""Key -> why a proof does without it."""


@dataclass(frozen=True)
class Setting:
    """What changed values hang on. `layers`: of the tiny model; `rate`: what learning rates are multiplied by;
    `packages`: what is installed; `quantized`: bits of the checkpoint's own weights, where they are quantized."""

    layers: int
    rate: float
    packages: Mapping[str, str]
    quantized: int | None = None


Change = Callable[[Any, Recipe, Setting], tuple[Any, str]]
RANK = 16
NARROW = "the tiny model is narrow"
FEW_LAYERS = "the tiny model has few layers"
FEW_STEPS = "the proof has few steps"
TINY_RATE = "so narrow a model learns in few steps only with a larger one"
EIGHT_BIT = ("8bit", "paged", "_4bit")


def _backend(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    return "transformers", "unsloth needs a GPU; what is trained is the same" if value == "unsloth" else ""


def _attention(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    return (value, "") if value in ("auto", "eager", "sdpa") else ("auto", _GPU_KERNELS)


def _optimizer(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    known = OPTIMIZERS[value]
    if any(part in value for part in EIGHT_BIT) or known.gpu or known.module == "bitsandbytes":
        return "adamw_torch", "8-bit and paged optimizers need a GPU"
    if known.module and known.module not in setting.packages:
        return "adamw_torch", f"{known.package} is not installed"
    return value, ""


def _scheduler(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    if value in ("reduce_lr_on_plateau", "greedy"):
        return "constant", _MEASURED
    if value == "warmup_stable_decay":
        return "cosine", "its stretches are counted in steps of the whole run"
    return value, ""


def _in_4_bits(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    return (True, "a proof takes the smaller weights") if value == "auto" else (value, "")


def _bits(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    made = value.model_dump(exclude_unset=True, exclude={"bnb_4bit_compute_dtype"}, exclude_none=True)
    return made or None, _CPU if value.bnb_4bit_compute_dtype else ""


def _rank(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    return min(value, RANK), NARROW if value > RANK else ""


def _alpha(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    if recipe.lora_r <= RANK:
        return value, ""
    return max(1, round(value * RANK / recipe.lora_r)), "so that lora_alpha / lora_r stays as it is"


def _ranks(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    return {name: min(rank, RANK) for name, rank in value.items()}, NARROW if max(value.values()) > RANK else ""


def _some_layers(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    kept = [layer for layer in value if layer < setting.layers] or [setting.layers - 1]
    return kept, FEW_LAYERS if kept != value else ""


def _replication(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    few = [[0, setting.layers], [setting.layers - 1, setting.layers]]
    fits = all(last <= setting.layers for _, last in value)
    return (value, "") if fits else (few, FEW_LAYERS)


def _modules(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    if isinstance(value, str) and re.search(r"\d", value):
        return None, "a pattern of layers' numbers does not fit the tiny model's few layers; all linear layers instead"
    return value, ""


def _unfrozen(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    made = [
        re.sub(r"layers(\\?\.)(?=[\[(]?\d)[^.]*?(?=\\?\.|$)", rf"layers\g<1>{setting.layers - 1}", text.split("[:")[0])
        for text in value
    ]
    made = [re.sub(r"\$?\[\d*:\d*\]$", "", text) for text in made]
    return made, FEW_LAYERS if made != value else ""


def _token_numbers(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    few = [0, 1] if isinstance(value, list) else {name: [0, 1] for name in value}
    return few, "the tiny vocabulary has other numbers"


def _at_most(most: int, why: str) -> Change:
    return lambda value, recipe, setting: (min(value, most), why if value > most else "")


def _steps_of_warmup(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    return 1, FEW_STEPS if value != 1 else ""


def _rate(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    return float(f"{value * setting.rate:.4g}"), TINY_RATE if setting.rate != 1 else ""


def _groups(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    made = [group.model_dump() | {"lr": _rate(group.lr, recipe, setting)[0]} for group in value]
    return made, TINY_RATE


def _auto(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    return (None, "there is no GPU whose memory would decide") if value == "auto" else (value, "")


def _checkpointing(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    return (True, "offloading needs a GPU") if value == "unsloth" else _auto(value, recipe, setting)


def _prompts(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    return value[:2], "a proof asks two questions" if len(value) > 2 else ""


def _online(value: Any, recipe: Recipe, setting: Setting) -> tuple[Any, str]:
    made = value.model_dump(exclude_unset=True) | {"num_generations": 2, "max_completion_length": 16}
    for key in ("generation_batch_size", "num_generations_eval"):
        made.pop(key, None)
    if made.get("ref_model_sync_steps"):
        made["ref_model_sync_steps"] = 2
    return made, "two answers of 16 tokens to each question, for time"


CHANGED: Mapping[str, Change] = {
    "backend": _backend,
    "attn_implementation": _attention,
    "load_in_4bit": _in_4_bits,
    "bnb_config_kwargs": _bits,
    "optimizer": _optimizer,
    "lr_scheduler": _scheduler,
    "learning_rate": _rate,
    "eta_min": _rate,
    "embedding_lr": _rate,
    "loraplus_lr_embedding": _rate,
    "lr_groups": _groups,
    "warmup_steps": _steps_of_warmup,
    "lora_r": _rank,
    "lora_alpha": _alpha,
    "lora_rank_pattern": _ranks,
    "lora_target_modules": _modules,
    "peft_layers_to_transform": _some_layers,
    "peft_layer_replication": _replication,
    "peft_trainable_token_indices": _token_numbers,
    "num_virtual_tokens": _at_most(RANK, NARROW),
    "prompt_encoder_hidden_size": _at_most(64, NARROW),
    "unfrozen_parameters": _unfrozen,
    "tokens_per_pass": _auto,
    "gradient_checkpointing": _checkpointing,
    "sample_prompts": _prompts,
    "generation_max_new_tokens": _at_most(24, "a proof's answers are short"),
    "trl": _online,
}
"""Key -> (its value in the proof, why; no reason where nothing a person would care for changes)."""
ELSEWHERE = frozenset(
    """
    base_model datasets sequence_len max_dropped_share dataset_prepared_path dataset_num_proc micro_batch_size
    gradient_accumulation_steps max_steps save_steps logging_steps output_dir
    """.split()
)
"""Keys that are set for every proof."""


FOLLOWING = {
    "optimizer": "optim_args optim_target_modules adam_beta3 adam_epsilon2",
    "lr_scheduler": "lr_scheduler_kwargs cosine_min_lr_ratio eta_min cosine_constant_lr_ratio lr_quadratic_warmup",
}
"""Keys that go with another that was replaced."""


@dataclass(frozen=True)
class Replacement:
    """A key whose value in the proof is not the recipe's; `new` is None where it is left out."""

    key: str
    old: Any
    new: Any
    why: str


def replaced(recipe: Recipe, setting: Setting) -> tuple[dict[str, Any], list[Replacement]]:
    """(the written keys with the values of the proof, what was replaced)."""
    values: dict[str, Any] = {}
    told: list[Replacement] = []
    for key in Recipe.model_fields:
        if key not in recipe.model_fields_set or key in ELSEWHERE:
            continue
        old = getattr(recipe, key)
        if old is None:
            continue
        plain = recipe.model_dump(mode="json", include={key}, exclude_unset=True)[key]
        if key in DROPPED:
            if old != Recipe.model_fields[key].default:
                told.append(Replacement(key, plain, None, DROPPED[key]))
            continue
        new, why = CHANGED[key](old, recipe, setting) if key in CHANGED else (plain, "")
        if why:
            told.append(Replacement(key, plain, new, why))
        if new is not None:
            values[key] = plain if new is old else new
    for key, others in FOLLOWING.items():
        if key in values and values[key] != getattr(recipe, key):
            for other in others.split():
                values.pop(other, None)
    return values, told
