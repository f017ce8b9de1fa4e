"""Generation keys of a recipe -> the calls that draw its answers. Decides no value."""

from typing import Any

from finetune.plan import Call
from finetune.recipe.output import GenerationSection
from finetune.recipe.recipe import Recipe


def answering(section: Recipe) -> tuple[Call, ...]:
    asked = section.generation_seed
    return (
        Call("transformers.GenerationConfig", _sampling(section), runtime=("eos_token_id", "pad_token_id")),
        Call("transformers.set_seed", {"seed": section.seed if asked is None else asked}),
    )


def _sampling(section: GenerationSection) -> dict[str, Any]:
    tokens = {
        "max_new_tokens": section.generation_max_new_tokens,
        "repetition_penalty": float(section.generation_repetition_penalty),
        "stop_strings": section.generation_stop,
    }
    if section.generation_temperature == 0 or section.generation_do_sample is False:
        return tokens | {"do_sample": False}
    return tokens | {
        "do_sample": True,
        "temperature": section.generation_temperature,
        "top_p": section.generation_top_p or 1.0,
        "top_k": section.generation_top_k or 0,
        "min_p": section.generation_min_p or 0.0,
    }
