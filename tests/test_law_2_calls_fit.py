"""Law 2: every argument of every planned call is a named parameter of the installed library's callable; of a trainer's
configuration each one is passed, so that no new default of a library changes a run."""

import inspect
from typing import Any

import pytest

from finetune.backends import BACKENDS
from finetune.judge import flips, written
from finetune.machine import assumed
from finetune.methods.frozen import TRAINER
from finetune.plan import Call, Plan, find
from finetune.recipe.method import MethodSection
from finetune.recipe.recipe import Recipe
from finetune.recipe.rules import broken_rules
from finetune.resolve import Refused, resolve
from tests.signatures import parameters, unsloth_get_peft_model_delegates
from tests.test_law_1_no_silent_keys import CONTEXTS, MINIMUM, recipe_for

MACHINE = assumed()
SHARED = {"optimizer", "lr_scheduler", "save_steps", "val_set_size", "early_stopping_patience", "use_tensorboard"}
ANY_CLASS = {"model_type", "tokenizer_type"}  # their flips name classes that need not be installed
DEPRECATED = {"vllm_importance_sampling_cap", "use_transformers_paged"}
"""Arguments that TRL takes only to warn that they have another name now."""


def misfits(plan: Plan) -> list[str]:
    def fits(call: Call) -> set[str]:
        return (set(call.arguments) | set(call.runtime)) - parameters(call.target)

    return [f"{call.target} has no {sorted(wrong)}" for _, call in plan.each() if (wrong := fits(call))]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("context", CONTEXTS)
def test_every_planned_argument_is_a_named_parameter(context: str, backend: str) -> None:
    other_method = {"rl", "reward_model"} & set(CONTEXTS[context])
    # What all methods share is the same code; of another method, its own keys count.
    keys = MethodSection.model_fields.keys() | SHARED if other_method else Recipe.model_fields.keys()
    for key in keys - ANY_CLASS - {"backend"}:
        recipe = recipe_for(key, backend, CONTEXTS[context])
        if recipe is None:
            continue
        for candidate in (recipe, *flips(recipe, key)):
            if broken_rules(written(candidate)):
                continue
            try:
                plan = resolve(candidate, MACHINE)
            except Refused:
                continue
            assert misfits(plan) == [], key


def test_unsloth_still_hands_its_arguments_to_the_function_that_is_read() -> None:
    assert unsloth_get_peft_model_delegates()


def test_a_renamed_argument_is_noticed() -> None:
    plan = Plan(
        "transformers",
        {"load": (Call("trl.SFTConfig", {"max_seq_length": 1}),)}
        | dict.fromkeys(("format", "adapt", "train", "save", "generate"), ()),
    )
    assert misfits(plan) == ["trl.SFTConfig has no ['max_seq_length']"]


def test_kwargs_alone_do_not_count_as_a_parameter() -> None:
    found: Any = parameters("transformers.AutoModelForCausalLM.from_pretrained")
    assert {"dtype", "quantization_config", "attn_implementation", "device_map"} <= found
    assert "kwargs" not in found and "load_in_4bit" not in found


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("context", CONTEXTS)
def test_every_argument_of_the_trainer_is_passed(context: str, backend: str) -> None:
    recipe = Recipe.model_validate(MINIMUM | {"backend": backend} | CONTEXTS[context])
    if backend == "unsloth" and {"trl", "reward_model"} & set(CONTEXTS[context]):
        with pytest.raises(Refused):
            resolve(recipe, MACHINE)
        return
    (config,) = [call for call in resolve(recipe, MACHINE).calls["train"] if call.target.endswith("Config")]
    assert set(config.arguments) == set(inspect.signature(find(config.target)).parameters) - DEPRECATED


def test_the_frozen_arguments_are_what_the_trainers_would_have_taken() -> None:
    for config, values in TRAINER[1].items():
        theirs = inspect.signature(find(config)).parameters
        assert set(theirs) - DEPRECATED - {"output_dir"} == set(values), config
        for name, value in values.items():
            default = theirs[name].default
            fits = isinstance(value, list) and not isinstance(default, int | float | str | None)
            assert value == default or fits, f"{config} {name}"
