"""Unsloth: fast kernels on one CUDA GPU. The one place that knows how Unsloth must be imported. Data, labels and
trainer are the same as on the other backend."""

import os
from typing import Any

from finetune.adapters import ADAPTERS
from finetune.backends.loaded import Loaded, guarded, load_tokenizer, tokenizer_calls, tokenizer_part
from finetune.errors import ModelError
from finetune.machine import Machine
from finetune.plan import Call, perform
from finetune.precision import Precision
from finetune.recipe.recipe import Recipe

REFUSES: dict[str, str] = {
    "gradient_checkpointing_kwargs": "Unsloth's checkpointing takes no arguments",
}
WAIVES: dict[str, str] = {
    "model_type": "Unsloth picks the class from the checkpoint's config",
    "attn_implementation": "Unsloth picks its own attention kernel",
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
    return (*tokenizer_calls(recipe), model)


def adapt_calls(recipe: Recipe) -> tuple[Call, ...]:
    if recipe.adapter is None:
        return ()
    arguments = ADAPTERS[recipe.adapter].arguments(recipe) | {
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
    import unsloth  # noqa: F401  # isort: skip


def load(calls: tuple[Call, ...]) -> Loaded:
    """ModelError if the tokenizer or the weights cannot be loaded."""
    model, _ = guarded(calls[-1])
    # The tokenizer Unsloth returns may be patched; ours is the one both backends tokenize with.
    return Loaded(model, load_tokenizer(tokenizer_part(calls)))


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
