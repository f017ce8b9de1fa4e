"""Law 3: a run passes the libraries exactly the Plan's arguments plus run-time objects. A recorder compares."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from finetune import plan as plan_module
from finetune.machine import probe
from finetune.plan import Call, Plan
from finetune.recipe.load import load_recipe
from finetune.resolve import resolve

Made = list[tuple[str, dict[str, Any], set[str]]]


def record(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> Made:
    """Put a recorder in front of the real library callables the plan names, overriding methods of subclasses included.
    What the libraries call among themselves is not recorded."""
    made: Made = []

    def recorder(target: str, call: Callable[..., Any], method: bool) -> Callable[..., Any]:
        def recording(*positional: Any, **named: Any) -> Any:
            if sys._getframe(1).f_globals["__name__"] == "finetune.plan":
                assert len(positional) == int(method), f"{target} got positional arguments"
                made.append((target, dict(named), {"self"} if method else set()))
            return call(*positional, **named)

        return recording

    # Methods before their classes: a class that is behind a recorder has no attributes to look up.
    for target in sorted({call.target for _, call in plan.each()}, key=lambda target: -target.count(".")):
        owner, name = target.rsplit(".", 1)
        method = any("self" in call.runtime for _, call in plan.each() if call.target == target)
        found = plan_module.find(owner)
        monkeypatch.setattr(found, name, recorder(target, plan_module.find(target), method))
        for heir in heirs(found) if method else ():
            if name in vars(heir):
                monkeypatch.setattr(heir, name, recorder(target, getattr(heir, name), method))
    return made


def heirs(owner: type) -> set[type]:
    return {heir for child in owner.__subclasses__() for heir in {child, *heirs(child)}}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"adapter": None, "val_set_size": 0.2, "generation_temperature": 0.7, "special_tokens": {"pad_token": "<pad>"}},
        {"adapter": "qlora", "load_in_4bit": True, "sample_packing": True, "chat_template": "chatml"},
    ],
    ids=["lora", "full", "qlora packed"],
)
def test_a_run_makes_exactly_the_planned_calls(
    changes: dict[str, Any], write_recipe: Any, finetune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets  # noqa: F401 - patched names must exist before the recorder looks them up
    import peft  # noqa: F401
    import trl  # noqa: F401

    path = write_recipe(**changes)
    plan = resolve(load_recipe(path).recipe, probe())
    made = record(monkeypatch, plan)
    code, _, err = finetune(path)
    assert code == 0, err
    wanted = {call.target for _, call in plan.each()}
    assert {target for target, _, _ in made} == wanted, "a planned call was never made"
    planned: dict[str, list[Call]] = {}
    for _, call in plan.each():
        planned.setdefault(call.target, []).append(call)
    for target, calls in planned.items():
        for call in calls:
            same = [named for made_target, named, _ in made if made_target == target]
            assert any(all(named.get(key) == value for key, value in call.arguments.items()) for named in same), (
                f"{target} was never called with {call.arguments}"
            )
    for target, named, objects in made:
        fits = [
            call
            for call in planned[target]
            if set(named) | objects == set(call.arguments) | set(call.runtime)
            and all(named[key] == value for key, value in call.arguments.items())
        ]
        assert fits, f"{target} was called with {named}"


def test_every_source_of_several_is_read(
    write_recipe: Any, finetune: Any, sharegpt: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(sharegpt.read_text().splitlines()[0] + "\n")
    path = write_recipe(datasets=[{"path": str(sharegpt)}, {"path": str(other)}], test_datasets=[{"path": str(other)}])
    made = record(monkeypatch, resolve(load_recipe(path).recipe, probe()))
    assert finetune(path)[0] == 0
    read = [(named["purpose"], named["path"]) for target, named, _ in made if target.endswith(".open_source")]
    assert read == [("train", str(sharegpt)), ("train", str(other)), ("validation", str(other))]


def test_a_call_with_another_runtime_object_is_refused() -> None:
    with pytest.raises(AssertionError, match="runtime"):
        plan_module.perform(Call("json.dumps", {}, runtime=("obj",)), other=1)
