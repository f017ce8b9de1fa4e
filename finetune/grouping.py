"""How rows are grouped into steps and shared by processes, then and now: what a run may change when it goes on. Looks
at what is sealed in a checkpoint; knows no trainer."""

from collections.abc import Iterator, Mapping
from typing import Any

from finetune import ranks
from finetune.checkpoints import Checkpoint

GROUPING = ("micro_batch_size", "gradient_accumulation_steps")
"""Keys that, with the number of processes, say how many rows a step has; that product is what must stay."""


def rows_in_step(checkpoint: Checkpoint, keys: Mapping[str, Any]) -> Iterator[str]:
    """A line where a step would hold other rows than those of the checkpoint."""
    (micro, each), (now_micro, now_each) = (
        [of.get(key, 1) if of.get(key) != "auto" else 1 for key in GROUPING]
        for of in (checkpoint.facts["recipe"], keys)
    )
    processes, now_processes = _processes(checkpoint), ranks.this_rank().of
    before, now = micro * each * processes, now_micro * now_each * now_processes
    if before == now:
        return
    wanted, rest = divmod(before, now_micro * now_processes)
    hint = "" if rest else f"; gradient_accumulation_steps={wanted} keeps them"
    yield (
        f"rows per step, micro_batch_size x gradient_accumulation_steps x processes: {micro} x {each} x {processes} = "
        f"{before} -> {now_micro} x {now_each} x {now_processes} = {now}{hint}"
    )


def other_engine(checkpoint: Checkpoint, keys: Mapping[str, Any]) -> Iterator[str]:
    """A line where DeepSpeed's own parts of a checkpoint would fit nobody: each process reads the one that it wrote."""
    then, now = checkpoint.facts["recipe"].get("deepspeed"), keys.get("deepspeed")
    if then != now:
        yield "`deepspeed` differs: a checkpoint of DeepSpeed is read with the settings that wrote it alone"
    elif now and _processes(checkpoint) != ranks.this_rank().of:
        yield (
            f"a checkpoint of DeepSpeed is read by as many processes as wrote it: {_processes(checkpoint)}, not "
            f"{ranks.this_rank().of}"
        )


def other_processes(checkpoint: Checkpoint) -> Iterator[str]:
    """What a person should hear where another number of processes goes on."""
    then, now = _processes(checkpoint), ranks.this_rank().of
    if then != now:
        who = "one process goes" if now == 1 else f"{now} processes go"
        yield (
            f"{who} on with what {then} wrote: the same rows in each step, their sums in another order, so that "
            "weights agree within rounding; random numbers (dropout, noise) are drawn anew"
        )


def _processes(checkpoint: Checkpoint) -> int:
    return int(checkpoint.facts.get("processes", 1))
