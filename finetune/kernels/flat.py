"""Batches without padding: the documents of a batch laid end to end in one row, and how one batch is cut into passes of
a bounded number of tokens. Knows no model and no trainer.

Imports torch: only the runner's stages may import it, inside a function."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

IGNORED = -100
"""Label of a token that the loss skips: torch cross_entropy's ignore_index."""


@dataclass(frozen=True)
class FlatCollator:
    """Rows with `input_ids` and `labels` (and `seq_lengths` where a row holds several documents) -> one row.

    `pad_to`: a multiple that the row is filled up to, with a document that teaches nothing."""

    pad_token_id: int
    pad_to: int | None = None

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        lengths = [length for row in rows for length in row.get("seq_lengths") or [len(row["input_ids"])]]
        ids = torch.cat([torch.as_tensor(row["input_ids"]) for row in rows]).long()
        labels = torch.cat([torch.as_tensor(row["labels"]) for row in rows]).long()
        missing = -len(ids) % self.pad_to if self.pad_to else 0
        if missing:
            ids = torch.nn.functional.pad(ids, (0, missing), value=self.pad_token_id)
            labels = torch.nn.functional.pad(labels, (0, missing), value=IGNORED)
            lengths.append(missing)
        return batch_of(ids, labels, lengths)


def batch_of(ids_T: Tensor, labels_T: Tensor, lengths: Sequence[int]) -> dict[str, Any]:
    """What a model is given of documents laid end to end. `targets`: what each learned token's predecessor is to say,
    and `learned`: where those predecessors stand. Nothing predicts the first token of a document."""
    sizes = torch.tensor(lengths)
    ends = torch.nn.functional.pad(sizes.cumsum(0), (1, 0)).int()
    labels = labels_T.clone()
    labels[ends[:-1][sizes > 0].long()] = IGNORED
    learned = (labels[1:] != IGNORED).nonzero()[:, 0]
    return {
        "input_ids": ids_T[None],
        "labels": labels[None],
        "position_ids": (torch.arange(len(ids_T)) - ends[:-1].long().repeat_interleave(sizes))[None],
        "cu_seq_lens_q": ends,
        "max_length_q": max(lengths),
        "lengths": list(lengths),
        "learned": learned,
        "targets": labels[1:][learned],
    }


def passes_of(batch: Mapping[str, Any], tokens: int | None) -> Iterator[dict[str, Any]]:
    """The batch in as few passes of at most `tokens` tokens as its order allows; a longer document gets one of its
    own. Documents are not cut, and a pass that would teach nothing is left out."""
    lengths = batch["lengths"]
    if tokens is None or sum(lengths) <= tokens:
        yield dict(batch)
        return
    groups: list[list[int]] = []
    for length in lengths:
        if groups and sum(groups[-1]) + length <= tokens:
            groups[-1].append(length)
        else:
            groups.append([length])
    ends = [0, *itertools.accumulate(sum(group) for group in groups)]
    for group, (first, last) in zip(groups, itertools.pairwise(ends), strict=True):
        one = batch_of(batch["input_ids"][0, first:last], batch["labels"][0, first:last], group)
        if len(one["targets"]):
            yield one


def filled(batch: Mapping[str, Any], tokens: int, documents: int, pad_token_id: int) -> dict[str, Any]:
    """The batch filled up to a multiple of `tokens`, with a document that teaches nothing, and to a multiple of
    `documents`, with some of no token: of the shapes of few batches."""
    ids, labels, lengths = batch["input_ids"][0], batch["labels"][0], list(batch["lengths"])
    missing = -len(ids) % tokens
    if missing:
        ids = torch.nn.functional.pad(ids, (0, missing), value=pad_token_id)
        labels = torch.nn.functional.pad(labels, (0, missing), value=IGNORED)
        lengths.append(missing)
    lengths += [0] * (-len(lengths) % documents)
    whole = batch_of(ids, labels, lengths)
    return whole | {"max_length_q": len(ids)}


def nothing_like(batch: Mapping[str, Any]) -> dict[str, Any]:
    """A batch of the first token of another, which teaches nothing."""
    first = batch["input_ids"][0, :1]
    return batch_of(first, torch.full_like(first, IGNORED), [1])
