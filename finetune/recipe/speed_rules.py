"""What of the keys of speed may not stand together. Looks at written values only; knows no library and no machine."""

from collections.abc import Iterator, Mapping
from typing import Any

_LIGER_LOSSES = ("liger_cross_entropy", "liger_fused_linear_cross_entropy")


def speed(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(the key to point at, the message) for each."""
    padded = _why_padded(values)
    for key in ("tokens_per_pass", "cut_cross_entropy", "cuda_graphs"):
        if values.get(key) and padded:
            yield key, f"`{key}` counts where rows are laid end to end, and here {padded}"
    if values.get("batch_flattening") is True and values.get("torch_compile"):
        yield "batch_flattening", "`batch_flattening` makes batches of every length, for which `torch_compile` compiles"
    for key in ("gradient_checkpointing", "activation_offloading"):
        if values.get("cuda_graphs") and values.get(key) not in (None, False):
            yield "cuda_graphs", f"`cuda_graphs` replays what was recorded, and `{key}` has it done otherwise. Keep one"
    for key in _LIGER_LOSSES:
        if values.get("cut_cross_entropy") and values.get(key):
            yield key, f"`{key}` and `cut_cross_entropy` are two ways to the same loss. Keep one"


def _why_padded(values: Mapping[str, Any]) -> str:
    if values.get("torch_compile"):
        return "torch_compile pads them to a few shapes: remove one of the two"
    if values.get("device_map") in ("auto", "balanced", "sequential"):
        return f"device_map: {values['device_map']} spreads the model: remove one of the two"
    packed = values.get("sample_packing")
    if values.get("batch_flattening") is False and not packed:
        return "batch_flattening is off: remove one of the two lines"
    flat = packed or values.get("batch_flattening") is True
    if values.get("attn_implementation") in ("sdpa", "eager", "flex_attention") and not flat:
        return f"attn_implementation: {values['attn_implementation']} pads them: write attn_implementation: auto"
    return ""
