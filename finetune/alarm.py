"""Whether a step's loss and gradients are numbers: asked before its weights are changed. On one GPU the answer is heard
in the next step, and before anything of the step is logged, measured or saved: to wait for it at once would let the GPU
stand still while the host prepares what comes next."""

import math
from dataclasses import dataclass
from typing import Any

from finetune import progress
from finetune.errors import NoNumbers


@dataclass(frozen=True)
class _Asked:
    """`figures`: loss and norm of the gradients; `there`: when they have come from the GPU, or None."""

    step: int
    figures: Any
    there: Any


class Alarm:
    """One question at a time."""

    def __init__(self) -> None:
        self.asked: _Asked | None = None

    def ask(self, trainer: Any, step: int) -> None:
        import torch

        figures = torch.stack([torch.as_tensor(each).detach().float().sum() for each in _figures(trainer)])
        there = None
        if figures.is_cuda:
            figures, there = figures.to("cpu", non_blocking=True), torch.cuda.Event()
            there.record()
        self.asked = _Asked(step, figures, there)
        if not may_wait(trainer):
            self.listen()

    def listen(self) -> None:
        """NoNumbers if what was asked is none; waits for the answer."""
        if self.asked is None:
            return
        asked, self.asked = self.asked, None
        if asked.there is not None:
            asked.there.synchronize()
        loss, norm = asked.figures.tolist()
        if not math.isfinite(loss):
            raise NoNumbers(f"loss is {loss}", asked.step)
        if not math.isfinite(norm):
            raise NoNumbers("the gradients are infinite or not a number", asked.step)


def may_wait(trainer: Any) -> bool:
    """Whether the next step may be begun before the answer has come. Several processes stop after the same step."""
    return bool(trainer.accelerator.num_processes == 1 and trainer.args.device.type == "cuda")


def _figures(trainer: Any) -> tuple[Any, Any]:
    """Loss and norm of the gradients. Under fp16, infinite gradients are part of the method, which leaves out the
    step."""
    import torch

    loss = trainer._tr_loss
    if getattr(trainer.accelerator, "scaler", None) is not None:
        return loss, torch.zeros_like(torch.as_tensor(loss))
    engine, norm = getattr(trainer, "deepspeed", None), getattr(trainer, "grad_norm", None)
    if engine is not None:  # it has made its step, and keeps no gradient
        norm = engine.get_global_grad_norm()
    elif norm is None:
        gradients = [weight.grad for weight in trainer.model.parameters() if weight.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients) if gradients else None
    norm = torch.zeros(()) if norm is None else torch.as_tensor(progress.whole(norm))
    return loss, norm.to(torch.as_tensor(loss).device)
