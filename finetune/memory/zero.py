"""What DeepSpeed's ZeRO leaves on each GPU: parts of optimizer, gradients and weights, and what is whole for a while.
Knows planned work and sizes; reads no file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from finetune.memory.optimizers import state_bytes, step_bytes
from finetune.memory.shapes import Shape
from finetune.memory.weights import Weights, bytes_of, rest_bytes
from finetune.memory.work import Work

LIVE = 10**9
"""Numbers that ZeRO-3 lets lie whole at a time, unless it is told otherwise."""
AT_A_TIME = 2
"""Blocks that are whole at the least: the one in use, and the next, which is fetched meanwhile."""
MASTER = 4
"""Bytes of a number in the optimizer, which has a float32 copy of what it trains."""


@dataclass(frozen=True)
class Share:
    """Bytes of one GPU. `gradients`: at the end of a backward pass; `states`: of the optimizer, with its copy of
    what it trains, if it has one; `step`: what exists only while a step is made; `buckets`: gradients on their way."""

    weights: Weights
    gradients: float
    states: float
    step: float
    buckets: float = 0.0


def share_of(shape: Shape, work: Work, weights: Weights, processes: int) -> Share:
    assert work.zero is not None
    stage, given = int(work.zero["stage"]), work.zero
    # DeepSpeed turns what is trained into bfloat16, modules trained whole with it.
    number_bytes = 2 if work.mixed else weights.number_bytes
    together = (*weights.trained, *weights.copies)
    adapter = bytes_of(together, number_bytes) if weights.adapter else 0.0
    weights = replace(weights, adapter=adapter, number_bytes=number_bytes, trained=together, copies=())
    away = {name: _is_away(given, name) for name in ("optimizer", "param")}
    trained = tuple((-(-size // processes), count) for size, count in weights.trained)
    part = sum(size * count for size, count in trained)
    copy = part * MASTER if weights.number_bytes < MASTER else 0
    # The numbers' own type is the optimizer's here: float32.
    states = 0.0 if away["optimizer"] else state_bytes(work.optimizer, trained, MASTER) + copy
    step = 0.0 if away["optimizer"] else step_bytes(work.optimizer, trained, MASTER) + copy
    gradients = weights.gradients
    if stage > 1:
        gradients = 0.0 if away["optimizer"] else float(part * weights.number_bytes)
    bucket = given.get("reduce_bucket_size", "auto")
    numbers = shape.hidden**2 if bucket == "auto" else min(int(bucket), weights.learned)
    held = _held(shape, work, weights, (processes, away["param"])) if stage == 3 else weights
    return Share(held, gradients, states, step, float(numbers * weights.number_bytes * (2 if stage < 3 else 1)))


def _is_away(given: Mapping[str, Any], what: str) -> bool:
    return (given.get(f"offload_{what}") or {}).get("device") == "cpu"


def _held(shape: Shape, work: Work, weights: Weights, among: tuple[int, bool]) -> Weights:
    """`among`: how many GPUs, and whether the parts lie in the CPU's memory. Scales of 4-bit weights are not cut."""
    assert work.zero is not None
    processes, away = among
    block = sum(matrix.weights for matrix in shape.matrices) * (0.5 if work.bits == 4 else work.dtype_bytes)
    least = AT_A_TIME * block + shape.embedding_weights * rest_bytes(work)
    live = work.zero.get("stage3_max_live_parameters", LIVE)
    # Two numbers of 4 bits count as one of a byte.
    whole = min(weights.base, max(least, (LIVE if live == "auto" else live) * (1 if work.bits else work.dtype_bytes)))
    kept = 0.0 if away else 1 / processes
    return replace(weights, base=weights.base * kept + whole, adapter=weights.adapter * kept)
