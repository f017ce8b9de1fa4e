"""PEFT methods: one module each, and the table that names them. Adding one is a file and a line."""

from finetune.adapters import ia3, lora, p_tuning, prefix_tuning, prompt_tuning

ADAPTERS = {
    "lora": lora,
    "qlora": lora,
    "ia3": ia3,
    "prefix_tuning": prefix_tuning,
    "prompt_tuning": prompt_tuning,
    "p_tuning": p_tuning,
}
"""Each has CONFIG (peft's class), MERGES (whether what is learned can be put into the weights) and peft_arguments."""
