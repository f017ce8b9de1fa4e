"""finetune: one YAML recipe, checked before a GPU is paid for, then trained as it was checked."""

__version__ = "0.1.0"
