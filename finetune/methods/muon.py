"""Muon for a model's matrices and AdamW for the rest (embeddings, norms, biases), as one optimizer. The arithmetic is
torch's."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch


class MuonAndAdam(torch.optim.Optimizer):  # type: ignore[misc]  # torch is not checked here
    """Groups that say `muon: True` are Muon's, whose updates are scaled to the size that AdamW's have, so that one
    learning rate suits both."""

    def __init__(
        self, params: Iterable[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float, **muon: Any
    ) -> None:
        groups = list(params)
        parts: list[torch.optim.Optimizer] = []
        matrices = [group for group in groups if group.get("muon")]
        rest = [group for group in groups if not group.get("muon")]
        if matrices:
            parts.append(torch.optim.Muon(matrices, lr=lr, adjust_lr_fn="match_rms_adamw", **muon))
        if rest:
            parts.append(torch.optim.AdamW(rest, lr=lr, betas=betas, eps=eps))
        self.parts = parts
        super().__init__([{"params": group["params"]} for part in parts for group in part.param_groups], {"lr": lr})
        self._share()

    def _share(self) -> None:
        """One list of groups for whoever sets learning rates, the parts' own."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = closure() if closure is not None else None
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share()
