"""A Plan -> the memory that it takes: finds the model's sizes, reads the planned work, estimates. The one door to the
other modules for whoever has a Plan."""

from collections.abc import Sequence
from dataclasses import dataclass

from finetune.memory.estimate import Estimate, Pass, estimated
from finetune.memory.finding import Found, found
from finetune.memory.passes import largest_pass
from finetune.memory.work import Work, work_of
from finetune.plan import Plan


@dataclass(frozen=True)
class Foresight:
    """What is known of a Plan's memory. `processes`: those of the run, where they share the weights out."""

    model: Found
    work: Work
    processes: int = 1

    def with_largest(self, largest: Pass) -> Estimate:
        return estimated(self.model.shape, self.work, largest, self.processes)

    def of_rows(self, lengths: Sequence[int] | None = None, learned: float = 1.0) -> Estimate:
        """With the largest pass that can come; of rows as long as they may be, where their lengths are not known."""
        return self.with_largest(largest_pass(self.work.rows, lengths, learned))


def foresee(plan: Plan, processes: int = 1) -> Foresight | str:
    """Foresight, or why there is none."""
    check = plan.one("load", "check_checkpoint")
    assert check is not None
    model = found(check.arguments["base_model"], check.arguments["revision"])
    return model if isinstance(model, str) else Foresight(model, work_of(plan, model.shape), processes)
