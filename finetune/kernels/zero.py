"""DeepSpeed's engine in a trainer: where an optimizer step ends. Knows no data and no loss.

Imports torch: only the runner's stages may import it, inside a function."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any


def stage_of(accelerator: Any) -> int:
    """Of ZeRO; 0 without DeepSpeed."""
    plugin = getattr(accelerator.state, "deepspeed_plugin", None)
    return 0 if plugin is None else int(plugin.zero_stage)


def unfinished(accelerator: Any, model: Any) -> AbstractContextManager[None]:
    """A backward pass inside is not the last of its step. DeepSpeed's engine makes its optimizer step with the backward
    pass that ends one, so it must be told; accelerate tells it what `sync_gradients` says."""
    if not stage_of(accelerator):
        waiting: AbstractContextManager[None] = accelerator.no_sync(model)
        return waiting
    return _no_boundary(accelerator)


@contextmanager
def _no_boundary(accelerator: Any) -> Iterator[None]:
    before = accelerator.sync_gradients
    accelerator.sync_gradients = False
    try:
        yield
    finally:
        accelerator.sync_gradients = before
