"""Rows of tokens and labels -> how likely the model finds what is learned in each. Knows no metric and no file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.generation import one_number_type
from finetune.rendering.lengths import IGNORED

LOGITS = 2**26
"""Numbers of a batch of logits, at most; a row that alone has more is measured alone."""


@dataclass(frozen=True)
class Likely:
    """Of one row: `loss`: the negative log-likelihood of all learned tokens; `tokens`: how many; `foreseen`: of how
    many the model found the right one the most likely."""

    loss: float
    tokens: int
    foreseen: int


def likelihoods(
    rows: Sequence[tuple[Sequence[int], Sequence[int]]], model: Any, watch: Callable[[int], None] = lambda done: None
) -> list[Likely]:
    """Of each (token ids, labels). Padded on the right, several rows at a time, the longest first."""
    order = sorted(range(len(rows)), key=lambda number: -len(rows[number][0]))
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    found: list[Likely | None] = [None] * len(rows)
    place = 0
    while place < len(order):
        width = len(rows[order[place]][0])
        batch = order[place : place + max(1, LOGITS // (width * vocabulary))]
        for number, likely in zip(batch, _batch([rows[number] for number in batch], model), strict=True):
            found[number] = likely
        place += len(batch)
        watch(place)
    return [likely for likely in found if likely is not None]


def _batch(rows: Sequence[tuple[Sequence[int], Sequence[int]]], model: Any) -> list[Likely]:
    import torch

    width = max(len(ids) for ids, _ in rows)
    ids_BT = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids, _ in rows], device=model.device)
    mask_BT = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows], device=model.device)
    labels_BT = torch.tensor([[*labels, *[IGNORED] * (width - len(labels))] for _, labels in rows], device=model.device)
    with torch.inference_mode(), one_number_type(model):
        logits_BTV = model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).logits
    logits_BTV = logits_BTV[:, -width:]  # learned prompts stand before the text
    wanted_BT = labels_BT[:, 1:]
    given = []
    for logits_TV, wanted_T in zip(logits_BTV[:, :-1], wanted_BT, strict=True):
        learned_T = wanted_T != IGNORED
        scores_NV, right_N = logits_TV[learned_T].float(), wanted_T[learned_T]
        loss = torch.nn.functional.cross_entropy(scores_NV, right_N, reduction="sum") if len(right_N) else 0.0
        given.append(Likely(float(loss), len(right_N), int((scores_NV.argmax(-1) == right_N).sum())))
    return given
