"""`auto` -> values: of all that fit the GPU, the fastest. Plans each and estimates its memory and its time; runs
nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from finetune.derived import effective_batch
from finetune.errors import FinetuneError
from finetune.machine import Machine
from finetune.memory.estimate import GIB, Estimate
from finetune.memory.fitting import Data, Resolve, verdict
from finetune.memory.foreseeing import Foresight, foresee
from finetune.memory.lengths import remembered
from finetune.memory.passes import largest_pass
from finetune.recipe.auto import chosen_by_memory, smallest
from finetune.recipe.recipe import Recipe

LAUNCHES_SECONDS = 0.008
"""A block's forward and backward take at least so long, however few tokens there are: the host starts them one by one.
Measured on an H100's host with 2,048 tokens a pass."""
UNSLOTH_ROW = 0.5
"""With Unsloth, where attention goes row by row, a pass of several rows is started so much as often for each: 1,190
tokens a second at 8 rows a pass and 1,430 at 2, on the same host."""
RATES = ((60.0, 4e14), (30.0, 1.5e14), (0.0, 7e13))
"""(GiB of a GPU from which it calculates, operations a second)"""
UNPACKED = 1.06
"""How much longer a token takes in 4 bits."""


@dataclass(frozen=True)
class Settled:
    """`changes`: the keys that were `auto`, and those that follow; `notes`: why."""

    recipe: Recipe
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Option:
    changes: dict[str, Any]
    seconds: float
    estimate: Estimate
    fits: bool


def settled(recipe: Recipe, machine: Machine, resolve: Resolve, data: Data | None = None) -> Settled:
    """The recipe with values in the place of `auto`, the fastest that fit; where that cannot be told, those that take
    least."""
    wanted = chosen_by_memory(recipe)
    if not wanted:
        return Settled(recipe)
    options, why = _options(recipe, machine, resolve, data or remembered(resolve(smallest(recipe), machine)))
    if why or not options:
        small = smallest(recipe)
        reason = why or "nothing fits as it is"
        return Settled(small, (f"{_said(wanted, small)}: what takes least memory, because {reason}",))
    fitting = [option for option in options if option.fits]
    if not fitting:
        least = min(options, key=lambda option: option.estimate.needed)
        made = recipe.model_copy(update=least.changes)
        note = f"{_said(wanted, made)}: what takes least memory, and it still does not fit"
        return Settled(made, (note,))
    best = min(fitting, key=lambda option: (option.seconds, option.estimate.needed))
    made = recipe.model_copy(update=best.changes)
    return Settled(made, (_reason(wanted, made, best, options, machine),))


def _options(recipe: Recipe, machine: Machine, resolve: Resolve, data: Data) -> tuple[list[_Option], str]:
    if not machine.gpus:
        return [], "there is no GPU"
    if not machine.gpus[0].memory_gib:
        return [], f"{machine.gpus[0].name} does not say how much memory it has"
    options: list[_Option] = []
    for changes in _combinations(recipe, machine, resolve):
        try:
            known = foresee(resolve(recipe.model_copy(update=changes), machine), machine.processes)
        except FinetuneError:
            continue
        if isinstance(known, str):
            return [], known
        judged = verdict(known, machine, data)
        assert judged is not None
        options.append(_Option(changes, step_seconds(known, machine, data), judged.estimate, judged.fits))
    return options, ""


def _combinations(recipe: Recipe, machine: Machine, resolve: Resolve) -> Iterator[dict[str, Any]]:
    wanted = chosen_by_memory(recipe)
    bits = ([False, True] if recipe.adapter else [False]) if "load_in_4bit" in wanted else [recipe.load_in_4bit]
    again = [False, True] if "gradient_checkpointing" in wanted else [recipe.gradient_checkpointing]
    for load_in_4bit in bits:
        for checkpointing in again:
            fixed = {"load_in_4bit": load_in_4bit, "gradient_checkpointing": checkpointing}
            yield from (fixed | rows for rows in _rows(recipe, machine, resolve))


def _rows(recipe: Recipe, machine: Machine, resolve: Resolve) -> Iterator[dict[str, Any]]:
    """How the rows of a step may be divided into passes."""
    rows, length = effective_batch(recipe), recipe.sequence_len
    if recipe.micro_batch_size != "auto" and recipe.tokens_per_pass != "auto":
        yield {}
        return
    # Left open, the backend follows from how the rows come.
    open_backend = recipe.backend == "auto"
    flat = recipe.model_copy(update={"backend": "transformers"}) if open_backend else recipe
    if recipe.tokens_per_pass == "auto" or (recipe.tokens_per_pass is None and _lies_flat(flat, machine, resolve)):
        tokens = rows * length
        while tokens >= length:
            yield {"tokens_per_pass": tokens, **_micro(recipe, rows, max(tokens // length, 1))}
            tokens //= 2
        if recipe.tokens_per_pass == "auto" or not open_backend:
            return
    for micro in range(rows, 0, -1):
        if rows % micro == 0:
            yield {"micro_batch_size": micro, "gradient_accumulation_steps": rows // micro}


def _micro(recipe: Recipe, rows: int, most: int) -> dict[str, int]:
    """Rows at a time where no tokens are counted: when the validation rows are measured."""
    if recipe.micro_batch_size != "auto":
        return {}
    micro = next(count for count in range(min(most, rows), 0, -1) if rows % count == 0)
    return {"micro_batch_size": micro, "gradient_accumulation_steps": rows // micro}


def _lies_flat(recipe: Recipe, machine: Machine, resolve: Resolve) -> bool:
    plan = resolve(smallest(recipe), machine)
    return plan.one("train", "FlatSFTConfig") is not None


def step_seconds(known: Foresight, machine: Machine, data: Data, rate: float | None = None) -> float:
    """Of an optimizer step, roughly: what the host takes to start its work, or what the GPU takes to do it. `rate`:
    operations a second; unset, as the GPU's memory lets one suppose."""
    work, shape = known.work, known.model.shape
    rows = work.rows
    one = largest_pass(rows, data.lengths).tokens
    whole = rows.of_a_step * (rows.sequence_len if rows.packed else data.mean or rows.sequence_len)
    passes = max(whole / one, 1.0) if rows.tokens_per_pass else rows.passes
    learned = 2 if work.lora is None and work.other_adapter is None else 1
    parts = 2 + learned + (1 if work.checkpointing else 0)
    rate = rate or next(rate for gib, rate in RATES if machine.gpus[0].memory_gib >= gib)
    busy = whole / passes * 2 * shape.parameters * parts / rate * (UNPACKED if work.bits == 4 else 1)
    started = shape.layers * LAUNCHES_SECONDS * (4 / 3 if work.checkpointing else 1)
    if work.backend == "unsloth":
        started *= max(1.0, rows.micro * UNSLOTH_ROW)
    return passes * max(busy, started)


def _said(wanted: tuple[str, ...], made: Recipe) -> str:
    follows = {"micro_batch_size": ("micro_batch_size", "gradient_accumulation_steps", "tokens_per_pass")}
    keys = dict.fromkeys(key for one in wanted for key in follows.get(one, (one,)))
    shown = [f"{key}: {_plain(getattr(made, key))}" for key in keys if getattr(made, key) is not None]
    return f"{', '.join(wanted)}: auto -> {', '.join(shown)}"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _reason(wanted: tuple[str, ...], made: Recipe, best: _Option, options: list[_Option], machine: Machine) -> str:
    room = machine.gpus[0].memory_gib
    text = f"{_said(wanted, made)}: about {best.estimate.needed / GIB:.1f} of {room:.1f} GiB"
    faster = [option for option in options if not option.fits and option.seconds < best.seconds]
    if not faster:
        return f"{text}, and nothing known here is faster"
    next_best = min(faster, key=lambda option: option.estimate.needed)
    return f"{text}; what would be faster needs {next_best.estimate.needed / GIB:.1f}"
