"""The peak of a training's memory on a GPU, without what the trial of the largest batch set aside by an estimate: a
wrong estimate must not be measured as if it were memory that training took.

Imports torch inside its functions; measures nothing where there is no GPU."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass
class Peak:
    """Bytes. `before`: the peak until training began; `trial`: that of the trial, without the room set aside;
    `to_come`: the optimizer's states were not there yet."""

    before: int = 0
    trial: int = 0
    to_come: bool = False

    def begin(self) -> None:
        import torch

        self.before = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()

    def tried(self, room: int | None) -> None:
        """After a trial. `room`: bytes set aside for the optimizer's states, or None where they were there."""
        import torch

        if not torch.cuda.is_available():
            return
        self.trial, self.to_come = torch.cuda.max_memory_allocated() - (room or 0), room is not None
        torch.cuda.reset_peak_memory_stats()

    def of_training(self, optimizer: Any) -> int:
        import torch

        states = getattr(optimizer, "state", None) or {}
        there = sum(_bytes(value) for state in states.values() for value in state.values()) if self.to_come else 0
        return max(int(torch.cuda.max_memory_allocated()), self.trial + there)


def _bytes(value: Any) -> int:
    """Of a state that PyTorch keeps on the GPU; paged ones the driver moves."""
    import torch

    if not isinstance(value, torch.Tensor) or getattr(value, "is_paged", False):
        return 0
    return int(sum(part.numel() * part.element_size() for part in _parts(value) if part.is_cuda))


def _parts(tensor: Any) -> Iterator[Any]:
    """What a tensor of several (8-bit states, parts of several GPUs) is made of."""
    from torch.utils._python_dispatch import is_traceable_wrapper_subclass

    if not is_traceable_wrapper_subclass(tensor):
        yield tensor
        return
    for name in tensor.__tensor_flatten__()[0]:
        yield from _parts(getattr(tensor, name))
