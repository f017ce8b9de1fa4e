"""What a person reads of the memory of a Plan: its parts, whether it fits, what would make it fit. Decides nothing."""

from collections.abc import Iterator, Mapping
from typing import Any

from finetune.memory.estimate import GIB, Estimate
from finetune.memory.fitting import Data, Verdict
from finetune.memory.foreseeing import Foresight
from finetune.mending import as_yaml

PARTS = ("weights", "quantization", "adapter", "gradients", "optimizer", "activations", "loss", "workspace")


def lines_of(known: Foresight, estimate: Estimate, judged: Verdict | None, data: Data) -> Iterator[str]:
    """The table, in lines."""
    shape, largest = known.model.shape, estimate.largest
    size = f"{shape.parameters / 1e9:.2f} B" if shape.parameters >= 1e9 else f"{shape.parameters / 1e6:.1f} M"
    yield f"memory, estimated for passes of {largest.tokens:,} tokens ({_lengths(known, data)})"
    yield f"  of {shape.model_type}, {size} weights, by {known.model.source}:"
    for part in PARTS:
        taken = getattr(estimate, part)
        if taken >= 0.005 * GIB:
            yield f"  {part:<13}{taken / GIB:8.2f} GiB"
    yield f"  {'peak':<13}{estimate.peak / GIB:8.2f} GiB, at {estimate.moment}"
    if judged is not None:
        yield f"  {'on the GPU':<13}{estimate.needed / GIB:8.2f} GiB with the driver's part and what lies scattered"
        yield f"  {'':<13}{_fits(judged)}"
    else:
        yield "  whether it fits a GPU is told with --gpu, for example --gpu 24GB"
    for reason in known.work.unmeasured:
        yield f"  coarse here: {reason}"


def _lengths(known: Foresight, data: Data) -> str:
    if data.lengths is not None:
        return f"the longest of {data.rows:,} rows has {max(data.lengths, default=0):,}"
    return f"each row as long as sequence_len: {known.work.rows.sequence_len:,}"


def _fits(judged: Verdict) -> str:
    room = judged.gpu_bytes
    if judged.fits:
        return f"fits {judged.gpu} ({room / GIB:.1f} GiB): {(room - judged.estimate.needed) / GIB:.1f} GiB stay free"
    return f"does not fit {judged.gpu} ({room / GIB:.1f} GiB)"


def in_short(judged: Verdict) -> str:
    """One line for the log of a run."""
    estimate = judged.estimate
    return (
        f"memory: a peak of about {estimate.peak / GIB:.1f} GiB is estimated, for passes of up to "
        f"{estimate.largest.tokens:,} tokens; {judged.gpu} has {judged.gpu_bytes / GIB:.1f} GiB"
    )


def does_not_fit(judged: Verdict, change: Mapping[str, Any] | None) -> str:
    """The message, with the change as YAML to paste."""
    text = (
        f"about {judged.estimate.needed / GIB:.1f} GiB are needed, and {judged.gpu} has {judged.gpu_bytes / GIB:.1f}: "
        f"training would probably run out of memory at {judged.estimate.moment}"
    )
    if judged.impossible:
        text = (
            f"{judged.gpu} has {judged.gpu_bytes / GIB:.1f} GiB, and {judged.estimate.peak / GIB:.1f} GiB are needed "
            f"at {judged.estimate.moment}: training cannot fit"
        )
    if change is None:
        return f"{text}. No change known here would make it fit: take a smaller base_model or a larger GPU"
    return f"{text}. The smallest change of the recipe with which it would fit:\n{as_yaml(change).rstrip()}"
