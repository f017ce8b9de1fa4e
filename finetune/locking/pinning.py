"""Locked commits -> a recipe and a plan that load exactly those. Asks no hub."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from finetune.locking.inputs import ON_HUB
from finetune.plan import Call, Plan
from finetune.recipe.data import DatasetEntry
from finetune.recipe.recipe import Recipe


def pinned_recipe(recipe: Recipe, inputs: Mapping[str, Any]) -> Recipe:
    """The recipe with commits in the place of branches, tags and nothing."""
    update: dict[str, Any] = {}
    if commit := _commit(inputs, "model", recipe.base_model):
        update["revision_of_model"] = commit
    for key in ("datasets", "test_datasets"):
        if entries := getattr(recipe, key):
            update[key] = [_entry(entry, inputs.get(f"{key}.{number}", {})) for number, entry in enumerate(entries)]
    return recipe.model_copy(update=update)


def _commit(inputs: Mapping[str, Any], key: str, name: str) -> str | None:
    item = inputs.get(key, {})
    return item.get("commit") if item.get("hub") == name else None


def _entry(entry: DatasetEntry, item: Mapping[str, Any]) -> DatasetEntry:
    commit = item.get("commit")
    if not commit:
        return entry
    if found := ON_HUB.fullmatch(entry.path):
        return entry.model_copy(update={"path": f"hf://datasets/{found['name']}@{commit}/{found['rest']}"})
    return entry.model_copy(update={"revision": commit}) if item.get("hub") == entry.path else entry


def pinned_plan(plan: Plan, recipe: Recipe, inputs: Mapping[str, Any]) -> Plan:
    """The plan with the commit of a tokenizer that is not the model's own, for which no key of a recipe says one."""
    name = recipe.tokenizer_config
    commit = _commit(inputs, "tokenizer", name) if name else None
    if commit is None:
        return plan

    def pinned(call: Call) -> Call:
        if call.arguments.get("pretrained_model_name_or_path") == name and "dtype" not in call.arguments:
            return replace(call, arguments={**call.arguments, "revision": commit})
        if call.arguments.get("tokenizer_name_or_path") == name:
            return replace(call, arguments={**call.arguments, "tokenizer_kwargs": {"revision": commit}})
        return call

    return replace(plan, calls={stage: tuple(map(pinned, calls)) for stage, calls in plan.calls.items()})
