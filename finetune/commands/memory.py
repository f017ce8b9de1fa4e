"""The memory of a checked recipe, for the commands: what is foreseen, what is said of it, and the fault where it does
not fit. Estimates nothing itself."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune.errors import Fault, MachineError

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


def memory_of(checked: "Checked", plan: "Plan", machine: "Machine") -> Memory:
    """What is known of the memory that a Plan takes on a machine."""
    from finetune.memory.fitting import verdict
    from finetune.memory.foreseeing import foresee
    from finetune.memory.lengths import remembered
    from finetune.memory.telling import does_not_fit, lines_of

    known, data = foresee(plan, machine.processes), remembered(plan)
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


def before_loading(checked: "Checked", plan: "Plan", machine: "Machine", prepared: Any) -> str:
    """What to say of memory once the rows are known and nothing is loaded. MachineError if they surely do not fit."""
    from finetune.memory.fitting import Data, verdict
    from finetune.memory.foreseeing import foresee
    from finetune.memory.lengths import data_of
    from finetune.memory.telling import does_not_fit, in_short

    known, data = foresee(plan, machine.processes), data_of(prepared) or Data()
    if isinstance(known, str):
        return f"memory is not estimated: {known}" if machine.cuda else ""
    judged = verdict(known, machine, data)
    if judged is None or judged.fits:
        return in_short(judged) if judged else ""
    told = does_not_fit(judged, _change(checked, machine, data))
    if judged.impossible:
        raise MachineError(told)
    return f"warning: {told}"


def _change(checked: "Checked", machine: "Machine", data: "Data") -> dict[str, Any] | None:
    from finetune.commands.checking import settled_by_memory
    from finetune.memory.fitting import smallest_change
    from finetune.resolve import resolve

    return smallest_change(settled_by_memory(checked, machine).recipe, machine, resolve, data)
