"""PEFT methods: one module each, and the table that names them. Adding one is a file and a line."""

from finetune.adapters import lora

ADAPTERS = {"lora": lora, "qlora": lora}
