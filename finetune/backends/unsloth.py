"""Unsloth: fast kernels on one CUDA GPU. The one place that knows how Unsloth must be imported. Data, labels and
trainer are the same as on the other backend."""

import os
from pathlib import Path
from typing import Any

from finetune.adapters import lora
from finetune.backends.loaded import Loaded, guarded, load_tokenizer, partial_calls, tokenizer_calls, tokenizer_part
from finetune.backends.quantized import check_call
from finetune.errors import ModelError
from finetune.machine import Machine
from finetune.plan import Call, perform
from finetune.precision import Precision
from finetune.recipe.recipe import Recipe

REFUSES: dict[str, str] = {
    "reward_model": "Unsloth's loader makes models that answer, and no head that scores",
    "center_rewards_coefficient": "Unsloth's loader makes models that answer, and no head that scores",
    "dpo_use_liger_kernel": "Unsloth brings its own kernels",
    "trl": "Unsloth replaces how TRL generates the answers that are rewarded",
    "gradient_checkpointing_kwargs": "Unsloth's checkpointing takes no arguments",
    "bnb_config_kwargs": "Unsloth quantizes in its own way (NF4 with double quantization)",
    "tokens": "Unsloth adds no tokens here",
    **dict.fromkeys(("fsdp_version", "fsdp_config", "deepspeed"), "Unsloth trains in one process"),
    "resize_token_embeddings_to_32x": "Unsloth keeps the embeddings as they are",
    "mean_resizing_embeddings": "Unsloth keeps the embeddings as they are",
    "device_map": "Unsloth places the model on the first GPU",
    "peft_use_dora": "Unsloth has no DoRA",
    "lora_fan_in_fan_out": "Unsloth trains no model that stores its weights so",
    "lora_rank_pattern": "Unsloth gives every layer one rank",
    "lora_alpha_pattern": "Unsloth gives every layer one scale",
    "peft_layer_replication": "Unsloth cannot replicate layers",
    "peft_trainable_token_indices": "Unsloth cannot train single tokens",
    "peft_autocast_adapter_dtype": "Unsloth chooses the adapter's number type",
    "load_in_torchao": "Unsloth quantizes with bitsandbytes",
    "model_quantization_config": "Unsloth unpacks checkpoints in its own way",
    "model_quantization_config_kwargs": "Unsloth unpacks checkpoints in its own way",
    "peft": "Unsloth applies LoftQ to unquantized weights only, which the adapter then belongs to",
    "lora_model_dir": "Unsloth loads an adapter with the base model that its folder names, not with base_model",
    **dict.fromkeys(("ia3_target_modules", "ia3_feedforward_modules"), "Unsloth has no IA3"),
    **dict.fromkeys(
        (
            "num_virtual_tokens",
            "prompt_tuning_init_text",
            "prefix_projection",
            "prompt_encoder_type",
            "prompt_encoder_hidden_size",
            "prompt_encoder_layers",
            "prompt_encoder_dropout",
        ),
        "Unsloth has no learned tokens",
    ),
    "activation_offloading": "Unsloth offloads with gradient_checkpointing: unsloth",
    "cuda_graphs": "Unsloth's layers are compiled in its own way",
    "tokens_per_pass": "Unsloth computes each batch in one pass",
    "torch_compile": "Unsloth compiles the model itself",
    "torch_compile_backend": "Unsloth compiles the model itself",
    "torch_compile_mode": "Unsloth compiles the model itself",
    "allow_pickle_weights": "Unsloth gives no say in the format of the weights",
    "liger_rope": "Unsloth brings its own kernels",
    "liger_rms_norm": "Unsloth brings its own kernels",
    "liger_layer_norm": "Unsloth brings its own kernels",
    "liger_glu_activation": "Unsloth brings its own kernels",
    "liger_cross_entropy": "Unsloth brings its own kernels",
    "liger_fused_linear_cross_entropy": "Unsloth brings its own kernels",
}
_LORA_ONLY = "Unsloth trains LoRA and whole models"
_KEEPS_BASE = "Unsloth's adapter would only fit the weights it changed"
REFUSES_VALUES: dict[str, dict[object, str]] = {
    "adapter": dict.fromkeys(("ia3", "prefix_tuning", "prompt_tuning", "p_tuning"), _LORA_ONLY),
    "peft_init_lora_weights": {
        "pissa": _KEEPS_BASE,
        "olora": _KEEPS_BASE,
        **{f"pissa_niter_{count}": _KEEPS_BASE for count in range(1, 65)},
    },
}
"""Key -> values that it cannot have here, each with why."""
WAIVES: dict[str, str] = {
    "model_type": "Unsloth picks the class from the checkpoint's config",
    "attn_implementation": "Unsloth picks its own attention kernel",
    "cut_cross_entropy": "Unsloth computes its loss in its own way",
    "lora_kernels": "Unsloth brings its own",
}


def load_calls(recipe: Recipe, precision: Precision, machine: Machine) -> tuple[Call, ...]:
    del machine  # Unsloth runs on the current CUDA device
    model = Call(
        "unsloth.FastLanguageModel.from_pretrained",
        {
            "model_name": recipe.base_model,
            "revision": recipe.revision_of_model,
            "trust_remote_code": recipe.trust_remote_code,
            "max_seq_length": recipe.sequence_len,
            "dtype": precision.dtype,
            "load_in_4bit": recipe.load_in_4bit,
            "load_in_8bit": recipe.load_in_8bit,
            "full_finetuning": recipe.adapter is None,
            "use_gradient_checkpointing": recipe.gradient_checkpointing,
            # base_model is what gets loaded: Unsloth would else swap in a quantized repository of its own.
            "use_exact_model_name": True,
        },
    )
    return (*tokenizer_calls(recipe), check_call(recipe), model)


def adapt_calls(recipe: Recipe) -> tuple[Call, ...]:
    if recipe.adapter is None:
        return partial_calls(recipe)
    arguments = lora.arguments(recipe) | {
        "use_gradient_checkpointing": recipe.gradient_checkpointing,
        "random_state": recipe.seed,
        "max_seq_length": recipe.sequence_len,
    }
    return (Call("unsloth.FastLanguageModel.get_peft_model", arguments, runtime=("model",)),)


def gradient_checkpointing(recipe: Recipe) -> bool:
    """The trainer leaves checkpointing alone: Unsloth switches its own on with the model."""
    del recipe
    return False


def notes(recipe: Recipe) -> tuple[str, ...]:
    written = recipe.model_fields_set
    return tuple(f"{key} has no effect on this backend: {why}" for key, why in WAIVES.items() if key in written)


def prepare_process() -> None:
    """Import Unsloth before transformers, trl and peft: it patches them. No statistics leave the machine."""
    os.environ["UNSLOTH_DISABLE_STATISTICS"] = "1"
    # It would else write its compiled kernels into the working directory.
    cache = Path.home() / ".cache" / "finetune" / "unsloth_compiled"
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(cache))
    import unsloth  # noqa: F401  # isort: skip


def load(calls: tuple[Call, ...]) -> Loaded:
    """ModelError if the tokenizer or the weights cannot be loaded."""
    *_, check, model_call = calls
    said = perform(check)
    model, _ = guarded(model_call)
    # The tokenizer Unsloth returns may be patched; ours is the one both backends tokenize with.
    tokenizer, new_tokens = load_tokenizer(tokenizer_part(calls))
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        raise ModelError(
            "special_tokens bring tokens that are not in the vocabulary, which backend: unsloth has no room for; write "
            "backend: transformers, or use tokens that are there"
        )
    return Loaded(model, tokenizer, new_tokens, (said,) if said else ())


def adapt(model: Any, calls: tuple[Call, ...]) -> Any:
    """The model with its adapter. ModelError if lora_target_modules name nothing in it."""
    for call in calls:
        try:
            model = perform(call, model=model)
        except (ValueError, RuntimeError, TypeError) as error:
            raise ModelError(f"Unsloth cannot attach the adapter: {str(error)[:400]}") from error
    return model


def for_inference(model: Any) -> None:
    from unsloth import FastLanguageModel

    FastLanguageModel.for_inference(model)


def for_training(model: Any) -> None:
    """After for_inference, in the middle of a training."""
    from unsloth import FastLanguageModel

    FastLanguageModel.for_training(model)
