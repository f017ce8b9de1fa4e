"""Attention over documents that lie one behind another in a single row, each of which sees only itself:
variable-length flash attention on a GPU, one call for each document elsewhere. Knows no data and no trainer.

Imports torch: only the runner's stages may import it, inside a function."""

import inspect
import itertools
import re
import weakref
from typing import Any

import torch
from torch import Tensor

from finetune.data.apart import PLACELESS
from finetune.errors import ModelError, TrainingError
from finetune.kernels import flash, tiled
from finetune.kernels.terms import Terms

NAME = "varlen"
"""What the model's config calls it."""
BEFORE: Any = weakref.WeakKeyDictionary()
"""Model -> how it attended before."""
BOUND = "attn_logit_softcapping"
"""What a configuration calls the bound of its attention's scores."""
ASKED = ("position_bias", "dropout")
"""What models may ask of attention besides, and what this one does not do."""
NAMED = re.compile(r"_attn_implementation\s*(?:(?:not\s+)?in\s*[(\[{]|[!=]=\s*[\"']sdpa)")
"""A model's code that goes by the name of its attention, which is not the usual one here."""
FLASH_DTYPES = (torch.bfloat16, torch.float16)
FLASH_HEAD = 256
"""Widest head that flash attention takes."""


def take(*, model: Any) -> str:
    """Let the model attend document by document where batches say where documents end, and as `sdpa` does elsewhere.
    Returns why it cannot, or nothing if it does."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    reason = _unfit(model)
    if reason:
        return reason
    before = model.config._attn_implementation
    if before == NAME:
        return ""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    BEFORE[model] = before
    model.set_attn_implementation(NAME)
    return ""


def keep_bound(model: Any, chosen: bool) -> None:
    """Let a model whose scores are bounded, as Gemma 2's are, keep that: `sdpa`, which transformers takes for it,
    leaves the bound out. `chosen`: its attention was asked for. ModelError where that, or another need of its
    attention, hinders it."""
    bound = getattr(model.config.get_text_config(), BOUND, None)
    if not bound or model.config._attn_implementation != "sdpa":
        return
    hindered = "the recipe asks for sdpa" if chosen else take(model=model)
    BEFORE.pop(model, None)  # for good
    if hindered:
        ways = "auto or eager" if chosen else "eager"
        raise ModelError(
            f"{type(model).__name__} bounds the scores of its attention ({BOUND} {bound}), which sdpa leaves out, and "
            f"{hindered}: write attn_implementation: {ways}"
        )


def give_back(model: Any) -> bool:
    """Let the model attend as before `take`; whether it was taken."""
    before = BEFORE.pop(model, None)
    if before is not None:
        model.set_attn_implementation(before)
    return before is not None


def _unfit(model: Any) -> str:
    config = model.config.get_text_config()
    if not getattr(model, "_supports_attention_backend", False):
        return f"{type(model).__name__} does not let its attention be chosen"
    if getattr(config, "attention_dropout", None):
        return (
            f"the model has attention_dropout {config.attention_dropout}, which variable-length attention does not do"
        )
    odd = [kind for kind in getattr(config, "layer_types", None) or () if kind not in PLACELESS]
    if odd:
        return f"the model has layers of the kind {odd[0]}, which variable-length attention does not do"
    if _asks_for_sdpa(type(model)):
        return f"{type(model).__name__} computes otherwise where its attention is not called sdpa"
    return ""


def _asks_for_sdpa(kind: Any) -> bool:
    """Whether the code of a model asks what its attention is called."""
    module = inspect.getmodule(kind)
    try:
        return bool(module and NAMED.search(inspect.getsource(module)))
    except OSError:
        return False


def attend(
    module: Any,
    query: Tensor,  # (B, heads, T, D)
    key: Tensor,  # (B, key heads, T, D)
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, Any]:
    """(B, T, heads, D). transformers' attention interface; `cu_seq_lens_q`, int32 (documents + 1), says where documents
    end in the one row of the batch, `max_length_q` how long one is at most."""
    ends = kwargs.get("cu_seq_lens_q")
    if ends is None:
        ordinary: tuple[Tensor, Any] = _ordinary(module, query, key, value, attention_mask, **kwargs)
        return ordinary
    assert query.shape[0] == 1, "documents lie in one row"
    _refuse_more(module, attention_mask, kwargs)
    terms = _terms(query, kwargs)
    # Not by an index: its backward pass copies what it took.
    rows = (query.transpose(1, 2).squeeze(0), key.transpose(1, 2).squeeze(0), value.transpose(1, 2).squeeze(0))
    sinks = kwargs.get("s_aux")
    if sinks is not None:
        flash.tell(tiled.WHY_SINKS)
        return tiled.flat(rows, ends, terms, sinks)[None], None
    if _flash(query, value):
        return flash.attend(rows, ends, kwargs["max_length_q"], terms)[None], None
    if terms.cap:
        flash.tell(tiled.WHY_BOUNDED)
        return tiled.flat(rows, ends, terms)[None], None
    flash.tell(f"attention by sdpa, each document by itself: {_why_not_flash(query)}")
    return _one_by_one((query, key, value), ends, terms), None


def _terms(query: Tensor, asked: dict[str, Any]) -> Terms:
    scale = asked.get("scaling")
    usual = query.shape[-1] ** -0.5
    return Terms(usual if scale is None else scale, asked.get("softcap"), asked.get("sliding_window"))


def _refuse_more(module: Any, mask: Tensor | None, asked: dict[str, Any]) -> None:
    """TrainingError for attention that is more than that of each document to itself, up to a window."""
    config = getattr(module, "config", None)
    name = type(module).__name__
    for one in ASKED:
        if asked.get(one) is not None and asked[one] != 0.0:
            raise TrainingError(f"{name} asks for {one}, which variable-length attention does not do")
    if asked.get("is_causal", getattr(module, "is_causal", True)) is False:
        raise TrainingError(f"{name} is not causal, which variable-length attention always is")
    if mask is not None and mask.shape[-1] > 1 and not getattr(config, "output_router_logits", False):
        raise TrainingError(f"{name} makes a mask of its own, which variable-length attention does not read")
    kinds, number = getattr(config, "layer_types", None), getattr(module, "layer_idx", None)
    slides = kinds and isinstance(number, int) and number < len(kinds) and kinds[number] == "sliding_attention"
    if slides and asked.get("sliding_window") is None:
        raise TrainingError(f"{name} does not hand its window to its attention")


def _ordinary(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any) -> Any:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if mask is not None and mask.shape[-1] != key.shape[-2]:
        raise TrainingError(
            f"{type(module).__name__} does not hand its attention where documents end, so they would see each other. "
            "Set attn_implementation: sdpa, and sample_packing: false"
        )
    if kwargs.get("softcap") or kwargs.get("s_aux") is not None:
        if kwargs.get("dropout"):
            raise TrainingError(f"{type(module).__name__} asks for dropout: write attn_implementation: eager")
        return tiled.padded((query, key, value), mask, _terms(query, kwargs), kwargs.get("s_aux")).transpose(1, 2), None
    return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, mask, **kwargs)


def _flash(query: Tensor, value: Tensor) -> bool:
    return query.is_cuda and query.dtype in FLASH_DTYPES and max(query.shape[-1], value.shape[-1]) <= FLASH_HEAD


def _why_not_flash(query: Tensor) -> str:
    if not query.is_cuda:
        return "there is no GPU"
    if query.dtype not in FLASH_DTYPES:
        return f"flash attention computes in 16 bits, not in {str(query.dtype).removeprefix('torch.')}"
    return f"flash attention takes heads of {FLASH_HEAD} at most"


def _one_by_one(heads: tuple[Tensor, Tensor, Tensor], ends: Tensor, terms: Terms) -> Tensor:
    from torch.nn.functional import scaled_dot_product_attention as attention

    places = ends.tolist()
    grouped = heads[1].shape[1] != heads[0].shape[1]
    parts = []
    for first, last in itertools.pairwise(places):
        query, key, value = (each[:, :, first:last] for each in heads)
        mask = _window(last - first, terms.window, query.device)
        part = attention(query, key, value, mask, is_causal=mask is None, scale=terms.scale, enable_gqa=grouped)
        parts.append(part.transpose(1, 2))
    return torch.cat(parts, dim=1)


def _window(length: int, window: int | None, device: torch.device) -> Tensor | None:
    """bool (T, T): which tokens a token sees, where a window shortens that."""
    if window is None or length <= window:
        return None
    whole = torch.ones(length, length, dtype=torch.bool, device=device)
    return whole.tril() & whole.triu(1 - window)
