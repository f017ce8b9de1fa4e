"""The runs of a proof: a recipe's values -> a file, the Plan of a machine without a GPU with a witness beside the
trainer, and the ordinary runner, whose words go to a log. Decides nothing about values."""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from finetune import methods
from finetune.errors import MachineError
from finetune.machine import Machine
from finetune.plan import Call, Plan
from finetune.recipe.compose import dumped
from finetune.recipe.load import Checked, load_recipe
from finetune.resolve import resolve
from finetune.runner import Request, run

SIGNALS = 128
"""Exit codes above it are those of signals."""


@dataclass(frozen=True)
class Made:
    """A run that came to its end."""

    folder: Path
    checked: Checked
    plan: Plan

    @property
    def metrics(self) -> list[dict[str, Any]]:
        lines = (self.folder / "metrics.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]

    @property
    def losses(self) -> list[float]:
        return [float(line["loss"]) for line in self.metrics if "loss" in line and line["step"]]

    @property
    def witness(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "witness.json").read_text("utf-8"))
        return found

    def tensors(self) -> dict[str, Any]:
        """What was trained, as it was saved."""
        from safetensors.torch import load_file

        folder = next(self.folder / name for name in ("adapter", "model") if (self.folder / name).is_dir())
        found: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            found |= load_file(path)
        return found


@dataclass(frozen=True)
class Bench:
    """Where runs are made: a folder, and this machine without its GPUs."""

    folder: Path
    machine: Machine

    @property
    def log(self) -> Path:
        return self.folder / "proof.log"

    def planned(self, name: str, values: Mapping[str, Any]) -> tuple[Checked, Plan]:
        """The recipe of these values, checked, and its plan. MachineError where something that it needs is missing."""
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**values, "output_dir": str(self.folder / name)}, sort_keys=False), "utf-8")
        checked = load_recipe(path)
        plan = resolve(checked.recipe, self.machine)
        if plan.blockers:
            raise MachineError(*plan.blockers)
        return checked, plan

    def made(self, name: str, values: Mapping[str, Any]) -> Made:
        """A run of these values. FinetuneError as of any run."""
        checked, plan = self.planned(name, values)
        folder = self.folder / name
        with self.quiet():
            code = run(self._request(name, checked), self._watched(checked, plan, folder), self.machine)
        if code > SIGNALS:
            # Stopped in training, which saves and goes on: a proof ends.
            stop = KeyboardInterrupt()
            stop.number = code - SIGNALS  # type: ignore[attr-defined]
            raise stop
        return Made(folder, checked, plan)

    def _request(self, name: str, checked: Checked) -> Request:
        keys = checked.recipe.model_dump(mode="json")
        return Request(self.folder / f"{name}.yaml", [], checked.recipe.output_dir, dumped(checked.source), keys)

    def _watched(self, checked: Checked, plan: Plan, folder: Path) -> Plan:
        kind = methods.of(checked.recipe).kind
        arguments = {"folder": str(folder), "kind": "scored" if checked.recipe.reward_model else kind}
        witness = Call("finetune.proving.witness.watch", arguments, runtime=("trainer",))
        return replace(plan, calls={**plan.calls, "train": (witness, *plan.calls["train"])})

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """What is said goes to the proof's log."""
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                yield
        finally:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(said.getvalue())
