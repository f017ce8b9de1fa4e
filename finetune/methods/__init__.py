"""Training methods: one module each, and the table that names them. Adding one is a file and a line."""

from finetune.methods import sft
from finetune.recipe.recipe import Recipe

METHODS = {"sft": sft}


def name_of(recipe: Recipe) -> str:
    """Which method a recipe asks for."""
    del recipe  # there is one so far
    return "sft"
