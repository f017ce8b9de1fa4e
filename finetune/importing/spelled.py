"""Which names of other tools' settings are behind a key of the recipe, from the tables, and which assumed lines of a
draft are such as the file says and could not be read. Knows no file."""

import functools
from collections.abc import Mapping

from finetune.importing import (
    llamafactory_arguments,
    model_arguments,
    peft_arguments,
    training_arguments,
    trl_arguments,
    unsloth_arguments,
)
from finetune.importing.draft import Draft
from finetune.importing.found import line_of
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


PARTS = ("max_prompt_length", "max_completion_length")
"""Of which a key is the sum."""


def own_up(draft: Draft) -> None:
    """Say of every assumed line what could not be read that would have given it."""
    for key, line in draft.lines.items():
        names = _names_of(key) if line.assumed else ()
        name = next((name for name in names if name in draft.missed), None)
        if name is None:
            continue
        default = line.why.removeprefix("not written; ") if line.why.startswith("not written; ") else "our own"
        other = draft.otherwise.get(name)
        if other is not None and name not in PARTS and isinstance(other, type(line.value)):
            line.value, default = other, "the script's own default"
        line.why = f"TO DO: line {line_of(draft.missed[name])} says it and could not be read; this is {default}"


@functools.cache
def _names_of(key: str) -> tuple[str, ...]:
    """`micro_batch_size` -> per_device_train_batch_size."""
    tables = (training_arguments.TABLE, *trl_arguments.METHODS.values(), peft_arguments.LORA, peft_arguments.BITS,
              model_arguments.MODEL, model_arguments.TRL_MODEL, unsloth_arguments.ADAPT, unsloth_arguments.LOAD,
              llamafactory_arguments.TABLE)  # fmt: skip
    carried = {
        name: None for table in tables for name, rule in table.items() if isinstance(rule, Carry) and rule.key == key
    }
    return (*TOGETHER.get(key, ()), *carried)
