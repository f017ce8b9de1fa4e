"""The memory of a checked recipe, for the commands: what is foreseen, what is said of it, and the fault where it does
not fit. Estimates nothing itself."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune.errors import Fault

if TYPE_CHECKING:
    from finetune.machine import Machine
    from finetune.memory.fitting import Data
    from finetune.plan import Plan
    from finetune.recipe.load import Checked

CODE = "FT030"


@dataclass(frozen=True)
class Memory:
    """`lines`: for a person; `faults`: that it does not fit, at the recipe's line; `as_json`: for programs."""

    lines: tuple[str, ...]
    faults: tuple[Fault, ...]
    as_json: dict[str, Any]


def memory_of(checked: "Checked", plan: "Plan", machine: "Machine", data: "Data | None" = None) -> Memory:
    """What is known of the memory that a Plan takes on a machine."""
    from finetune.memory.fitting import Data, verdict
    from finetune.memory.foreseeing import foresee
    from finetune.memory.telling import does_not_fit, lines_of

    known, data = foresee(plan), data or Data()
    if isinstance(known, str):
        return Memory((f"memory is not estimated: {known}",), (), {"unknown": known})
    judged = verdict(known, machine, data)
    estimate = judged.estimate if judged else known.of_rows(data.lengths, data.learned)
    facts = estimate.as_json() | {"model": known.model.source, "coarse": list(known.work.unmeasured)}
    faults: tuple[Fault, ...] = ()
    if judged is not None:
        change = None if judged.fits else _change(checked, machine, data)
        facts |= {"gpu": judged.gpu, "fits": judged.fits, "change": change}
        if not judged.fits:
            where = checked.source.where(("base_model",))
            faults = (Fault(does_not_fit(judged, change), where, "warning", CODE),)
    return Memory(tuple(lines_of(known, estimate, judged, data)), faults, facts)


def _change(checked: "Checked", machine: "Machine", data: "Data") -> dict[str, Any] | None:
    from finetune.memory.fitting import smallest_change
    from finetune.resolve import resolve

    return smallest_change(checked.recipe, machine, resolve, data)
