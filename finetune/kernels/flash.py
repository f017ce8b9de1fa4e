"""Which kernel computes variable-length attention on a GPU: that of FlashAttention 3 or 4 where one is installed and
agrees with PyTorch's own, else PyTorch's own.

FlashAttention 4 compiles its kernels when they are first asked for (11 s on an H100); they are kept on disk. Imports
torch: only the runner's stages may import it, inside a function."""

import functools
import importlib
import inspect
import itertools
import os
from collections.abc import Callable
from importlib import metadata
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from finetune.data.kept_digests import caches
from finetune.kernels import tiled
from finetune.kernels.terms import Terms

LIBRARIES = {"flash-attn-3": "flash_attn_interface", "flash-attn-4": "flash_attn.cute"}
"""Package -> its module. Both from compute capability 9.0 on (Hopper)."""
CAPABILITY = (9, 0)
APART = 0.02
"""How far the kernels may be apart, relative, in 16 bits: PyTorch's own lies 0.004 from float32."""
LENGTHS = (5, 130, 61)
"""Documents of the trial: a part of a tile, and more than one."""
Rows = tuple[Tensor, Tensor, Tensor]
Kernel = Callable[[Rows, Tensor, int, Terms], Tensor]
TOLD: list[str] = []
"""What was taken since the beginning and why, in words."""
OWN_ALONE: list[str] = []
"""Why it must be PyTorch's own, if it must."""


class Heads(NamedTuple):
    """What a kernel is chosen for."""

    queries: int
    keys: int
    width: int
    value_width: int
    terms: Terms
    dtype: torch.dtype
    device: torch.device


def attend(rows: Rows, ends: Tensor, longest: int, terms: Terms) -> Tensor:
    """(T, heads, D) of query, key, value -> (T, heads, D of value), each document by itself.

    `ends`: int32 (documents + 1); `longest`: tokens that no document has more of."""
    query, key, value = rows
    widths = query.shape[-1], value.shape[-1]
    heads = Heads(query.shape[1], key.shape[1], *widths, terms, query.dtype, query.device)
    return _quickest(heads, torch.are_deterministic_algorithms_enabled())(rows, ends, longest, terms)


def begin(own_alone: str = "") -> None:
    """Choose anew from now on. `own_alone`: why it must be PyTorch's own."""
    _quickest.cache_clear()
    TOLD.clear()
    OWN_ALONE[:] = [own_alone] if own_alone else []


@functools.cache
def _quickest(heads: Heads, ordered: bool) -> Kernel:
    for package, module in LIBRARIES.items():
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        why = OWN_ALONE[0] if OWN_ALONE else ""
        kernel = None
        if not why:
            kernel, why = _tried(module, heads, ordered)
        if kernel:
            tell(f"attention by {package} {version}, which agrees with PyTorch's own")
            return kernel
        tell(f"attention stays PyTorch's own, not that of {package} {version}: {why}")
    if not TOLD:
        tell("attention by PyTorch's variable-length kernel, each document by itself")
    return _own


def tell(said: str) -> None:
    """Remember what a run is to say of its attention."""
    if said not in TOLD:
        TOLD.append(said)


def _own(rows: Rows, ends: Tensor, longest: int, terms: Terms) -> Tensor:
    if terms.cap:
        tell(tiled.WHY_BOUNDED)
        return tiled.flat(rows, ends, terms)
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = rows
    width = value.shape[-1]
    # It takes one width. A query and a key that are longer by zeros have the same product.
    wide = max(query.shape[-1], width)
    query, key, value = (pad(each, (0, wide - each.shape[-1])) if each.shape[-1] < wide else each for each in rows)
    more = {}
    if key.shape[1] != query.shape[1] and "enable_gqa" in inspect.signature(varlen_attn).parameters:
        more = {"enable_gqa": True}
    left = -1 if terms.window is None else terms.window - 1
    twice = (ends, ends, longest, longest)
    out: Tensor = varlen_attn(query, key, value, *twice, scale=terms.scale, window_size=(left, 0), **more)
    return out[..., :width]


def _of(module: str, ordered: bool) -> Kernel:
    """A library's kernel, called as ours are. ImportError and whatever else its code raises."""
    # Kernels are kept in files that are executed: not in a folder where everybody can write.
    os.environ.setdefault("FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED", "1")
    os.environ.setdefault("FLASH_ATTENTION_CUTE_DSL_CACHE_DIR", str(caches() / "flash_attention"))
    function = importlib.import_module(module).flash_attn_varlen_func
    everything = None if module.endswith("cute") else -1

    def kernel(rows: Rows, ends: Tensor, longest: int, terms: Terms) -> Tensor:
        sees = (everything, everything) if terms.window is None else (terms.window - 1, 0)
        more = {"softcap": terms.cap} if terms.cap else {}
        out = function(
            *rows,
            cu_seqlens_q=ends,
            cu_seqlens_k=ends,
            max_seqlen_q=longest,
            max_seqlen_k=longest,
            softmax_scale=terms.scale,
            causal=True,
            window_size=sees,
            deterministic=ordered,
            **more,
        )
        found: Tensor = out[0] if isinstance(out, tuple) else out
        return found

    return kernel


def _tried(module: str, heads: Heads, ordered: bool) -> tuple[Kernel | None, str]:
    """The kernel, or why it is not taken."""
    if torch.cuda.get_device_capability(heads.device) < CAPABILITY:
        return None, f"it needs compute capability {'.'.join(map(str, CAPABILITY))}"
    try:
        kernel = _of(module, ordered)
        # Some of what these libraries compile comes for a gradient alone.
        with torch.enable_grad(), torch.autocast(heads.device.type, enabled=False):
            ours, theirs = _results(_own, heads), _results(kernel, heads)
    except Exception as error:  # noqa: BLE001 - another library's code, of any version: ours goes on
        said = (str(error).strip().splitlines() or [""])[0][:160]
        return None, f"it cannot be used here ({type(error).__name__}: {said})"
    apart = max(float((one - other).norm() / one.norm()) for one, other in zip(ours, theirs, strict=True))
    return (kernel, "") if apart <= APART else (None, f"they are {apart:.1%} apart")


def _results(kernel: Kernel, heads: Heads) -> list[Tensor]:
    """float32 outputs and gradients of documents at random, which leave the run's own chance alone."""
    chance = torch.Generator(heads.device).manual_seed(0)

    def some(count: int, width: int) -> Tensor:
        drawn = torch.randn(sum(LENGTHS), count, width, generator=chance, device=heads.device)
        return drawn.to(heads.dtype).requires_grad_()

    rows = (some(heads.queries, heads.width), some(heads.keys, heads.width), some(heads.keys, heads.value_width))
    ends = torch.tensor([0, *itertools.accumulate(LENGTHS)], dtype=torch.int32, device=heads.device)
    out = kernel(rows, ends, max(LENGTHS), heads.terms)
    given = some(heads.queries, heads.value_width).detach()
    return [each.detach().float() for each in (out, *torch.autograd.grad(out, rows, given))]
