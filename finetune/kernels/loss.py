"""Cross-entropy of the next token straight from the last hidden states, in pieces, so that the logits of a whole batch
are never stored. The gradient is made on the way forward, while a piece's logits are there. Knows no model.

Imports torch: only the runner's stages may import it, inside a function."""

from typing import Any

import torch
from torch import Tensor

from finetune.kernels.head import Head, shaped
from finetune.pieces import tokens_of_a_piece

IGNORED = -100
PLAIN = Head()
FEW = 16
"""Tokens whose slope of a cap is made at a time."""


def summed_loss(hidden_TH: Tensor, weight_VH: Tensor, targets_T: Tensor, head: Head = PLAIN) -> Tensor:
    """Sum of the cross-entropies, float32: token t's hidden state predicts targets_T[t] (IGNORED: nothing)."""
    total: Tensor = _Summed.apply(hidden_TH, weight_VH, targets_T, head)
    return total


class SummedLoss(torch.nn.Module):  # type: ignore[misc]
    """summed_loss with a weight that belongs to another module: DeepSpeed puts weights together for modules."""

    def __init__(self, weight_VH: Tensor) -> None:
        super().__init__()
        self.borrowed = (weight_VH,)  # not a parameter of its own

    def forward(self, hidden_TH: Tensor, targets_T: Tensor, head: Head = PLAIN) -> Tensor:
        return summed_loss(hidden_TH, self.borrowed[0], targets_T, head)


class _Summed(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, hidden_TH: Tensor, weight_VH: Tensor, targets_T: Tensor, head: Head) -> Tensor:
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        total = torch.zeros((), dtype=torch.float32, device=hidden_TH.device)
        hidden_grad = torch.empty_like(hidden_TH) if wants_hidden else None
        # Summed over pieces, which 16 bits would round each time.
        weight_grad = torch.zeros_like(weight_VH, dtype=torch.float32) if wants_weight else None
        rows = tokens_of_a_piece(len(weight_VH), wants_weight)
        for first in range(0, hidden_TH.shape[0], rows):
            piece = hidden_TH[first : first + rows]
            loss, grad = _piece(piece.to(weight_VH.dtype) @ weight_VH.T, targets_T[first : first + rows], head)
            total += loss
            grad = grad.to(weight_VH.dtype)
            if hidden_grad is not None:
                hidden_grad[first : first + rows] = grad @ weight_VH
            if weight_grad is not None:
                weight_grad += grad.T @ piece.to(weight_VH.dtype)
        if weight_grad is not None:
            weight_grad = weight_grad.to(weight_VH.dtype)
        ctx.save_for_backward(hidden_grad, weight_grad)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        hidden_grad, weight_grad = ctx.saved_tensors
        factor = grads[0]
        return (
            None if hidden_grad is None else hidden_grad * factor.to(hidden_grad.dtype),
            None if weight_grad is None else weight_grad * factor.to(weight_grad.dtype),
            None,
            None,
        )


def _piece(products_TV: Tensor, targets_T: Tensor, head: Head) -> tuple[Tensor, Tensor]:
    """(sum of losses, its gradient by the products, float32 (T, V))."""
    logits = products_TV.float() if head == PLAIN else shaped(products_TV.to(torch.float32, copy=True), head)
    learned = targets_T != IGNORED
    index = targets_T.clamp(min=0)[:, None]
    size = torch.logsumexp(logits, dim=-1, keepdim=True)
    loss = ((size - logits.gather(-1, index))[:, 0] * learned).sum()
    grad = logits.sub_(size).exp_()
    grad.scatter_add_(-1, index, torch.full_like(index, -1, dtype=grad.dtype))
    grad.mul_(learned[:, None])
    if head.cap is not None:
        # The slope of the cap, of a few tokens at a time: another piece would be as large as the logits.
        for few, products in zip(grad.split(FEW), products_TV.split(FEW), strict=True):
            few -= few * (shaped(products.to(torch.float32, copy=True), head) / head.cap).square_()
    return loss, grad if head.scale == 1 else grad.mul_(head.scale)
