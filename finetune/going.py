"""From where a training goes on, and what its checkpoints say about it. Hands the keeper what it needs; writes only the
metrics that another run's checkpoint brings along."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune import progress
from finetune.checkpoints import Checkpoint
from finetune.rundir import RunDir
from finetune.stopping import StopRequest

if TYPE_CHECKING:
    from pathlib import Path

    from finetune.watch import Watcher


NOT_OF_STEPS = ("resumed.jsonl", "skipped_rows.jsonl")


def growing(run: "Path") -> list["Path"]:
    """The files of a run to which training adds lines."""
    return [path for path in run.glob("*.jsonl") if path.name not in NOT_OF_STEPS]


@dataclass
class Surroundings:
    """What a Keeper needs of the run around it. `facts`: what is sealed with each checkpoint; `before`: the metrics of
    before the first step. `changed`: keys whose new value counts from here on. `fresh`: hyperparameters as the recipe
    has them now."""

    trainer: Any
    watcher: "Watcher"
    stop: StopRequest
    folder: "Path"
    facts: Mapping[str, Any]
    seed: int
    resumed: Checkpoint | None = None
    changed: tuple[str, ...] = ()
    fresh: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Going:
    """`changed`: keys that count anew from the checkpoint on. `facts`: what is sealed with new ones. `run`: the run's
    folder, where a process writes its own lines elsewhere."""

    checkpoint: Checkpoint | None
    changed: tuple[str, ...]
    facts: Mapping[str, Any]
    run: "Path | None" = None

    @property
    def until(self) -> Mapping[str, Any]:
        """What the checkpoint says of the training before it; empty where there was none."""
        return self.checkpoint.facts if self.checkpoint else {}

    def metrics_in(self, folder: RunDir) -> "Path":
        """The file of metrics. It, and the other files that grow line by line, hold what they held when the checkpoint
        was written, also where that was another run's."""
        if self.checkpoint is None:
            return folder.metrics
        run = self.checkpoint.path.parent.parent
        held = {folder.metrics.name: self.until["metrics_bytes"], **self.until["lines"]}
        for old in growing(run):
            (folder.path / old.name).write_bytes(old.read_bytes()[: held.get(old.name, 0)])
        return folder.metrics

    def surroundings(self, trainer: Any, watcher: Any, stop: StopRequest, folder: RunDir) -> Surroundings:
        fresh = None
        if self.changed:
            trainer.create_optimizer()  # before the checkpoint's is loaded over it
            fresh = progress.hyperparameters(trainer.optimizer)
        seed = trainer.args.seed if trainer.args.data_seed is None else trainer.args.data_seed
        around = Surroundings(trainer, watcher, stop, self.run or folder.path, self.facts, seed)
        around.resumed, around.changed, around.fresh = self.checkpoint, self.changed, fresh
        return around
