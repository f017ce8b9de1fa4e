"""transformers + peft + bitsandbytes: runs everywhere, plain, 8-bit and 4-bit. Knows no data and no trainer."""

import contextlib
from typing import Any

from finetune.backends.attach import attach, attach_calls
from finetune.backends.few_bits import leave_readable, not_in_few_bits
from finetune.backends.loaded import (
    Loaded,
    guarded,
    load_tokenizer,
    partial_calls,
    resize_calls,
    tokenizer_calls,
    tokenizer_part,
)
from finetune.backends.quantized import check_call, quantization_calls, quantization_config
from finetune.errors import ModelError
from finetune.machine import Machine
from finetune.methods.parallel import loading_config
from finetune.plan import Call, perform
from finetune.precision import Precision
from finetune.recipe.method_tables import NO_OFFLOADING
from finetune.recipe.recipe import Recipe
from finetune.recipe.zero_known import zero_stage

REFUSES: dict[str, str] = {}
"""Key -> why a recipe that sets it cannot run here."""
REFUSES_VALUES: dict[str, dict[object, str]] = {}
"""Key -> values that it cannot have here, each with why."""
HEADS = ("score.weight", "classifier.weight", "classifier.bias")
"""Weights of a head that scores, which a base model lacks."""
WAIVES: dict[str, str] = {}
"""Key -> why it is accepted here without effect."""


def load_calls(recipe: Recipe, precision: Precision, machine: Machine) -> tuple[Call, ...]:
    quantization = quantization_calls(recipe, precision)
    in_parts = zero_stage(recipe.deepspeed) == 3
    model = Call(
        f"transformers.{model_class(recipe)}.from_pretrained",
        {
            "pretrained_model_name_or_path": recipe.base_model,
            "revision": recipe.revision_of_model or "main",
            "trust_remote_code": recipe.trust_remote_code,
            "dtype": precision.dtype,
            # DeepSpeed puts the parts of a model where they belong.
            "device_map": None if in_parts else recipe.device_map or {"": _place(recipe, machine)},
            # Weights in Python's pickle format can run code while they are loaded.
            "use_safetensors": not recipe.allow_pickle_weights or None,
            # Unset, sdpa where the model has it, else eager.
            "attn_implementation": None if recipe.attn_implementation == "auto" else recipe.attn_implementation,
            **({"num_labels": 1} if recipe.reward_model else {}),
            # Names the weights the checkpoint lacks: they would be random, and only a log would say so.
            "output_loading_info": True,
        },
        runtime=("quantization_config",) if quantization else (),
    )
    # The head that scores and embeddings of added tokens are drawn at random; without a seed two runs differ.
    draws = recipe.reward_model or recipe.tokens or recipe.special_tokens
    seed = (Call("transformers.set_seed", {"seed": recipe.seed}),) if draws else ()
    made = (*tokenizer_calls(recipe), check_call(recipe), *quantization, *seed, *_loaded_by(recipe, precision), model)
    return (*made, *resize_calls(recipe), *_attention(recipe))


def _place(recipe: Recipe, machine: Machine) -> int | str:
    """Where weights are loaded to: the GPU, unless they are dealt out from the CPU's memory or stay there."""
    shares = recipe.fsdp_config if recipe.fsdp_version else None
    waits = shares is not None and (shares.offload_params or shares.cpu_ram_efficient_loading)
    return machine.device if machine.cuda and not waits else "cpu"


def _loaded_by(recipe: Recipe, precision: Precision) -> tuple[Call, ...]:
    """What makes a process load less than the whole model."""
    if isinstance(recipe.deepspeed, dict) and zero_stage(recipe.deepspeed) == 3:
        config = loading_config(recipe.deepspeed, precision.dtype == "bfloat16")
        return (Call("finetune.kernels.zero.load_in_parts", {"config": config}),)
    if recipe.fsdp_config is None or not recipe.fsdp_config.cpu_ram_efficient_loading:
        return ()
    return (Call("finetune.ranks.first_loads_alone", {}),)


def model_class(recipe: Recipe) -> str:
    """The class that loads the model: one that scores where a reward model is trained."""
    if recipe.reward_model and recipe.model_type == "AutoModelForCausalLM":
        return "AutoModelForSequenceClassification"
    return recipe.model_type


def _attention(recipe: Recipe) -> tuple[Call, ...]:
    """Variable-length attention where the model can, which only the loaded model tells; where rows are to be imitated,
    since those of other methods are padded."""
    if recipe.attn_implementation != "auto" or recipe.rl or recipe.reward_model:
        return ()
    return (Call("finetune.kernels.attention.take", {}, runtime=("model",)),)


def adapt_calls(recipe: Recipe) -> tuple[Call, ...]:
    return partial_calls(recipe) if recipe.adapter is None else attach_calls(recipe)


def gradient_checkpointing(recipe: Recipe) -> bool:
    """Whether the trainer switches checkpointing on; `unsloth` names a kind that only that backend has."""
    return bool(recipe.gradient_checkpointing)


def notes(recipe: Recipe) -> tuple[str, ...]:
    if recipe.gradient_checkpointing != "unsloth":
        return ()
    if recipe.rl in NO_OFFLOADING:
        return (f"gradient_checkpointing: unsloth offloads nothing with rl: {recipe.rl}, and computes anew alone",)
    return ("gradient_checkpointing: unsloth keeps activations in the CPU's memory, here through TRL",)


def prepare_process() -> None:
    """Nothing to do before other libraries are imported."""


def load(calls: tuple[Call, ...]) -> Loaded:
    """ModelError if the tokenizer or the weights cannot be loaded."""
    first = tokenizer_part(calls)
    after = [call for call in calls if call.target.endswith((".make_room", ".attention.take"))]
    before = [call for call in calls if call.target.endswith((".set_seed", ".load_in_parts"))]
    alone = [call for call in calls if call.target.endswith(".first_loads_alone")]
    check, *quantization, model_call = [call for call in calls if call not in (*first, *after, *before, *alone)]
    said = [perform(check)]
    tokenizer, new_tokens = load_tokenizer(first)
    runtime = {"quantization_config": quantization_config(quantization)} if quantization else {}
    if quantization:
        leave_readable(runtime["quantization_config"], model_call)
    for call in before:
        perform(call)
    with contextlib.ExitStack() as around:
        for call in alone:
            around.enter_context(perform(call))
        model, found = guarded(model_call, **runtime)
    head = HEADS if "num_labels" in model_call.arguments else ()
    missing = sorted(name for name in found["missing_keys"] if name not in head)
    if missing:
        raise ModelError(
            f"the checkpoint of base_model lacks {len(missing)} weights ({missing[0]}, …), which would be random. "
            "Its config.json does not belong to its weights, or the download is not whole"
        )
    keep_cpu_weights_as_loaded(model)
    said += [not_in_few_bits(model)]
    things = {"model": model, "tokenizer": tokenizer}
    reasons = [perform(call, **{name: things[name] for name in call.runtime}) for call in after]
    said += [f"attention stays {model.config._attn_implementation}: {reason}" for reason in reasons if reason]
    return Loaded(model, tokenizer, new_tokens, tuple(note for note in said if note))


def keep_cpu_weights_as_loaded(model: Any) -> None:
    """Keep bitsandbytes 0.50.2 from repacking 4-bit weights at the first evaluation on a CPU with AVX512-BF16.

    Its repacking fails for layers whose width is no multiple of 64 (`_convert_weight_packed_for_cpu`), and rounds the
    scales to bfloat16, so that training after an evaluation would go on with other weights than before it."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def adapt(model: Any, calls: tuple[Call, ...]) -> Any:
    """The model with its adapter. ModelError if the adapter does not fit it."""
    return attach(model, calls)


def for_inference(model: Any) -> None:
    model.eval()


def for_training(model: Any) -> None:
    """After for_inference, in the middle of a training."""
    model.train()
