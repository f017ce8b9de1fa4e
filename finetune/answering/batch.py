"""Answers that are written side by side, a token of each in every step; one may join or leave between two steps. Each
is what it would be alone, but for the rounding of sums. Knows no queue."""

import inspect
from collections.abc import Sequence
from typing import Any

from finetune.answering.writing import Terms, Writing
from finetune.generation import one_number_type

SHARED = frozenset({"full_attention", "sliding_attention", "chunked_attention"})
"""Kinds of layers whose memory of a text is keys and values, place by place."""


def can_share(model: Any) -> bool:
    """Whether answers can stand side by side and join in the middle: layers remember by keys and values, and places are
    named to the model."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if hasattr(model, "active_peft_config") and model.active_peft_config.is_prompt_learning:
        return False
    text = inner.config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ())
    takes = inspect.signature(inner.forward).parameters
    plain = not getattr(inner, "_is_stateful", False) and not getattr(inner.config, "is_encoder_decoder", False)
    return plain and kinds <= SHARED and {"position_ids", "past_key_values", "attention_mask"} <= set(takes)


class Batch:
    """`rows`: the answers that are being written."""

    def __init__(self, model: Any, terms: Terms, pad_id: int) -> None:
        self.model, self.terms, self.pad_id = model, terms, pad_id
        self.rows: list[Writing] = []
        self._cache: Any = None
        self._mask_BT: Any = None
        self._logits_BV: Any = None
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._last_only = "logits_to_keep" in inspect.signature(inner.forward).parameters

    def join(self, new: Sequence[Writing]) -> None:
        """Read the prompts of some more answers, or what was written of those that were put back."""
        import torch
        from transformers import DynamicCache

        for row in new:
            row.begin(self.terms)
        given = [row.all_ids for row in new]
        width = max(map(len, given))
        ids_BT = torch.tensor([[self.pad_id] * (width - len(ids)) + ids for ids in given], device=self.terms.device)
        mask_BT = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in given], device=self.terms.device)
        places_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)
        # Without the config every layer keeps all places, also where it looks back only so far: rows can be cut and
        # put together.
        cache = DynamicCache()
        logits_BV = self._forward(ids_BT, mask_BT, places_BT, cache)
        if self._cache is None:
            self._cache, self._mask_BT, self._logits_BV = cache, mask_BT, logits_BV
        else:
            self._merge(cache, mask_BT)
            self._logits_BV = torch.cat([self._logits_BV, logits_BV])
        self.rows += new

    def step(self) -> None:
        """One token for each answer; those that end leave."""
        import torch

        plain = [number for number, row in enumerate(self.rows) if row.is_plain]
        likely = self._logits_BV.argmax(-1).tolist() if plain else []
        for number, row in enumerate(self.rows):
            if row.cancelled:
                row.end("cancelled")
            elif row.is_plain:
                row.take(likely[number])
            else:
                row.draw(self._logits_BV[number])
        self.keep([number for number, row in enumerate(self.rows) if row.ended is None])
        if not self.rows:
            return
        ids_B1 = torch.tensor([[row.new[-1]] for row in self.rows], device=self.terms.device)
        self._mask_BT = torch.nn.functional.pad(self._mask_BT, (0, 1), value=1)
        places_B1 = self._mask_BT.sum(-1, keepdim=True) - 1
        self._logits_BV = self._forward(ids_B1, self._mask_BT, places_B1, self._cache)

    def _forward(self, ids_BT: Any, mask_BT: Any, places_BT: Any, cache: Any) -> Any:
        import torch

        last = {"logits_to_keep": 1} if self._last_only else {}
        with torch.inference_mode(), one_number_type(self.model):
            output = self.model(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                position_ids=places_BT,
                past_key_values=cache,
                use_cache=True,
                **last,
            )
        return output.logits[:, -1].float()

    def keep(self, numbers: Sequence[int]) -> list[Writing]:
        """Let go of the other rows, and of places where no row that stays has a token; the rows that went."""
        import torch

        if len(numbers) == len(self.rows):
            return []
        gone = [row for number, row in enumerate(self.rows) if number not in set(numbers)]
        self.rows = [self.rows[number] for number in numbers]
        if not self.rows:
            self._cache = self._mask_BT = self._logits_BV = None
            return gone
        chosen = torch.tensor(list(numbers), device=self.terms.device)
        mask_BT = self._mask_BT[chosen]
        first = int(mask_BT.any(0).int().argmax())
        self._mask_BT = mask_BT[:, first:].contiguous()
        self._logits_BV = self._logits_BV[chosen]
        for layer in self._cache.layers:
            layer.keys = layer.keys[chosen, :, first:].contiguous()
            layer.values = layer.values[chosen, :, first:].contiguous()
        return gone

    def _merge(self, cache: Any, mask_BT: Any) -> None:
        """Put another cache below this one, both as wide as the wider, on the left of which nothing is."""
        import torch

        width = max(self._mask_BT.shape[1], mask_BT.shape[1])

        def wide(places: Any, dimension: int) -> Any:
            missing = width - places.shape[dimension]
            return torch.nn.functional.pad(places, (*((0, 0) * (places.dim() - 1 - dimension)), missing, 0))

        for mine, other in zip(self._cache.layers, cache.layers, strict=True):
            mine.keys = torch.cat([wide(mine.keys, 2), wide(other.keys, 2)])
            mine.values = torch.cat([wide(mine.values, 2), wide(other.values, 2)])
        self._mask_BT = torch.cat([wide(self._mask_BT, 1), wide(mask_BT, 1)])
