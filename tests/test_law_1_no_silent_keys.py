"""Law 1: flip every key on every backend, adapter and quantization; what moves is what the key declares."""

from collections.abc import Iterator
from typing import Any, get_args
from zlib import crc32

import pytest
from pydantic import BaseModel

from finetune.backends import BACKENDS
from finetune.errors import FinetuneError
from finetune.judge import alternatives, flips, idle_lines, written
from finetune.machine import Machine, assumed
from finetune.plan import STAGES, Plan, moved_stages
from finetune.recipe.base import reach_of
from finetune.recipe.data import DatasetEntry
from finetune.recipe.load import load_recipe
from finetune.recipe.method import TrlConfig
from finetune.recipe.method_tables import OWN, RLOO_ONLY
from finetune.recipe.model import SpecialTokens
from finetune.recipe.optimizer import LrGroup
from finetune.recipe.parallel import FsdpConfig
from finetune.recipe.recipe import Recipe
from finetune.recipe.rows import MessageProperties, PromptFormat
from finetune.recipe.rules import broken_rules
from finetune.resolve import Refused, resolve
from tests.conftest import in_turn

MACHINE = assumed()
CONTEXTS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"adapter": "lora", "gradient_checkpointing": True},
    "qlora": {"adapter": "qlora", "load_in_4bit": True},
    "lora 8-bit": {"adapter": "lora", "load_in_8bit": True, "pad_to_sequence_len": True, "val_set_size": 0.1},
    "dpo": {"rl": "dpo", "adapter": "lora"},
    "ipo": {"rl": "ipo"},
    "orpo": {"rl": "orpo", "adapter": "lora"},
    "simpo": {"rl": "simpo"},
    "cpo": {"rl": "cpo"},
    "kto": {"rl": "kto", "val_set_size": 0.1},
    "reward": {"reward_model": True, "adapter": "lora", "val_set_size": 0.1},
    "grpo": {"rl": "grpo", "adapter": "lora", "trl": {"reward_funcs": ["rewards.py:short"]}},
    "gdpo": {"rl": "gdpo", "trl": {"reward_funcs": ["rewards.py:short"]}},
    "rloo": {"rl": "rloo", "adapter": "lora", "trl": {"reward_funcs": ["rewards.py:short"]}},
}
"""Adapters and quantization with fine-tuning, and every other method."""
MINIMUM = {"base_model": "m", "datasets": [{"path": "d", "type": "chat_template"}], "output_dir": "o"}


def contexts_of(key: str) -> Iterator[dict[str, Any]]:
    """Fine-tuning with every adapter, and the methods with which the key counts; one that changes from key to key where
    it counts with any, since all share the code that it passes through."""
    methods = [name for name in CONTEXTS if {"rl", "reward_model"} & set(CONTEXTS[name])]
    own = [name for name in OWN.get(key, ()) if name in methods] or [methods[crc32(key.encode()) % len(methods)]]
    return (CONTEXTS[name] for name in CONTEXTS if name not in methods or name in own)


def recipe_for(key: str, backend: str, context: dict[str, Any]) -> Recipe | None:
    """A recipe in which the key can count, or None where the context forbids it."""
    if backend == "unsloth" and {"trl", "reward_model"} & set(context):
        return None  # refused there by name
    values = MINIMUM | {"backend": backend} | context | dict(reach_of(Recipe, key).needs)
    for value in [None, *alternatives(Recipe.model_fields[key])]:
        trial = values if value is None else values | {key: value}
        if not broken_rules(trial):
            return Recipe.model_validate(trial)
    return None


def moves(recipe: Recipe, key: str) -> Iterator[frozenset[str]]:
    plan = resolve(recipe, MACHINE)
    for flipped in flips(recipe, key):
        if broken_rules(written(flipped)):
            continue
        try:
            yield moved_stages(plan, resolve(flipped, MACHINE))
        except Refused:
            assert flipped.backend == "unsloth", "only that backend refuses single values"


def planned(plan: Plan) -> set[str]:
    return {stage for stage in STAGES if plan.calls[stage]}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("key", Recipe.model_fields)
def test_flipping_a_key_moves_exactly_the_stages_it_declares(key: str, backend: str) -> None:
    declared = reach_of(Recipe, key).on(backend)
    if key == "recipe_version":
        assert get_args(Recipe.model_fields[key].annotation) == (1,), "a second version needs to be flipped, like a key"
        return
    if key in BACKENDS[backend].REFUSES:
        tried = (recipe_for(key, backend, CONTEXTS[context]) for context in ("lora", "full"))
        recipe = next((found for found in tried if found is not None), None)
        assert recipe is not None
        with pytest.raises(Refused, match=key):
            resolve(next(flips(recipe, key)), MACHINE)
        return
    seen: set[str] = set()
    for context in contexts_of(key):
        recipe = recipe_for(key, backend, context)
        for moved in moves(recipe, key) if recipe else ():
            assert moved <= declared, f"{key} moved {set(moved - declared)}, which it does not declare"
            seen |= moved
    assert seen == declared, f"{key} declares {set(declared - seen)} and never moves it"
    if not declared:
        assert BACKENDS[backend].WAIVES[key], f"{key} has no effect on {backend}, and no written reason why"


CONFIGURATIONS = ("dpo", "orpo", "cpo", "kto", "reward", "grpo", "rloo")
"""Contexts of every trainer's configuration but fine-tuning's."""
THE_SAME = {"backend", "rl", "reward_model", "roles_to_train", "metric_for_best_model"}
"""Keys with values that other methods take and that ask for what happens there anyway (`roles_to_train: [assistant]`,
`metric_for_best_model: loss`), and those that choose method or backend themselves."""


@pytest.mark.parametrize("context", CONFIGURATIONS)
def test_no_method_takes_a_value_and_drops_it(context: str) -> None:
    """That a key moves something with one method says nothing of another: there it moves something too, or is refused
    by name."""
    for key in Recipe.model_fields.keys() - THE_SAME - OWN.keys():
        recipe = recipe_for(key, "transformers", CONTEXTS[context])
        flipped = list(flips(recipe, key)) if recipe is not None else []
        allowed = [one for one in flipped if not broken_rules(written(one))]
        if recipe is None or all(getattr(one, key) in (None, False, [], {}) for one in allowed):
            continue  # whatever asks for something is refused
        plan = resolve(recipe, MACHINE)
        moves_something = any(moved_stages(plan, resolve(one, MACHINE)) for one in allowed)
        assert moves_something, f"`{key}` is dropped with {context}"


NESTED = [DatasetEntry, FsdpConfig, LrGroup, MessageProperties, PromptFormat, SpecialTokens, TrlConfig]


@pytest.mark.parametrize("model", NESTED)
def test_flipping_a_key_inside_an_entry_moves_what_it_declares(model: type[BaseModel]) -> None:
    def plan_of(inner: dict[str, Any]) -> Plan:
        values: dict[str, Any] = dict(MINIMUM)
        if model is SpecialTokens:
            values["special_tokens"] = inner
        elif model is FsdpConfig:
            values |= {"backend": "transformers", "fsdp_version": 2, "fsdp_config": inner}
        elif model is LrGroup:
            values["lr_groups"] = [{"name": "n", "modules": ["m"], "lr": 1e-3} | inner]
        elif model is MessageProperties:
            values["datasets"] = [{"path": "d", "type": "chat_template", "message_property_mappings": inner}]
        elif model is TrlConfig:
            values |= {"rl": "rloo" if set(inner) & set(RLOO_ONLY) else "grpo", "trl": inner}
        elif model is PromptFormat:
            values["datasets"] = [{"path": "d", "type": inner}]
        else:
            values["datasets"] = [{"path": "d", "type": "chat_template"} | inner]
        return resolve(Recipe.model_validate(values), MACHINE)

    for key, field in model.model_fields.items():
        needs = reach_of(model, key).needs if model is DatasetEntry else {}
        one, other = (plan_of({**needs, key: value}) for value in field.examples[:2])
        assert moved_stages(one, other) == reach_of(model, key).on(
            "transformers" if model is FsdpConfig else "unsloth"
        ), key


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_waived_or_refused_key_is_a_key_and_says_why(backend: str) -> None:
    for reasons in (BACKENDS[backend].WAIVES, BACKENDS[backend].REFUSES):
        for key, reason in reasons.items():
            assert key in Recipe.model_fields
            assert len(reason) > 15


@pytest.mark.parametrize("path", in_turn(10))
def test_every_line_of_a_shipped_recipe_takes_effect(path: Any) -> None:
    checked = load_recipe(path)
    assert [str(fault) for fault in idle_lines(checked, [MACHINE, Machine(packages=MACHINE.packages)])] == []
    for backend in BACKENDS:
        recipe = checked.recipe.model_copy(update={"backend": backend})
        try:
            plan = resolve(recipe, MACHINE)
        except FinetuneError:
            assert backend != checked.recipe.backend
            continue  # refused there by name
        for key in checked.recipe.model_fields_set - {"backend"}:
            declared = reach_of(Recipe, key).on(backend)
            for flipped in flips(recipe, key):
                try:
                    if broken_rules(written(flipped)):
                        continue
                    moved = moved_stages(plan, resolve(flipped, MACHINE))
                except FinetuneError:
                    continue
                assert moved <= declared, f"{key} on {backend}"


def test_a_line_without_effect_is_named_with_its_place(tmp_path: Any) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("base_model: m\ndatasets: [{path: d}]\noutput_dir: o\nlora_alpha: 4\n")
    faults = list(idle_lines(load_recipe(path), [MACHINE]))
    assert [str(fault) for fault in faults] == [
        f"{path}:4:1: warning: `lora_alpha` changes nothing in this recipe; remove the line, or set what it depends on "
        "[FT011]"
    ]


def test_dropping_a_key_on_its_way_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The law itself can fail: a method that forgets weight_decay is caught by it."""
    from finetune.methods import learning

    whole = learning.arguments
    monkeypatch.setattr(learning, "arguments", lambda section: whole(section) | {"weight_decay": 0.0})
    with pytest.raises(AssertionError, match="weight_decay"):
        test_flipping_a_key_moves_exactly_the_stages_it_declares("weight_decay", "transformers")
