"""Weights in fewer bits: which configuration a recipe asks for, and what becomes of a model whose weights are
quantized, by the recipe or in its checkpoint already."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.backends.checkpoints import verdict
from finetune.backends.trust import config_of
from finetune.errors import ModelError
from finetune.machine import installed
from finetune.plan import Call, perform
from finetune.precision import Precision
from finetune.recipe.model import BnbConfig, QuantizationKwargs
from finetune.recipe.recipe import Recipe

ASKED = ("adapter", "load_in_4bit", "load_in_8bit", "load_in_torchao", "model_quantization_config")
"""Keys that a quantized checkpoint can contradict; those inside bnb_config_kwargs come besides."""


def asked_of(recipe: Recipe) -> dict[str, Any]:
    written = recipe.bnb_config_kwargs
    inside = written.model_dump(include=written.model_fields_set, exclude_none=True) if written else {}
    return {key: getattr(recipe, key) for key in ASKED} | {"bnb_config_kwargs": inside}


def check_call(recipe: Recipe) -> Call:
    arguments = {"base_model": recipe.base_model, "revision": recipe.revision_of_model or "main"}
    return Call("finetune.backends.quantized.check_checkpoint", arguments | {"asked": asked_of(recipe)})


def check_checkpoint(*, base_model: str, revision: str, asked: Mapping[str, Any]) -> str:
    """What should be said about a checkpoint that is quantized already. ModelError if the recipe cannot train on it."""
    config = config_of(base_model, "main" if Path(base_model).is_dir() else revision)
    key, why, said = verdict(config, asked, installed)
    if why is not None:
        raise ModelError(f"base_model {base_model}: {why}" if key == "base_model" else why)
    return said


def quantization_calls(recipe: Recipe, precision: Precision) -> tuple[Call, ...]:
    """What makes the `quantization_config` that the weights are loaded with; nothing where they stay as they are."""
    target = "transformers.BitsAndBytesConfig"
    if recipe.load_in_4bit:
        chosen = recipe.bnb_config_kwargs or BnbConfig()
        arguments = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": chosen.bnb_4bit_quant_type,
            "bnb_4bit_use_double_quant": chosen.bnb_4bit_use_double_quant,
            "bnb_4bit_compute_dtype": chosen.bnb_4bit_compute_dtype or precision.dtype,
            "bnb_4bit_quant_storage": chosen.bnb_4bit_quant_storage,
        }
        return (Call(target, arguments),)
    if recipe.load_in_8bit:
        return (Call(target, {"load_in_8bit": True}),)
    if recipe.load_in_torchao:
        # Weights alone: products are made in the model's own number type.
        weights = Call("torchao.quantization.Int8WeightOnlyConfig", {})
        return (weights, Call("transformers.TorchAoConfig", {}, runtime=("quant_type",)))
    if recipe.model_quantization_config:
        chosen_kwargs = recipe.model_quantization_config_kwargs or QuantizationKwargs()
        return (Call(f"transformers.{recipe.model_quantization_config}", chosen_kwargs.model_dump()),)
    return ()


def quantization_config(calls: Sequence[Call]) -> Any:
    """The configuration, made of what quantization_calls planned."""
    made = None
    for call in calls:
        made = perform(call, **dict.fromkeys(call.runtime, made))
    return made


def prepare_for_adapter(*, model: Any) -> Any:
    """A quantized model with all its weights frozen; others as they are. Norms and embeddings stay in bfloat16, so that
    what flows between the layers takes 2 bytes a number; in float16, which overflows there, they become float32.

    Checkpointing is the trainer's to switch on, once; prepared here it would be switched on twice."""
    if not getattr(model, "is_quantized", False):
        return model
    import torch
    from peft import prepare_model_for_kbit_training

    if model.dtype == torch.float16:
        return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    model.requires_grad_(False)
    return model


def train_in_float32(*, trainer: Any) -> None:
    """What is trained of a quantized model in float32 again, where TRL's trainers round it to bfloat16: small steps
    would be rounded away, and float16's loss scaling has no bfloat16."""
    import torch

    model = trainer.accelerator.unwrap_model(trainer.model)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not getattr(base, "is_quantized", False):
        return
    for weight in model.parameters():
        if weight.requires_grad and weight.dtype in (torch.bfloat16, torch.float16):
            weight.data = weight.data.float()
