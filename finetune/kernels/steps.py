"""What a trainer does between the passes of two steps. For each part of it transformers walks over all modules of the
model, some 30 ms a step for 32 layers, and asks the GPU for numbers that are known without it. Knows no data and no
loss.

Imports torch: only the runner's stages may import it, inside a function."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class QuickSteps:
    """Part of a trainer, for models that lie whole on one device. What learns is looked up once an epoch.

    `learning`: those weights, while an epoch runs; None otherwise, and where weights lie in parts. `grad_norm`: of the
    step that is about to be made, before it is clipped; None before the first."""

    model: Any
    args: Any
    state: Any
    accelerator: Any
    model_accepts_loss_kwargs: bool
    is_fsdp_enabled: bool
    is_deepspeed_enabled: bool
    learning: list[Any] | None = None
    grad_norm: Any = None
    _per_token: int | None = None

    def _run_epoch(self, model: Any, **rest: Any) -> None:
        whole: Callable[..., None] = super()._run_epoch  # type: ignore[misc]
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            whole(model=model, **rest)
            return
        self.learning = learning_of(model)
        self._per_token = None
        try:
            with _without_walks(model, self.learning):
                whole(model=model, **rest)
        finally:
            self.learning = None

    def _clip_grad_norm(self, model: Any) -> Any:
        if self.learning is None or self._has_mixed_mesh_grads(model):  # type: ignore[attr-defined]
            return super()._clip_grad_norm(model)  # type: ignore[misc]
        return self.accelerator.clip_grad_norm_(self.learning, self.args.max_grad_norm)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        if grad_norm is None and self.learning is not None:
            grad_norm = self.accelerator.clip_grad_norm_(self.learning, math.inf)
        self.grad_norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[misc]
        return self.grad_norm

    def floating_point_ops(self, inputs: Any) -> int:
        """So many for each token: the model's numbers are counted once."""
        tokens = inputs["input_ids"].numel() if "input_ids" in inputs else 0
        if self.learning is not None and self._per_token is not None and tokens:
            return self._per_token * tokens
        count: int = super().floating_point_ops(inputs)  # type: ignore[misc]
        if tokens:
            self._per_token = count // tokens
        return count

    def _track_num_input_tokens(self, inputs: Any) -> None:
        if self._alone and self.args.include_num_input_tokens_seen == "all" and "input_ids" in inputs:
            self.state.num_input_tokens_seen += inputs["input_ids"].numel()
            return
        super()._track_num_input_tokens(inputs)  # type: ignore[misc]

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        """The learned tokens of a step: batches without padding bring them."""
        listed = all("targets" in batch for batch in batch_samples)
        if self._alone and listed and batch_samples and self.model_accepts_loss_kwargs:
            return sum(len(batch["targets"]) for batch in batch_samples)
        return super()._get_num_items_in_batch(batch_samples, device)  # type: ignore[misc]

    @property
    def _alone(self) -> bool:
        return bool(self.accelerator.num_processes == 1 and self.args.n_gpu <= 1)


def learning_of(model: Any) -> list[Any]:
    return [weight for weight in model.parameters() if weight.requires_grad]


@contextmanager
def _without_walks(model: Any, learning: list[Any]) -> Iterator[None]:
    """Inside, gradients are forgotten and training is switched on without a look at every module."""
    train = model.train

    def forget(set_to_none: bool = True) -> None:
        for weight in learning:
            if set_to_none or weight.grad is None:
                weight.grad = None
            else:
                torch.zero_(weight.grad)

    def switched(mode: bool = True) -> Any:
        return model if mode and model.training else train(mode)

    # Beside the class's own, where torch.compile's wrapper does not send them on.
    vars(model).update(zero_grad=forget, train=switched)
    try:
        yield
    finally:
        for name in ("zero_grad", "train"):
            vars(model).pop(name, None)
