"""Going on from an adapter that was trained before: whether it is the one that the recipe describes. peft loads it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.errors import ModelError

KEYS = {
    "r": "lora_r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "use_rslora": "peft_use_rslora",
    "use_dora": "peft_use_dora",
    "modules_to_save": "lora_modules_to_save",
    "rank_pattern": "lora_rank_pattern",
    "alpha_pattern": "lora_alpha_pattern",
    "num_virtual_tokens": "num_virtual_tokens",
}
"""Argument of peft's configuration -> the key of a recipe, where the two can be compared."""

_TASKS = {"CAUSAL_LM": "a model that answers", "SEQ_CLS": "a model that scores"}


def check_adapter(
    *, folder: str, kind: Mapping[str, str], written: Mapping[str, Any], pickle: bool, revision: str | None = None
) -> None:
    """ModelError if the folder holds no adapter, one of another kind, or one that contradicts the recipe. `kind`: its
    peft_type and task_type; `revision`: of a hub id, unset: main."""
    import peft

    peft_type, task = kind["peft_type"], kind["task_type"]
    try:
        config = peft.PeftConfig.from_pretrained(folder, revision=revision)
    except (ValueError, OSError, TypeError, KeyError) as error:
        reason = str(error).splitlines()[0][:200]
        raise ModelError(f"lora_model_dir: {folder} holds no adapter that can be read: {reason}") from error
    if Path(folder).is_dir() and not pickle and not any(Path(folder).glob("*.safetensors")):
        raise ModelError(
            f"lora_model_dir: {folder} holds no adapter_model.safetensors. Convert its weights, or set "
            "allow_pickle_weights: true if you trust whoever made them"
        )
    there_is = str(config.peft_type).removeprefix("PeftType.")
    if there_is != peft_type:
        raise ModelError(f"lora_model_dir: {folder} holds a {there_is} adapter, and the recipe trains {peft_type}")
    if (config.task_type or task) != task:
        raise ModelError(
            f"lora_model_dir: {folder} holds the adapter of {_TASKS.get(config.task_type, config.task_type)}, "
            f"and the recipe trains {_TASKS[task]}. Merge that adapter into its model first (finetune merge), and name "
            "the merged model as base_model"
        )
    for argument, value in written.items():
        there = getattr(config, argument, None)
        if _plain(there) != _plain(value):
            key = KEYS[argument]
            raise ModelError(
                f"{key}: {value} contradicts the adapter in lora_model_dir, which was made with {_plain(there)}. "
                f"Write {key}: {_plain(there)}, or remove the line"
            )


def _plain(value: Any) -> Any:
    """Sets and lists of names compare whatever their order; what is empty is unset."""
    if isinstance(value, set | list | tuple):
        return sorted(value) or None
    return value or None
