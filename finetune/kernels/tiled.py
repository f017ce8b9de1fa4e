"""Attention that PyTorch's kernels do not make: scores that are bounded, cap * tanh(score / cap), as Gemma 2's are, and
sinks, a learned score a head that stands for no token, as gpt-oss has. Made in tiles of queries, each computed anew in
the backward pass, so that the scores of a whole row are never kept. Knows no model.

Imports torch: only the runner's stages may import it, inside a function."""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from finetune.kernels.terms import Terms

Heads = tuple[Tensor, Tensor, Tensor]
TILE = 1024
"""Queries of a tile on a GPU, and the tokens that short documents may have together to be one."""
SMALL = 128
"""The same on a CPU, where a product of twice as many takes twice as long."""

WHY_BOUNDED = "attention in tiles, since the model bounds its scores, which no kernel of PyTorch's does"
WHY_SINKS = "attention in tiles, since the model has sinks, which no kernel of PyTorch's has"


def said(told: list[str]) -> bool:
    """Whether a run attends in tiles, by what it is to say of its attention."""
    return WHY_BOUNDED in told or WHY_SINKS in told


def flat(rows: Heads, ends: Tensor, terms: Terms, sinks: Tensor | None = None) -> Tensor:
    """(T, heads, D) of query, key, value -> (T, heads, D of value), each document by itself. `ends`: int32
    (documents + 1). `sinks`: (heads,)."""
    query, key, value = (each.transpose(0, 1)[None] for each in rows)
    places = ends.tolist()
    number_T = torch.searchsorted(ends[1:], torch.arange(places[-1], device=ends.device, dtype=ends.dtype), right=True)
    parts = []
    for asking, seen in tiles(places, TILE if query.is_cuda else SMALL):
        apart = number_T[asking, None] != number_T[None, seen]
        hidden = apart | _out_of_sight(asking, seen, terms.window, ends.device)
        parts.append(_tile((query[:, :, asking], key[:, :, seen], value[:, :, seen]), hidden, terms, sinks))
    return torch.cat(parts, dim=2)[0].transpose(0, 1)


def tiles(places: list[int], most: int) -> Iterator[tuple[slice, slice]]:
    """(at most `most` queries, keys that they may see) of documents that end at these places, the first of which is
    0."""
    begun = 0
    for first, last in itertools.pairwise(places):
        if last - begun > most:
            if first > begun:
                yield slice(begun, first), slice(begun, first)
            begun = first
        if last - begun > most:
            for start in range(first, last, most):
                end = min(start + most, last)
                yield slice(start, end), slice(first, end)
            begun = last
    if places[-1] > begun:
        yield slice(begun, places[-1]), slice(begun, places[-1])


def padded(heads: Heads, mask: Tensor | None, terms: Terms, sinks: Tensor | None = None) -> Tensor:
    """(B, heads, T, D) of query, of S keys and values -> (B, heads, T, D of value). `mask`: of transformers, bool or to
    be added, (B, 1, T, S); None: each token sees those before it, and a single one all."""
    query, key, value = heads
    parts = []
    for start in range(0, query.shape[2], TILE):
        asking = slice(start, min(start + TILE, query.shape[2]))
        if mask is None:
            ahead = key.shape[2] - query.shape[2]
            placed = slice(asking.start + ahead, asking.stop + ahead)
            hidden = _out_of_sight(placed, slice(0, key.shape[2]), None, query.device)
        else:
            part = mask[:, :, asking, : key.shape[2]]
            hidden = ~part if part.dtype == torch.bool else part < 0
        parts.append(_tile((query[:, :, asking], key, value), hidden, terms, sinks))
    return torch.cat(parts, dim=2)


def _out_of_sight(asking: slice, seen: slice, window: int | None, device: torch.device) -> Tensor:
    """bool (queries, keys): what comes later, or lies before the window."""
    behind = (
        torch.arange(asking.start, asking.stop, device=device)[:, None]
        - torch.arange(seen.start, seen.stop, device=device)[None]
    )
    later = behind < 0
    return later if window is None else later | (behind >= window)


def _tile(asked: Heads, hidden: Tensor, terms: Terms, sinks: Tensor | None) -> Tensor:
    if torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in (*asked, sinks)):
        kept: Tensor = checkpoint(_attended, asked, hidden, terms, sinks, use_reentrant=False, preserve_rng_state=False)
        return kept
    return _attended(asked, hidden, terms, sinks)


def _attended(asked: Heads, hidden: Tensor, terms: Terms, sinks: Tensor | None) -> Tensor:
    """(B, heads, t, D of value). Several heads of queries may share one of keys."""
    query, key, value = asked
    batch, heads, length, width = query.shape
    shared = (key.shape[1], heads // key.shape[1])
    grouped = query.reshape(batch, *shared, length, width)
    scores = (grouped @ key[:, :, None].transpose(-1, -2)).float() * terms.scale
    if terms.cap:
        scores = (scores / terms.cap).tanh() * terms.cap
    hidden = hidden[:, :, None] if hidden.dim() == 4 else hidden
    # Not minus infinity: a token of padding may see nothing.
    scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
    if sinks is not None:
        beside = sinks.float().reshape(1, *shared, 1, 1).expand(batch, *shared, length, 1)
        scores = torch.cat([scores, beside], dim=-1)
    weights = scores.softmax(dim=-1)
    weights = weights if sinks is None else weights[..., :-1]
    return (weights.to(value.dtype) @ value[:, :, None]).reshape(batch, heads, length, -1)
