"""What loads a model and attaches an adapter: one module each, and the table that names them."""

from finetune.backends import transformers, unsloth

BACKENDS = {"transformers": transformers, "unsloth": unsloth}
