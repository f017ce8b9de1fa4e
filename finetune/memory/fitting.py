"""Whether a recipe fits a GPU, and the smallest change with which it would. Tries changes by planning them; runs
nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.errors import FinetuneError
from finetune.machine import Machine
from finetune.memory.estimate import GIB, Estimate, Pass
from finetune.memory.foreseeing import Foresight, foresee
from finetune.plan import Plan
from finetune.recipe.recipe import Recipe
from finetune.recipe.rules import broken_rules

Resolve = Callable[[Recipe, Machine], Plan]
SMALLEST = 64
"""Tokens below which sequence_len is no more halved."""
CERTAIN = 0.85
"""Share of an estimate above which no real peak was ever below."""


@dataclass(frozen=True)
class Data:
    """What is known of the rows. `lengths`: of the longest ones, in tokens; `rows`, `tokens`: of all; `learned`: the
    share of tokens that the loss counts."""

    lengths: Sequence[int] | None = None
    rows: int = 0
    tokens: int = 0
    learned: float = 1.0

    @property
    def mean(self) -> float | None:
        """Tokens of a row."""
        return self.tokens / self.rows if self.rows else None


@dataclass(frozen=True)
class Verdict:
    """A Plan on a GPU. `impossible`: it cannot fit, whatever the estimate is off by."""

    gpu: str
    gpu_bytes: float
    estimate: Estimate
    fits: bool
    impossible: bool


def verdict(known: Foresight, machine: Machine, data: Data) -> Verdict | None:
    """None where the machine has no GPU whose memory is known."""
    if not machine.gpus or not machine.gpus[0].memory_gib:
        return None
    gpu, room = machine.gpus[0], machine.gpus[0].memory_gib * GIB
    estimate = known.of_rows(data.lengths, data.learned)
    least = estimate if data.lengths is not None else known.with_largest(Pass(1, 1, 1))
    impossible = least.peak * CERTAIN > room and not known.work.unmeasured
    return Verdict(gpu.name, room, estimate, estimate.needed <= room, impossible)


def smallest_change(recipe: Recipe, machine: Machine, resolve: Resolve, data: Data) -> dict[str, Any] | None:
    """The keys with which it would fit; None where none of the known changes is enough."""
    for change in _changes(recipe):
        changed = recipe.model_copy(update=change)
        if broken_rules(changed.model_dump(exclude_unset=True, exclude_none=True)):
            continue  # what the way of sharing a model out does not go with
        try:
            known = foresee(resolve(changed, machine), machine.processes)
        except FinetuneError:
            continue
        found = verdict(known, machine, data) if isinstance(known, Foresight) else None
        if found is not None and found.fits:
            return change
    return None


def _changes(recipe: Recipe) -> Iterator[dict[str, Any]]:
    """From the one that costs least to those that change what is trained."""
    smaller = list(_smaller_passes(recipe))
    again = {} if recipe.gradient_checkpointing else {"gradient_checkpointing": True}
    yield from smaller[:1]
    if again:
        yield again
    yield from smaller[1:]
    if again:
        yield from (change | again for change in smaller)
    harder = (smaller[-1] if smaller else {}) | again
    lighter = list(_smaller_weights(recipe))
    for lighter_weights in lighter:
        yield from (passes | lighter_weights for passes in ({}, again, harder))
    last = lighter[-1] if lighter else {}
    length = recipe.sequence_len // 2
    while length >= SMALLEST:
        yield from ({"sequence_len": length}, again | {"sequence_len": length})
        yield harder | last | {"sequence_len": length}
        length //= 2


def _smaller_passes(recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Fewer tokens at a time, with as many rows in a step as before."""
    tokens, micro = recipe.tokens_per_pass, recipe.micro_batch_size
    if isinstance(tokens, int):
        while tokens > recipe.sequence_len:
            tokens = max(tokens // 2, recipe.sequence_len)
            yield {"tokens_per_pass": tokens}
        return
    if not isinstance(micro, int):
        return
    rows = micro * recipe.gradient_accumulation_steps
    for fewer in range(micro - 1, 0, -1):
        if rows % fewer == 0:
            yield {"micro_batch_size": fewer, "gradient_accumulation_steps": rows // fewer}


def _smaller_weights(recipe: Recipe) -> Iterator[dict[str, Any]]:
    quantized = recipe.load_in_4bit or recipe.load_in_8bit or recipe.load_in_torchao
    if recipe.adapter is None:
        if recipe.optimizer in ("adamw_torch", "adamw_torch_fused"):
            yield {"optimizer": "adamw_8bit"}
        yield {"adapter": "lora", "learning_rate": max(recipe.learning_rate, 1e-4)}
    if recipe.adapter in (None, "lora") and not quantized:
        change: Mapping[str, Any] = {"adapter": "qlora", "load_in_4bit": True}
        rate = {"learning_rate": max(recipe.learning_rate, 1e-4)} if recipe.adapter is None else {}
        yield {**change, **rate}
