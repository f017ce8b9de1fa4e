"""DeepSpeed's engine around a model: where an optimizer step ends, and weights that lie in parts over the processes
(ZeRO-3): loading them so, computing with them before a training, putting them together. Knows no data and no loss."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

HELD: list[Any] = []
"""transformers keeps a weak reference to DeepSpeed's configuration alone; while it lives, models are loaded in parts,
and their processes generate in step."""


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


def load_in_parts(*, config: Mapping[str, Any]) -> None:
    """From here on each process keeps its part of every weight that transformers loads, and the whole of one at a
    time."""
    import logging

    from deepspeed.utils import logger
    from transformers.integrations import HfDeepSpeedConfig

    logger.setLevel(logging.WARNING)  # it tells its settings on the terminal
    HELD.append(HfDeepSpeedConfig(dict(config)))


def hold(args: Any) -> None:
    """Keep a trainer's configuration of DeepSpeed in force after the trainer is gone."""
    if getattr(args, "hf_deepspeed_config", None) is not None:
        HELD.append(args.hf_deepspeed_config)


def in_parts(model: Any) -> bool:
    return any(hasattr(weight, "ds_id") for weight in model.parameters())


@contextmanager
def computing(model: Any) -> Iterator[None]:
    """A model in parts can compute inside, before there is a trainer's engine. Others can anyway."""
    if not in_parts(model):
        yield
        return
    import deepspeed

    engine, *_ = deepspeed.initialize(model=model, config=dict(HELD[0].config))
    try:
        yield
    finally:
        engine.destroy()
        for module in model.modules():
            # DeepSpeed 0.19.8 leaves these behind, bound to the engine that is gone, and the next one takes them over.
            for left in ("pre_bwd_fn", "post_bwd_fn"):
                vars(module).pop(left, None)


def compute_with(model: Any, module: Any, weight: Any) -> None:
    """Let DeepSpeed put a weight of the model together whenever `module`, which is made part of it, computes."""
    import deepspeed

    deepspeed.zero.register_external_parameter(module, weight)
    model.add_module(type(module).__name__, module)


def gathered(model: Any, weights: Sequence[Any], changes: bool = False) -> AbstractContextManager[Any]:
    """Inside, the weights are whole, in every process; all of them ask at once. `changes`: what the first process makes
    of them is dealt out after."""
    parted = [weight for weight in weights if hasattr(weight, "ds_id")]
    parted = [weight for weight in parted if not _is_whole(model, weight) or changes]
    if not parted:
        return nullcontext()
    import deepspeed

    found: AbstractContextManager[Any] = deepspeed.zero.GatheredParameters(parted, modifier_rank=0 if changes else None)
    return found


def _is_whole(model: Any, weight: Any) -> bool:
    under_way = getattr(model, "ds_inflight_param_registry", {})
    if weight in under_way:
        # Fetched ahead, and not used yet; DeepSpeed 0.19.8 would give it up before it has come.
        under_way.pop(weight).wait()
    return str(weight.ds_status).endswith(".AVAILABLE")


def part_of(weight: Any) -> Any:
    """The numbers of a weight that this process keeps."""
    return getattr(weight, "ds_tensor", weight)


def rows_of(weight: Any) -> int:
    """The first size of a weight, which a part of it does not show."""
    return int(getattr(weight, "ds_shape", weight.shape)[0])
