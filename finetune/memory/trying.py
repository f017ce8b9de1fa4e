"""The trial of the largest batch, made ready for a run: what is foreseen of its Plan, and what a memory too small is
told.

Imports transformers: only the stages import this module, once the backend is ready."""

from collections.abc import Mapping
from typing import Any

from finetune import mending
from finetune.memory.estimate import Estimate, Pass
from finetune.memory.first import First
from finetune.memory.foreseeing import Foresight, foresee
from finetune.plan import Plan


def first_of(plan: Plan, keys: Mapping[str, Any]) -> First:
    """`keys`: the recipe's, of which a change is proposed."""
    known = foresee(plan)

    def estimate(largest: Pass) -> Estimate | None:
        return known.with_largest(largest) if isinstance(known, Foresight) else None

    def patch(largest: Pass | None) -> str:
        del largest
        return mending.told(mending.of_memory(keys), goes_on=False)

    return First(estimate, patch)
