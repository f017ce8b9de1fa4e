"""LoRA's linear layers in fewer passes over memory: the adapter's product is added while it is made, and the backward
pass keeps nothing but the input and its small projection. The same arithmetic as peft's own layers, which take over
wherever a layer is more than plain LoRA. Knows no model.

Imports torch and peft: only the runner's stages may import it, inside a function."""

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
            def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
                return _fused(self, x) if _plain(self, x, args, kwargs) else super().forward(x, *args, **kwargs)

        layers[Linear4bit] = FusedLinear4bit
    layers[_Unquantized] = FusedLinear
    # peft keeps these out of what it saves; a saved adapter is plain LoRA.
    peft_config._register_custom_module(layers)


class _Exactly(type):
    """Quantized layers are linear layers too, to isinstance."""

    def __instancecheck__(cls, module: Any) -> bool:
        return type(module) is torch.nn.Linear and type(module.weight) is torch.nn.Parameter


class _Unquantized(metaclass=_Exactly):
    """A linear layer whose weight is a matrix of floats."""


class FusedLinear(Linear):  # type: ignore[misc]
    """peft's layer for a 16- or 32-bit linear layer."""

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
    )


def _fused(layer: Any, x: Tensor) -> Tensor:
    name = layer.active_adapters[0]
    base = layer.base_layer
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    # A weight that was gathered from several GPUs has lost its own.
    state = getattr(base.weight, "quant_state", None) or getattr(base, "quant_state", None)
    first, second = layer.lora_A[name].weight, layer.lora_B[name].weight
    frozen = (base.weight, state, base.bias, layer.scaling[name])
    out: Tensor = _Product.apply(x.to(dtype), first, second, frozen)
    return out


def _matrix(weight: Tensor, state: Any, dtype: torch.dtype) -> Tensor:
    """(out, in)"""
    if state is None:
        return weight.to(dtype)
    from bitsandbytes.functional import dequantize_4bit

    whole: Tensor = dequantize_4bit(weight, state).to(dtype)
    return whole


class _Product(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, x: Tensor, first: Tensor, second: Tensor, frozen: Any) -> Tensor:
        weight, state, bias, scale = frozen
        flat = x.reshape(-1, x.shape[-1])
        small = flat @ first.to(x.dtype).T
        matrix = _matrix(weight, state, x.dtype)
        out = flat @ matrix.T if bias is None else torch.addmm(bias.to(x.dtype), flat, matrix.T)
        out.addmm_(small, second.to(x.dtype).T, alpha=scale)
        ctx.save_for_backward(flat, small, first, second)
        # Frozen and alive with the model: no need to be kept for this pass alone.
        ctx.frozen, ctx.shape = frozen, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        flat, small, first, second = ctx.saved_tensors
        weight, state, _, scale = ctx.frozen
        grad = grads[0].reshape(-1, grads[0].shape[-1])
        back = grad @ second.to(grad.dtype)
        second_grad = (grad.T @ small).to(second.dtype).mul_(scale)
        first_grad = (back.T @ flat).to(first.dtype).mul_(scale)
        x_grad = None
        if ctx.needs_input_grad[0]:
            x_grad = grad @ _matrix(weight, state, grad.dtype)
            x_grad.addmm_(back, first.to(grad.dtype), alpha=scale)
            x_grad = x_grad.view(ctx.shape)
        return x_grad, first_grad, second_grad, None
