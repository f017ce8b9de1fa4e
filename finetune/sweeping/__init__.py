"""`finetune sweep`: the trials of a recipe's `sweep:` section, run one after another and compared."""
