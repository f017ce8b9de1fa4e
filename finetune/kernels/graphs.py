"""The layers of a model recorded as CUDA graphs and replayed: a pass of few tokens costs two launches instead of
thousands. Passes are filled up to a few lengths, for each of which there is one recording. Knows no data, no trainer.

Imports torch: only the runner's stages may import it, inside a function."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

STEP = 256
"""Lengths of recordings are multiples of so many tokens."""
DOCUMENTS = 16
"""Documents of a recording are a multiple of so many; those of no token are at the end."""
MOST = 12
"""Recordings at most; passes of other lengths are computed one kernel after another."""
Record = Callable[..., Any]


class Recordings:
    """The decoder's layers, recorded for each length that comes. `why_not`: why they cannot be, once that is known."""

    def __init__(self, decoder: nn.Module, record: Record | None = None) -> None:
        self.decoder = decoder
        self.layers = getattr(decoder, "layers", None)
        self.record = record or _recorder()
        self.made: dict[Any, Any] = {}
        self.looked = False
        self.why_not = ""
        if not isinstance(self.layers, nn.ModuleList):
            self.why_not = f"{type(decoder).__name__} has no list of layers"
        elif getattr(decoder, "gradient_checkpointing", False):
            self.why_not = "gradient checkpointing computes layers anew, which a recording cannot"

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """A forward pass of the decoder inside is replayed, if it can be."""
        if self.why_not:
            yield
        elif not self.looked:
            with self._looked_at():
                yield
        else:
            self.decoder.layers = nn.ModuleList([_Replay(self)])
            try:
                yield
            finally:
                self.decoder.layers = self.layers

    @contextmanager
    def _looked_at(self) -> Iterator[None]:
        """Whether each layer is given the same, and only hidden states come out."""
        assert self.layers is not None
        seen: list[tuple[Any, ...]] = []
        odd: list[str] = []

        def look(layer: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            seen.append((len(args), *((name, id(value)) for name, value in sorted(kwargs.items()))))
            if any(isinstance(value, dict | list) and value for value in kwargs.values()):
                odd.append(f"{type(layer).__name__} is given more than tensors")
            if not isinstance(output, Tensor):
                odd.append(f"{type(layer).__name__} gives more than hidden states")

        hooks = [layer.register_forward_hook(look, with_kwargs=True) for layer in self.layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        self.looked = True
        if odd:
            self.why_not = odd[0]
        elif len(set(seen)) != 1 or len(seen) != len(self.layers):
            self.why_not = "its layers are not all given the same (their masks or positions differ)"

    def run(self, hidden_BTH: Tensor, given: dict[str, Any]) -> Tensor:
        """What the layers make of hidden states."""
        tensors = _tensors(given)
        others = tuple(sorted((name, value) for name, value in given.items() if isinstance(value, (int, float, str))))
        key = (hidden_BTH.dtype, hidden_BTH.requires_grad, *(tuple(each.shape) for each in (hidden_BTH, *tensors)))
        key = (*key, others)
        device = hidden_BTH.device.type
        casts = torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        # Casts that are kept from pass to pass would be read from a recording's memory.
        with torch.autocast(device, *casts, cache_enabled=False):
            if key not in self.made:
                whole = _Layers(self.layers, given).train(self.decoder.training)
                samples = [each.detach().clone().requires_grad_(each.requires_grad) for each in (hidden_BTH, *tensors)]
                self.made[key] = self._recorded(whole, tuple(samples)) if len(self.made) < MOST else whole
            out: Tensor = self.made[key](hidden_BTH, *tensors)
        return out

    def _recorded(self, whole: nn.Module, samples: tuple[Tensor, ...]) -> Any:
        """The layers one after another where they cannot be recorded, now and from now on."""
        try:
            return self.record(whole, samples)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            self.why_not = f"its layers cannot be recorded: {str(error).splitlines()[0]}"
            logging.getLogger("finetune").warning("cuda_graphs has no effect: %s", self.why_not)
            return whole


class _Replay(nn.Module):  # type: ignore[misc]
    """In place of the layers, while the decoder runs. It does not own them."""

    def __init__(self, recordings: Recordings) -> None:
        super().__init__()
        self.run = recordings.run

    def forward(self, hidden_BTH: Tensor, **given: Any) -> Tensor:
        return self.run(hidden_BTH, given)


class _Layers(nn.Module):  # type: ignore[misc]
    """The layers one after another, on hidden states and the tensors among what they are given."""

    def __init__(self, layers: Any, given: dict[str, Any]) -> None:
        super().__init__()
        self.layers = layers
        self.given = {name: _shape_of(value) for name, value in given.items()}

    def forward(self, hidden_BTH: Tensor, *tensors: Tensor) -> Tensor:
        rest = iter(tensors)
        given = {name: _filled_in(value, rest) for name, value in self.given.items()}
        for layer in self.layers:
            hidden_BTH = layer(hidden_BTH, **given)
        return hidden_BTH


_HOLE = object()


def _tensors(given: Mapping[Any, Any]) -> list[Tensor]:
    """In the order in which `_filled_in` asks for them."""
    found: list[Tensor] = []
    for value in given.values():
        if isinstance(value, tuple):
            found += _tensors(dict(enumerate(value)))
        elif isinstance(value, Tensor):
            found.append(value)
    return found


def _shape_of(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_shape_of(part) for part in value)
    return _HOLE if isinstance(value, Tensor) else value


def _filled_in(value: Any, rest: Iterator[Tensor]) -> Any:
    if isinstance(value, tuple):
        return tuple(_filled_in(part, rest) for part in value)
    return next(rest) if value is _HOLE else value


def _recorder() -> Record:
    """All recordings use the same memory in turn: none is replayed between another's forward and backward pass."""
    pool: list[Any] = []

    def record(whole: nn.Module, samples: tuple[Tensor, ...]) -> Any:
        # Kernels are compiled and chosen in trial passes, which take the memory of a recording once more.
        trials = 0 if pool else 3
        if not pool:
            pool.append(torch.cuda.graph_pool_handle())
        return torch.cuda.make_graphed_callables(
            whole, samples, num_warmup_iters=trials, allow_unused_input=True, pool=pool[0]
        )

    return record


def own_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Gradients that a replay left where the next one writes become the parameters' own."""
    held = [parameter for parameter in parameters if parameter.grad is not None]
    for parameter, grad in zip(held, torch._foreach_mul([each.grad for each in held], 1), strict=True):
        parameter.grad = grad
