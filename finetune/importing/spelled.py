"""Which names of other tools' settings are behind a key of the recipe, from the tables. Knows no file."""

import functools
from collections.abc import Mapping

from finetune.importing.rules import Carry

TOGETHER: Mapping[str, tuple[str, ...]] = {
    "num_epochs": ("num_train_epochs", "max_steps"),
    "max_steps": ("max_steps",),
    "warmup_ratio": ("warmup_ratio", "warmup_steps"),
    "save_steps": ("save_steps", "save_strategy"),
    "logging_steps": ("logging_steps",),
    "eval_steps": ("eval_steps",),
    "eval_batch_size": ("per_device_eval_batch_size",),
    "sequence_len": ("max_length", "max_seq_length", "max_prompt_length", "cutoff_len", "max_completion_length"),
    "bf16": ("bf16",),
    "fp16": ("fp16",),
    "load_in_4bit": ("load_in_4bit",),
    "lora_target_modules": ("target_modules", "lora_target_modules", "lora_target"),
    "optimizer": ("optim",),
    "train_on_inputs": ("assistant_only_loss", "completion_only_loss"),
    "output_dir": ("output_dir",),
    "base_model": ("model_name", "model_name_or_path", "pretrained_model_name_or_path", "model"),
    "chat_template": ("chat_template", "template"),
    "seed": ("seed", "random_state"),
}


@functools.cache
def names_of(key: str) -> tuple[str, ...]:
    """`micro_batch_size` -> per_device_train_batch_size."""
    from finetune.importing import (
        llamafactory_arguments,
        model_arguments,
        peft_arguments,
        training_arguments,
        trl_arguments,
        unsloth_arguments,
    )

    tables = (training_arguments.TABLE, *trl_arguments.METHODS.values(), peft_arguments.LORA, peft_arguments.BITS,
              model_arguments.MODEL, model_arguments.TRL_MODEL, unsloth_arguments.ADAPT, unsloth_arguments.LOAD,
              llamafactory_arguments.TABLE)  # fmt: skip
    carried = {
        name: None for table in tables for name, rule in table.items() if isinstance(rule, Carry) and rule.key == key
    }
    return (*TOGETHER.get(key, ()), *carried)
