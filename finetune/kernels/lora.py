"""LoRA's linear layers in fewer passes over memory: the adapter's product is added while it is made, the backward pass
keeps nothing but the input and its small projection, and layers that are given the same input (query, key and value;
gate and up) read it once. The same arithmetic as peft's own layers, which take over wherever a layer is more than plain
LoRA.

Imports torch and peft: only the runner's stages may import it, inside a function."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from peft.import_utils import is_bnb_4bit_available
from peft.tuners.lora.layer import Linear
from torch import Tensor


def fuse(*, peft_config: Any) -> None:
    """Tell a LoraConfig to make these layers instead of peft's own."""
    layers: dict[type, type] = {}
    if is_bnb_4bit_available():
        from bitsandbytes.nn import Linear4bit
        from peft.tuners.lora.bnb import Linear4bit as LoraLinear4bit

        class FusedLinear4bit(LoraLinear4bit):  # type: ignore[misc]
            together: Together | None = None

            def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
                return _fused(self, x) if _plain(self, x, args, kwargs) else super().forward(x, *args, **kwargs)

        layers[Linear4bit] = FusedLinear4bit
    layers[_Unquantized] = FusedLinear
    # peft keeps these out of what it saves; a saved adapter is plain LoRA.
    peft_config._register_custom_module(layers)


GROUPS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("w1", "w3"))
"""Names of layers of one block to which models give the same input."""


def share_inputs(*, model: Any) -> None:
    """Let such layers of a model with fused layers be computed together. One that turns out to be given an input of its
    own is computed alone again."""
    for block in model.modules():
        children = dict(block.named_children())
        for names in GROUPS:
            layers = [children[name] for name in names if hasattr(children.get(name), "together")]
            if len(layers) == len(names) and len({layer.in_features for layer in layers}) == 1:
                together = Together(layers)
                for layer in layers:
                    layer.together = together


class Together:
    """Layers that are given the same input, one after another: the first one's call computes all."""

    MISSES = 8
    """Results that nobody asked for, after which the layers go separate ways."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers = tuple(layers)
        self.given: tuple[Tensor, int] | None = None
        self.ready: dict[int, Tensor] = {}
        self.misses = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> "Together":
        return Together([copy.deepcopy(layer, memo) for layer in self.layers])

    def result(self, layer: Any, x: Tensor) -> Tensor | None:
        """None: it has to be computed alone."""
        if self.given is not None and self.given[0] is x and self.given[1] == x._version and id(layer) in self.ready:
            return self._taken(layer)
        self.misses += bool(self.ready)
        self.given, self.ready = None, {}
        if self.misses >= self.MISSES or not all(_plain(each, x, (), {}) for each in self.layers):
            return None
        results = _products(self.layers, x)
        self.given = x, x._version
        self.ready = {id(each): result for each, result in zip(self.layers, results, strict=True)}
        return self._taken(layer)

    def _taken(self, layer: Any) -> Tensor:
        result = self.ready.pop(id(layer))
        if not self.ready:
            self.given = None
        return result


class _Exactly(type):
    """Quantized layers are linear layers too, to isinstance."""

    def __instancecheck__(cls, module: Any) -> bool:
        return type(module) is torch.nn.Linear and type(module.weight) is torch.nn.Parameter


class _Unquantized(metaclass=_Exactly):
    """A linear layer whose weight is a matrix of floats."""


class FusedLinear(Linear):  # type: ignore[misc]
    """peft's layer for a 16- or 32-bit linear layer."""

    together: "Together | None" = None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return _fused(self, x) if _plain(self, x, args, kwargs) else super().forward(x, *args, **kwargs)


def _plain(layer: Any, x: Tensor, args: Any, kwargs: Any) -> bool:
    """Whether the layer is one frozen matrix with one plain adapter that is being trained."""
    if args or kwargs or not torch.is_grad_enabled() or layer.disable_adapters or layer.merged:
        return False
    name = layer.active_adapters[0]
    base = layer.base_layer
    return (
        len(layer.active_adapters) == 1
        and name in layer.lora_A
        and name not in layer.lora_variant
        and not layer.fan_in_fan_out
        and isinstance(layer.lora_dropout[name], torch.nn.Identity)
        and layer.lora_A[name].bias is None
        and layer.lora_B[name].bias is None
        and not base.weight.requires_grad
        and (base.bias is None or not base.bias.requires_grad)
        and x.is_floating_point()
        # What is to be told of the layer itself, a router's answers say, would be told nothing.
        and not (base._forward_hooks or base._forward_pre_hooks)
    )


def _fused(layer: Any, x: Tensor) -> Tensor:
    if layer.together is not None and not torch.compiler.is_compiling():
        result = layer.together.result(layer, x)
        if result is not None:
            return result
    return _products((layer,), x)[0]


def _products(layers: Sequence[Any], x: Tensor) -> tuple[Tensor, ...]:
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    names = [layer.active_adapters[0] for layer in layers]
    frozen = []
    for layer, name in zip(layers, names, strict=True):
        base = layer.base_layer
        # A weight that was gathered from several GPUs has lost its own.
        state = getattr(base.weight, "quant_state", None) or getattr(base, "quant_state", None)
        frozen.append((base.weight, state, base.bias, layer.scaling[name]))
    firsts = [layer.lora_A[name].weight for layer, name in zip(layers, names, strict=True)]
    seconds = [layer.lora_B[name].weight for layer, name in zip(layers, names, strict=True)]
    out: tuple[Tensor, ...] = _Products.apply(x.to(dtype), frozen, *firsts, *seconds)
    return out


def _matrix(weight: Tensor, state: Any, dtype: torch.dtype) -> Tensor:
    """(out, in)"""
    if state is None:
        return weight.to(dtype)
    from bitsandbytes.functional import dequantize_4bit

    whole: Tensor = dequantize_4bit(weight, state).to(dtype)
    return whole


def _stacked(parts: Sequence[Tensor], dim: int, dtype: torch.dtype) -> Tensor:
    return (parts[0] if len(parts) == 1 else torch.cat(tuple(parts), dim=dim)).to(dtype)


class _Products(torch.autograd.Function):  # type: ignore[misc]
    """x (..., in), what is frozen of each of n layers, its A (rank, in) n times, its B (out, rank) n times -> n times
    (..., out)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, frozen: Any, *adapters: Tensor) -> tuple[Tensor, ...]:
        firsts, seconds = adapters[: len(frozen)], adapters[len(frozen) :]
        flat = x.reshape(-1, x.shape[-1])
        small = flat @ _stacked(firsts, 0, x.dtype).T  # (T, sum of ranks)
        out = []
        for (weight, state, bias, scale), second, part in zip(frozen, seconds, _parts(small, firsts), strict=True):
            # The adapter's product first: to add it to the finished sum would read and write all of that once more.
            start = _scaled(part, second.to(x.dtype).T, scale, bias)
            one = start.addmm_(flat, _matrix(weight, state, x.dtype).T)
            # Not as a view: a model may go on to compute in what it is given, and must not in a view from here.
            out.append(torch.ops.aten._unsafe_view(one, [*x.shape[:-1], one.shape[-1]]))
        ctx.save_for_backward(flat, small, *adapters)
        # Frozen and alive with the model: no need to be kept for this pass alone.
        ctx.frozen, ctx.shape = frozen, x.shape
        return tuple(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        flat, small, *adapters = ctx.saved_tensors
        firsts, seconds = adapters[: len(grads)], adapters[len(grads) :]
        flats = [grad.reshape(-1, grad.shape[-1]) for grad in grads]
        back, second_grads, x_grad = [], [], None
        for grad, second, part, layer in zip(flats, seconds, _parts(small, firsts), ctx.frozen, strict=True):
            back.append(_scaled(grad, second.to(grad.dtype), layer[3]))
            second_grads.append(_scaled(grad.T, part, layer[3]).to(second.dtype))
        backs = _stacked(back, 1, flat.dtype)
        first_grads = torch.split((backs.T @ flat).to(firsts[0].dtype), [len(first) for first in firsts])
        if ctx.needs_input_grad[0]:
            x_grad = backs @ _stacked(firsts, 0, flat.dtype)
            for grad, (weight, state, _, _) in zip(flats, ctx.frozen, strict=True):
                x_grad.addmm_(grad, _matrix(weight, state, grad.dtype))
            x_grad = x_grad.view(ctx.shape)
        return x_grad, None, *first_grads, *second_grads


def _scaled(left: Tensor, right: Tensor, scale: float, bias: Tensor | None = None) -> Tensor:
    """left @ right * scale (+ bias)"""
    if bias is None:
        return torch.addmm(left.new_empty(()), left, right, beta=0, alpha=scale)
    return torch.addmm(bias.to(left.dtype), left, right, alpha=scale)


def _parts(small: Tensor, firsts: Sequence[Tensor]) -> Sequence[Tensor]:
    """(T, rank) of each layer."""
    parts: Sequence[Tensor] = torch.split(small, [len(first) for first in firsts], dim=1)
    return parts
