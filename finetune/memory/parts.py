"""Weights that are shared out over the GPUs of a run (FSDP2): what of them each GPU holds. Knows planned work and
sizes; reads no file."""

from dataclasses import dataclass, replace

from finetune.memory.shapes import Shape
from finetune.memory.weights import Weights, rest_bytes
from finetune.memory.work import Work

AT_A_TIME = 2
"""Blocks whose weights are gathered: the one in use, and the next, which is fetched meanwhile."""


@dataclass(frozen=True)
class Parts:
    """`count`: over how many GPUs. `gathered`: bytes of the weights that are whole for a while. `offloaded`: whether
    the parts are kept in the CPU's memory."""

    count: int
    gathered: float
    offloaded: bool


def parts_of(shape: Shape, work: Work, weights: Weights, processes: int) -> Parts | None:
    """None where each GPU holds the whole model."""
    if work.fsdp is None:
        return None
    block = sum(matrix.weights for matrix in shape.matrices) * (0.5 if work.bits == 4 else work.dtype_bytes)
    ends = shape.embedding_weights * rest_bytes(work)
    whole = work.lora is None and work.other_adapter is None
    # A block's gradient is whole until it is dealt out.
    gathered = ends + block * (AT_A_TIME + (1 if whole else 0))
    if not work.fsdp.reshard:
        gathered = max(weights.base, gathered)
    return Parts(processes, gathered, work.fsdp.offloaded)


def part_of(weights: Weights, parts: Parts) -> Weights:
    """What one GPU holds. Scales of quantized weights are not cut: each GPU has them all."""
    held = 0.0 if parts.offloaded else 1 / parts.count
    trained, copies = (
        () if parts.offloaded else _cut(sizes, parts.count) for sizes in (weights.trained, weights.copies)
    )
    return replace(
        weights,
        base=weights.base * held + parts.gathered,
        adapter=weights.adapter * held,
        trained=trained,
        copies=copies,
        embeddings=int(weights.embeddings * held),
    )


def _cut(sizes: tuple[tuple[int, int], ...], count: int) -> tuple[tuple[int, int], ...]:
    return tuple((-(-size // count), tensors) for size, tensors in sizes)
