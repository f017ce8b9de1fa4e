"""What a checkpoint whose weights are already quantized means for a recipe. Judges config.json; loads nothing."""

from collections.abc import Callable, Mapping
from typing import Any

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "bitsandbytes": ("bitsandbytes",),
    "gptq": ("gptqmodel", "optimum"),
    "awq": ("gptqmodel",),
    "hqq": ("hqq",),
    "aqlm": ("aqlm",),
    "torchao": ("torchao",),
}
"""Kinds of quantized weights on which transformers 5.17 can train an adapter -> what must be installed."""
UNPACKED = {"mxfp4": "Mxfp4Config", "fp8": "FineGrainedFP8Config"}
"""Kinds that can only be trained after they were unpacked to 16 bits, and by which class."""


def kind_of(config: Mapping[str, Any]) -> str | None:
    """How the checkpoint's weights are quantized, by transformers' word for it; None where they are not."""
    found = config.get("quantization_config")
    return str(found.get("quant_method") or "bitsandbytes").lower() if isinstance(found, dict) else None


def verdict(
    config: Mapping[str, Any], asked: Mapping[str, Any], has: Callable[[str], object]
) -> tuple[str | None, str | None, str]:
    """(the key that cannot hold or None, why, what should be said). `asked`: the recipe's keys; `has`: whether a
    package is installed."""
    kind, inside = kind_of(config), config.get("quantization_config") or {}
    if kind is None:
        return None, None, ""
    size = "4-bit" if inside.get("load_in_4bit") else "8-bit" if inside.get("load_in_8bit") else kind
    said = f"base_model's weights are already quantized ({_described(kind, inside, size)})"
    if kind in UNPACKED and asked.get("model_quantization_config") == UNPACKED[kind]:
        return None, None, f"{said}; they are unpacked to 16 bits"
    if kind in UNPACKED:
        instead = f"Set model_quantization_config: {UNPACKED[kind]}, which unpacks them, or name the 16-bit model"
        return "base_model", f"{said}, and nothing can be trained on them. {instead}", said
    if kind not in PACKAGES:
        return "base_model", f"{said}, and transformers trains nothing on them. Name the 16-bit model", said
    if not asked.get("adapter"):
        why = f"{said}, and quantized weights cannot be trained themselves. Set adapter: lora, or name the 16-bit model"
        return "base_model", why, said
    missing = [package for package in PACKAGES[kind] if not has(package)]
    if missing:
        pip = f"pip install {' '.join(missing)}"
        return "base_model", f"{said}, which needs {pip}. Or name the 16-bit model, with load_in_4bit: true", said
    return (*_contradiction(kind, inside, asked, said), said)


def _described(kind: str, inside: Mapping[str, Any], size: str) -> str:
    if kind != "bitsandbytes" or size != "4-bit":
        bits = f", {inside['bits']} bits" if isinstance(inside.get("bits"), int) else ""
        return f"{kind}{bits}" if size == kind else f"{kind} {size}{bits}"
    double = ", double quantization" if inside.get("bnb_4bit_use_double_quant") else ""
    return f"{kind} 4-bit {inside.get('bnb_4bit_quant_type', 'fp4')}{double}"


def _contradiction(
    kind: str, inside: Mapping[str, Any], asked: Mapping[str, Any], said: str
) -> tuple[str | None, str | None]:
    """A key that asks for weights other than those that are there."""
    if kind != "bitsandbytes":
        for key in ("load_in_4bit", "load_in_8bit", "load_in_torchao"):
            if asked.get(key):
                return key, f"`{key}` would quantize anew, but {said}. Remove the line, or name the 16-bit model"
        return None, None
    for key, other in (("load_in_4bit", "load_in_8bit"), ("load_in_8bit", "load_in_4bit")):
        if asked.get(key) and inside.get(other):
            return key, f"`{key}: true` contradicts the checkpoint: {said}. Write {other}: true, or remove the line"
    if asked.get("load_in_torchao"):
        return "load_in_torchao", f"`load_in_torchao` would quantize anew, but {said}. Remove the line"
    for name, value in (asked.get("bnb_config_kwargs") or {}).items():
        if name in inside and inside[name] != value:
            why = f"`bnb_config_kwargs.{name}: {value}` contradicts the checkpoint, which was made with {inside[name]}"
            return "bnb_config_kwargs", f"{why}: {said}. Remove the line, or name the 16-bit model"
    return None, None
