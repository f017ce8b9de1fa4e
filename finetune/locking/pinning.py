"""Locked commits -> a recipe and a plan that load exactly those. Asks no hub."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from finetune.locking.inputs import BASE, ON_HUB
from finetune.locking.judges import rewards_of
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
    """The plan with the commits of what no key of a recipe has a revision for: a tokenizer that is not the model's own,
    an adapter to go on from, reward models and what they stand on."""
    pins = [*_tokenizer(recipe, inputs), *_adapter(recipe, inputs), *_rewards(recipe, inputs)]

    def pinned(call: Call) -> Call:
        added = {name: value for pin in pins if pin.of(call) for name, value in pin.arguments.items()}
        return replace(call, arguments={**call.arguments, **added}) if added else call

    return replace(plan, calls={stage: tuple(map(pinned, calls)) for stage, calls in plan.calls.items()})


@dataclass(frozen=True)
class _Pin:
    """`target`: how the call's ends; `name`: the argument with the name of what is loaded, and `value`: that name;
    `arguments`: what is set beside it."""

    target: str
    name: str
    value: str
    arguments: Mapping[str, Any]

    def of(self, call: Call) -> bool:
        return call.target.endswith(self.target) and call.arguments.get(self.name) == self.value


def _tokenizer(recipe: Recipe, inputs: Mapping[str, Any]) -> Iterator[_Pin]:
    name = recipe.tokenizer_config
    if name and (commit := _commit(inputs, "tokenizer", name)):
        revision = {"revision": commit}
        kind = f"{recipe.tokenizer_type}.from_pretrained"
        yield _Pin(kind, "pretrained_model_name_or_path", name, revision)
        yield _Pin("", "tokenizer_name_or_path", name, {"tokenizer_kwargs": revision})


def _adapter(recipe: Recipe, inputs: Mapping[str, Any]) -> Iterator[_Pin]:
    name = recipe.lora_model_dir
    if name and (commit := _commit(inputs, "adapter", name)):
        yield _Pin(".check_adapter", "folder", name, {"revision": commit})
        yield _Pin("peft.PeftModel.from_pretrained", "model_id", name, {"revision": commit})


def _rewards(recipe: Recipe, inputs: Mapping[str, Any]) -> Iterator[_Pin]:
    for number, found in rewards_of(recipe):
        key = f"trl.reward_funcs.{number}"
        names = {"revision": key, "base_revision": f"{key}.{BASE}"}
        commits = {name: commit for name, at in names.items() if (commit := inputs.get(at, {}).get("commit"))}
        if isinstance(found, str) and commits:
            yield _Pin(".rewards.load_model", "path", found, commits)
