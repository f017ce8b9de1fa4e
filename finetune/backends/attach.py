"""Attaching an adapter with peft: which calls a recipe asks for, and making them. Knows no data and no trainer."""

from typing import Any

from finetune.adapters import ADAPTERS
from finetune.adapters.continued import KEYS
from finetune.adapters.lora import ALL_LINEAR, changes_base
from finetune.errors import ModelError
from finetune.plan import Call, perform
from finetune.recipe.recipe import Recipe
from finetune.recipe.zero_known import zero_stage


def attach_calls(recipe: Recipe) -> tuple[Call, ...]:
    assert recipe.adapter is not None
    prepare = Call("finetune.backends.quantized.prepare_for_adapter", {}, runtime=("model",))
    if recipe.lora_model_dir:
        return (prepare, *_continuing(recipe))
    names = _names(recipe)
    first = {"save_directory": first_adapter(recipe)}
    task = {"task_type": "SEQ_CLS" if recipe.reward_model else "CAUSAL_LM"}
    loftq = recipe.peft is not None and recipe.peft.loftq_config is not None
    return (
        prepare,
        *((Call("finetune.adapters.targets.check_names", {"names": names}, runtime=("model",)),) if names else ()),
        *_tokens(recipe),
        # peft draws A from the global generator; without this, two runs differ under one seed.
        Call("transformers.set_seed", {"seed": recipe.seed}),
        Call(ADAPTERS[recipe.adapter].CONFIG, _arguments(recipe) | task),
        *_fitted(recipe),
        *((Call("finetune.kernels.lora.fuse", {}, runtime=("peft_config",)),) if _fuses(recipe) else ()),
        Call(
            "peft.get_peft_model",
            {"autocast_adapter_dtype": _in_float32(recipe)},
            runtime=("model", "peft_config"),
        ),
        *((Call("finetune.kernels.lora.share_inputs", {}, runtime=("model",)),) if _fuses(recipe) else ()),
        *((_loftq(recipe),) if loftq else ()),
        # What the adapter began with is taken off again when it is saved.
        *((Call("peft.PeftModel.save_pretrained", first, runtime=("self",)),) if changes_base(recipe) else ()),
    )


def _tokens(recipe: Recipe) -> tuple[Call, ...]:
    numbers = recipe.peft_trainable_token_indices
    if not numbers or recipe.adapter not in ("lora", "qlora"):
        return ()
    return (Call("finetune.adapters.targets.check_tokens", {"numbers": numbers}, runtime=("model",)),)


def _fitted(recipe: Recipe) -> tuple[Call, ...]:
    """What fits a LoraConfig to the layers of the loaded model."""
    if not _is_lora(recipe):
        return ()
    names = ("left_out.leave_out", "kept.keep_reach")
    return tuple(Call(f"finetune.adapters.{name}", {}, runtime=("model", "peft_config")) for name in names)


def _is_lora(recipe: Recipe) -> bool:
    return recipe.adapter in ("lora", "qlora")


def _fuses(recipe: Recipe) -> bool:
    # They read a layer's weights outside of the layer, where DeepSpeed does not put them together.
    return recipe.lora_kernels and _is_lora(recipe) and zero_stage(recipe.deepspeed) != 3


def _in_float32(recipe: Recipe) -> bool:
    """Whether an adapter is float32 beside a model in 16 bits. ZeRO-3 puts weights together of one number type, and has
    a float32 copy of what is trained."""
    return recipe.peft_autocast_adapter_dtype and zero_stage(recipe.deepspeed) != 3


def first_adapter(recipe: Recipe) -> str:
    """Where an adapter that changed the base model's weights is kept as it began."""
    return f"{recipe.output_dir}/first_adapter"


def _arguments(recipe: Recipe) -> dict[str, Any]:
    assert recipe.adapter is not None
    arguments: dict[str, Any] = ADAPTERS[recipe.adapter].peft_arguments(recipe)
    if recipe.adapter == "prompt_tuning" and recipe.prompt_tuning_init_text:
        arguments["tokenizer_name_or_path"] = recipe.tokenizer_config or recipe.base_model
        revision = "main" if recipe.tokenizer_config else recipe.revision_of_model or "main"
        arguments["tokenizer_kwargs"] = {"revision": revision}
    return arguments


def _names(recipe: Recipe) -> dict[str, list[str] | str]:
    """Key -> the modules that it names."""
    if recipe.adapter == "ia3":
        keys = ("ia3_target_modules", "ia3_feedforward_modules", "lora_modules_to_save")
        return {key: getattr(recipe, key) for key in keys if getattr(recipe, key)}
    if recipe.adapter not in ("lora", "qlora"):
        return {}
    found: dict[str, list[str] | str] = {}
    targets = recipe.lora_target_modules
    if targets and not recipe.lora_target_linear and targets != ALL_LINEAR:
        found["lora_target_modules"] = targets
    found |= {"lora_modules_to_save": recipe.lora_modules_to_save} if recipe.lora_modules_to_save else {}
    for key in ("lora_rank_pattern", "lora_alpha_pattern"):
        if getattr(recipe, key):
            found[key] = list(getattr(recipe, key))
    return found


def _loftq(recipe: Recipe) -> Call:
    arguments = {"base_model": recipe.base_model, "revision": recipe.revision_of_model or "main"}
    return Call("finetune.adapters.loftq.start_from_lost_part", arguments, runtime=("model",))


def _continuing(recipe: Recipe) -> tuple[Call, ...]:
    assert recipe.adapter is not None
    arguments = _arguments(recipe)
    written = {
        name: arguments[name]
        for name, key in KEYS.items()
        if name in arguments and key in recipe.model_fields_set and getattr(recipe, key) is not None
    }
    kinds = {"lora": "LORA", "qlora": "LORA", "p_tuning": "P_TUNING"}
    check = {
        "folder": recipe.lora_model_dir,
        "kind": {
            "peft_type": kinds.get(recipe.adapter, recipe.adapter.upper()),
            "task_type": "SEQ_CLS" if recipe.reward_model else "CAUSAL_LM",
        },
        "written": written,
        "pickle": recipe.allow_pickle_weights,
    }
    load = {
        "model_id": recipe.lora_model_dir,
        "is_trainable": True,
        "autocast_adapter_dtype": _in_float32(recipe),
    }
    return (
        Call("finetune.adapters.continued.check_adapter", check),
        Call("peft.PeftModel.from_pretrained", load, runtime=("model",)),
    )


def attach(model: Any, calls: tuple[Call, ...]) -> Any:
    """The model as the calls leave it. ModelError where the adapter does not fit it."""
    made: dict[str, Any] = {}
    for call in calls:
        if call.target.endswith(".check_adapter"):
            continue  # made before the model was loaded
        try:
            if call.runtime == ("self",):
                perform(call, self=model)
            elif call.target.endswith("Config"):
                made["peft_config"] = perform(call)
            else:
                given = {"model": model, **made}
                result = perform(call, **{name: given[name] for name in call.runtime})
                model = result if result is not None and call.runtime else model
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            if "out of memory" in str(error):
                raise
            first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise ModelError(f"the adapter does not fit the model: {first.rstrip('.')}. {_hint(first)}") from error
    return model


def _hint(said: str) -> str:
    """What to do about what peft says."""
    if "ParamWrapper does not work with" not in said:
        return _HINT
    return (
        "Experts that lie in one tensor take plain LoRA alone: set lora_dropout: 0 and no peft_use_dora, or name the "
        "layers of the attention under lora_target_modules"
    )


_HINT = (
    "Check the keys that name its modules (lora_target_modules, ia3_target_modules, ...); with lora_model_dir, that "
    "its adapter was made for this base_model"
)
