"""The Plan: every library call a run will make, as plain JSON values. Knows no recipe, no machine and no library."""

import functools
import importlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

STAGES = ("load", "format", "adapt", "train", "save", "generate")


@dataclass(frozen=True)
class Call:
    """One call: a dotted target, its keyword arguments as JSON values, and the parameters filled at run time.

    `frozen`: arguments that no key of a recipe reaches, passed so that a library's new default changes nothing."""

    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    runtime: tuple[str, ...] = ()
    frozen: frozenset[str] = field(default=frozenset(), compare=False)

    def as_json(self) -> dict[str, Any]:
        return {"target": self.target, "arguments": dict(self.arguments), "runtime": list(self.runtime)}


@dataclass(frozen=True)
class Plan:
    """What a run will do. `notes` explain choices; `blockers` are why this machine could not run it."""

    backend: str
    calls: Mapping[str, tuple[Call, ...]]
    notes: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()

    @functools.cached_property
    def texts(self) -> dict[str, str]:
        """Each stage's calls to the letter; by what is equal, 1 would be True."""
        return {stage: repr(calls) for stage, calls in self.calls.items()}

    def stage(self, name: str) -> tuple[Call, ...]:
        return self.calls[name]

    def one(self, stage: str, target: str) -> Call | None:
        """The stage's call whose target ends in `target`, or None where the recipe asks for none."""
        found = [call for call in self.calls[stage] if call.target.endswith(target)]
        assert len(found) <= 1, f"{target} is planned {len(found)} times in {stage}"
        return found[0] if found else None

    @property
    def has_adapter(self) -> bool:
        """Whether what is saved is an adapter, not a whole model."""
        return self.one("save", "PeftModel.save_pretrained") is not None

    @property
    def fixed_order(self) -> bool:
        """Whether training uses kernels alone whose sums have a fixed order."""
        return any(call.arguments.get("full_determinism") for call in self.calls["train"])

    def each(self) -> Iterator[tuple[str, Call]]:
        for stage in STAGES:
            for call in self.calls[stage]:
                yield stage, call

    def as_json(self) -> dict[str, Any]:
        return {
            "backend": self.backend,
            "notes": list(self.notes),
            "blockers": list(self.blockers),
            "stages": {stage: [call.as_json() for call in self.calls[stage]] for stage in STAGES},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Plan":
        calls = {
            stage: tuple(Call(call["target"], call["arguments"], tuple(call["runtime"])) for call in calls)
            for stage, calls in data["stages"].items()
        }
        return cls(data["backend"], calls, tuple(data["notes"]), tuple(data["blockers"]))


def moved_stages(one: Plan, other: Plan) -> frozenset[str]:
    """The stages whose calls differ between two plans, compared as the JSON that would be stored."""

    def text(plan: Plan, stage: str) -> str:
        return json.dumps([call.as_json() for call in plan.calls[stage]], sort_keys=True)

    return frozenset(stage for stage in STAGES if text(one, stage) != text(other, stage))


def find(target: str) -> Any:
    """The object a dotted target names, importing the longest module prefix.

    A lookup at each call (not a stored reference), so that a recorder or a patching library is seen."""
    parts = target.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError as missing:
            # Only a missing piece of the target itself means "try a shorter prefix"; a broken dependency must be seen.
            if missing.name is None or not ".".join(parts[:cut]).startswith(missing.name):
                raise
            continue
        for name in parts[cut:]:
            found = getattr(found, name)
        return found
    raise ModuleNotFoundError(target)


def perform(call: Call, **runtime: Any) -> Any:
    """Make the call with exactly its planned arguments plus the run-time objects it announced.

    A method call names its object `self` in `runtime`."""
    assert set(runtime) == set(call.runtime), f"{call.target}: runtime {sorted(runtime)} is not {sorted(call.runtime)}"
    owner = runtime.pop("self", None)
    if owner is not None:
        return getattr(owner, call.target.rsplit(".", 1)[1])(**call.arguments, **runtime)
    return find(call.target)(**call.arguments, **runtime)
