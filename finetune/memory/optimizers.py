"""Bytes that an optimizer keeps for each trained number, and what its step takes besides. Only a table and its
reading."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_SCALES = 4 / 256
"""bitsandbytes keeps a float32 scale for 256 numbers of 8 bits."""
WHOLE_BELOW = 4096
"""Numbers below which bitsandbytes keeps a tensor's states in 32 bits."""
PAGED_FROM = 100_000
"""Numbers from which it keeps them in paged memory."""


@dataclass(frozen=True)
class States:
    """`like`: copies in the trained numbers' own type. `fixed`: further bytes a number. `step`: copies, in the numbers'
    own type, that exist while the step is made; `each`: bytes a number of one tensor at a time, `casts`: further ones
    where numbers have 16 bits, `left`: those that the tensor before leaves until then. `paged`: large tensors' states
    lie in memory that the driver moves, and that PyTorch does not count."""

    like: float = 0.0
    fixed: float = 0.0
    step: float = 0.0
    each: float = 0.0
    casts: float = 0.0
    left: float = 0.0
    paged: bool = False
    bits: int = 32


_8BIT = 1 + _SCALES
STATES: Mapping[str, States] = {
    "adamw_torch": States(like=2, step=1),
    "adamw_torch_fused": States(like=2),
    **dict.fromkeys(("adamw_8bit", "adamw_bnb_8bit"), States(fixed=2 * _8BIT, bits=8)),
    "paged_adamw_8bit": States(fixed=2 * _8BIT, paged=True, bits=8),
    "paged_adamw_32bit": States(fixed=8, paged=True),
    "paged_ademamix_8bit": States(fixed=3 * _8BIT, paged=True, bits=8),
    "paged_ademamix_32bit": States(fixed=12, paged=True),
    "paged_lion_8bit": States(fixed=_8BIT, paged=True, bits=8),
    "paged_lion_32bit": States(fixed=4, paged=True),
    "adamw_torch_8bit": States(fixed=2 * _8BIT, step=1),
    "adamw_torch_4bit": States(fixed=2 * (0.5 + 4 / 128), step=1),
    "adafactor": States(fixed=0.02, each=8, casts=8, left=4),
    "sgd": States(),
    "adagrad": States(like=1, step=1),
    "rmsprop": States(like=1, step=1),
    "rmsprop_bnb": States(fixed=4),
    "rmsprop_bnb_32bit": States(fixed=4),
    "rmsprop_bnb_8bit": States(fixed=_8BIT, bits=8),
    "ademamix": States(fixed=12),
    "ademamix_8bit": States(fixed=3 * _8BIT, bits=8),
    "lion_32bit": States(fixed=4),
    "lion_8bit": States(fixed=_8BIT, bits=8),
    # Of compressed gradients the share that is kept hangs on the rank; a quarter is what is usual.
    "galore_adamw": States(like=0.5, step=1),
    "galore_adamw_8bit": States(fixed=0.5, step=1),
    "galore_adafactor": States(like=0.25, step=1),
    "apollo_adamw": States(like=0.5, step=1),
    "schedule_free_adamw": States(like=2, step=1),
    "schedule_free_radam": States(like=2, step=1),
    "schedule_free_sgd": States(like=1, step=1),
    "stable_adamw": States(like=2, step=1),
    "optimi_adamw": States(like=2, step=1),
    "grokadamw": States(like=3, step=1),
    "muon": States(like=1.2, step=1),
    "came_pytorch": States(like=1.05, each=12),
}
"""Optimizer -> its states."""
Sizes = Sequence[tuple[int, int]]
"""(numbers of a tensor, how many tensors are of that size)"""


def state_bytes(optimizer: str, sizes: Sizes, number_bytes: int) -> float:
    """Bytes of the states of the trained tensors, each number of which has so many bytes."""
    states = STATES.get(optimizer, STATES["adamw_torch"])
    total = 0.0
    for numbers, count in sizes:
        if states.paged and numbers >= PAGED_FROM:
            continue
        fixed = states.fixed
        if states.bits == 8 and numbers < WHOLE_BELOW:
            fixed = 4 * round(states.fixed / _8BIT)
        total += count * numbers * (states.like * number_bytes + fixed)
    return total


def of_embeddings(optimizer: str, numbers: int) -> float:
    """What they take besides: of embeddings, optimizers of 8 bits keep states in 32."""
    states = STATES.get(optimizer, STATES["adamw_torch"])
    return numbers * (4 * round(states.fixed / _8BIT) - states.fixed) if states.bits == 8 and not states.paged else 0.0


def step_bytes(optimizer: str, sizes: Sizes, number_bytes: int) -> float:
    """Bytes that exist while a step is made, besides weights, gradients and states."""
    states = STATES.get(optimizer, STATES["adamw_torch"])
    numbers = sum(numbers * count for numbers, count in sizes)
    largest, count = max(sizes, default=(0, 0))
    # Of two as large the second, an output head, comes after the blocks.
    before = max((size for size, _ in sizes if size < largest), default=0) if count > 1 else 0
    each = states.each + (states.casts if number_bytes < 4 else 0)
    return numbers * states.step * number_bytes + largest * each + before * states.left
