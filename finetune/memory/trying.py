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
    parts = any(call.arguments.get("fsdp") or call.arguments.get("deepspeed") for call in plan.stage("train"))
    known = None if parts else foresee(plan)  # of weights in parts nothing is foreseen

    def estimate(largest: Pass) -> Estimate | None:
        return known.with_largest(largest) if isinstance(known, Foresight) else None

    def patch(largest: Pass | None) -> str:
        del largest
        return mending.told(mending.of_memory(as_planned(plan, keys)), goes_on=False)

    return First(estimate, patch)


def as_planned(plan: Plan, keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys with what was planned in the place of `auto`."""
    config = next(call for call in plan.stage("train") if "per_device_train_batch_size" in call.arguments).arguments
    at_once = config.get("tokens_per_pass")
    planned = {
        "tokens_per_pass": at_once,
        "micro_batch_size": 1 if at_once else config["per_device_train_batch_size"],
        "gradient_checkpointing": bool(config.get("gradient_checkpointing")),
        "load_in_4bit": plan.one("load", "BitsAndBytesConfig") is not None,
    }
    left = [key for key, value in keys.items() if value == "auto" and key in planned]
    if "micro_batch_size" in left:
        left.append("tokens_per_pass")
    changed = {key: planned[key] for key in left}
    if "micro_batch_size" in left:
        changed["gradient_accumulation_steps"] = config["gradient_accumulation_steps"]
    return {**keys, **changed}
