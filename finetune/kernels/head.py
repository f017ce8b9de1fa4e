"""What a model makes of its output head's products: logits are cap * tanh(scale * product / cap), where a model has
such a cap (Gemma 2) or scale (Granite, Cohere); mostly it has neither. Found on the loaded model.

Imports torch: only the runner's stages may import it, inside a function."""

import inspect
from typing import Any, NamedTuple

import torch
from torch import Tensor

CAP = "final_logit_softcapping"
ALIKE = 0.05
"""Largest difference that rounding explains, as a share of the size."""


class Head(NamedTuple):
    """`scale`: of the products. `cap`: bound of what is left; None: there is none."""

    scale: float = 1.0
    cap: float | None = None


def head_of(model: Any, products_TV: Tensor, logits_TV: Tensor) -> Head | None:
    """How the logits come of the products, or None where it cannot be told."""
    config = model.config.get_text_config()
    cap = getattr(config, CAP, None)
    if cap and not _reads(model, CAP):
        return None  # a cap bends small logits so little that a few tokens do not tell whether it is made
    scales = {
        1.0,
        float(getattr(config, "logit_scale", None) or 1),
        1 / float(getattr(config, "logits_scaling", 0) or 1),
    }
    wanted = logits_TV.float()
    found = ((shaped(products_TV.to(torch.float32, copy=True), Head(one, cap)), one) for one in scales)
    with torch.no_grad():
        apart, scale = min((_apart(logits, wanted), one) for logits, one in found)
    return Head(scale, cap) if apart <= ALIKE else None


def trained_copy(module: Any) -> Any:
    """Where a module is trained whole beside an adapter (lora_modules_to_save), the copy that is; else the module."""
    from peft.utils import ModulesToSaveWrapper

    if not isinstance(module, ModulesToSaveWrapper) or module.disable_adapters or not module.active_adapters:
        return module
    return module.modules_to_save[module.active_adapters[0]]


def shaped(products: Tensor, head: Head) -> Tensor:
    """The logits, in place of the products: another piece of a whole vocabulary would be as large as they are."""
    if head.scale != 1:
        products.mul_(head.scale)
    return products if head.cap is None else products.div_(head.cap).tanh_().mul_(head.cap)


def _reads(model: Any, name: str) -> bool:
    module = inspect.getmodule(type(model))
    try:
        return bool(module and name in inspect.getsource(module))
    except OSError:
        return False


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm().clamp(min=1e-12))
