"""Training methods: one module each, and the table that names them. Adding one is a file and a line."""

from finetune.methods import sft

METHODS = {"sft": sft}
