"""Training methods: the table that names them, which rows each learns from, and what it cannot honour. Adding one is a
line, and a module where it is of a new kind."""

from collections.abc import Callable
from dataclasses import dataclass

from finetune.methods import online, preference, reward, sft
from finetune.methods.shared import Setting
from finetune.plan import Call
from finetune.recipe.method_rules import method_of
from finetune.recipe.recipe import Recipe


@dataclass(frozen=True)
class Method:
    """`kind`: what a row is, one of formats.KINDS. `calls`: those of the train stage."""

    kind: str
    calls: Callable[[Recipe, Setting], tuple[Call, ...]]


METHODS = {
    "sft": Method("rows", sft.train_calls),
    "dpo": Method("pair", preference.dpo_calls),
    "ipo": Method("pair", preference.dpo_calls),
    "orpo": Method("pair", preference.orpo_calls),
    "simpo": Method("pair", preference.cpo_calls),
    "cpo": Method("pair", preference.cpo_calls),
    "kto": Method("judged", preference.kto_calls),
    "reward": Method("pair", reward.train_calls),
    "grpo": Method("prompt", online.grpo_calls),
    "gdpo": Method("prompt", online.grpo_calls),
    "rloo": Method("prompt", online.rloo_calls),
}


def of(recipe: Recipe) -> Method:
    return METHODS[method_of(recipe.rl, recipe.reward_model)]
