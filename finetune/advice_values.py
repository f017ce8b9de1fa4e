"""Warnings about single values that are legal and far off what trains. Looks at the recipe and at what is known of its
model's architecture; knows no data and no plan."""

from collections.abc import Iterator, Mapping
from typing import Any

from finetune.recipe.recipe import Recipe

Finding = tuple[str, str, str]
"""The key to point at, the message, the code."""
SCALE = 32.0
"""lora_alpha / lora_r (with rslora: / the root of lora_r) above which an adapter's first steps break most models."""
DECAY, CLIPPED, NOISE = 1.0, 1e-3, 50.0
"""weight_decay and neftune_noise_alpha at most, max_grad_norm at least: far outside of what is ever published."""


def far_off(recipe: Recipe, config: Mapping[str, Any]) -> Iterator[Finding]:
    """`config`: config.json of the model, or nothing where it is not known."""
    yield from _positions(recipe, config)
    yield from _scale(recipe)
    if recipe.weight_decay > DECAY:
        message = f"`weight_decay: {recipe.weight_decay:g}` pulls the weights to nothing; usual is 0 to 0.1"
        yield "weight_decay", message, "FT031"
    if 0 < recipe.max_grad_norm < CLIPPED:
        message = f"`max_grad_norm: {recipe.max_grad_norm:g}` cuts every gradient to nearly nothing; usual is 0.3 to 1"
        yield "max_grad_norm", message, "FT031"
    if (recipe.neftune_noise_alpha or 0) > NOISE:
        message = f"`neftune_noise_alpha: {recipe.neftune_noise_alpha:g}` drowns the words in noise; usual is 5 to 15"
        yield "neftune_noise_alpha", message, "FT031"


def _positions(recipe: Recipe, config: Mapping[str, Any]) -> Iterator[Finding]:
    inner = config.get("text_config")
    known = inner if isinstance(inner, dict) else config
    places = known.get("max_position_embeddings") or known.get("n_positions")
    if not isinstance(places, int) or isinstance(places, bool) or recipe.sequence_len <= places:
        return
    yield (
        "sequence_len",
        f"`sequence_len: {recipe.sequence_len}` is more than the {places} positions that the model was made for: what "
        "lies beyond is learned badly, or not at all",
        "FT029",
    )


def _scale(recipe: Recipe) -> Iterator[Finding]:
    if recipe.adapter not in ("lora", "qlora"):
        return
    scale = recipe.lora_alpha / (recipe.lora_r**0.5 if recipe.peft_use_rslora else recipe.lora_r)
    if scale > SCALE:
        root = "the root of " if recipe.peft_use_rslora else ""
        yield (
            "lora_alpha",
            f"`lora_alpha: {recipe.lora_alpha:g}` multiplies what the adapter says by {scale:g} (lora_alpha / {root}"
            "lora_r); usual is 0.5 to 4",
            "FT031",
        )
