"""What an adapter does not reach, in words, for whoever would take it for granted. Changes nothing."""

from typing import Any

from finetune.adapters.left_out import READ, unfit
from finetune.adapters.targets import in_one_tensor
from finetune.kernels.zero import rows_of

LARGE = 0.1
"""Share of the weights that is worth a word."""
SHOWN = 4


def unreached(model: Any) -> list[str]:
    """Of a model with LoRA: layers that were left out, and weights that are in no layer it could be on."""
    configs = getattr(model, "peft_config", None) or {}
    config = configs.get("default")
    if config is None or not str(config.peft_type).endswith("LORA"):
        return []
    return [*_left_out(model, config), *_passed_over(model, config), *_in_no_layer(model, config)]


def _left_out(model: Any, config: Any) -> list[str]:
    names = config.exclude_modules
    if not names:
        return []
    shown = [names] if isinstance(names, str) else sorted(names)
    why = " or ".join(sorted(set(unfit(model.get_base_model()).values()) or {READ}))
    return [f"LoRA leaves out {', '.join(shown[:SHOWN])}{', …' if len(shown) > SHOWN else ''}: {why}"]


def _passed_over(model: Any, config: Any) -> list[str]:
    """Layers that peft passes over where their weights are quantized."""
    if not getattr(model, "is_quantized", False) or not config.target_parameters:
        return []
    mapped = {"gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"}
    bare = [name for name, layer in model.get_base_model().named_modules() if _is_bare(name, layer, mapped)]
    if not bare:
        return []
    names = sorted({".".join(name.split(".")[-2:]) for name in bare})
    return [
        f"warning: LoRA is not on {', '.join(names[:SHOWN])} ({len(bare)} layers): peft takes these names for the "
        "experts, and cannot name weights in 4 or 8 bits otherwise. Without load_in_4bit and load_in_8bit it is"
    ]


def _is_bare(name: str, layer: Any, last: set[str]) -> bool:
    import torch

    return isinstance(layer, torch.nn.Linear) and name.rsplit(".", 1)[-1] in last


def _in_no_layer(model: Any, config: Any) -> list[str]:
    """Experts are kept as one tensor of three dimensions for all of them, which no linear layer holds."""
    whole = {name: weight for name, weight in model.get_base_model().named_parameters() if "lora_" not in name}
    alone = {
        name: weight
        for name, weight in whole.items()
        if weight.ndim == 3 and not weight.requires_grad and rows_of(weight)
    }
    targets = set(config.target_parameters or ())
    alone = {name: weight for name, weight in alone.items() if ".base_layer." not in name}
    every, found = sum(each.numel() for each in whole.values()), sum(each.numel() for each in alone.values())
    if not alone or found < LARGE * every:
        return []
    names = sorted({*in_one_tensor(alone)} - targets)
    return [
        f"{found / every:.0%} of the weights are experts in one tensor, on which LoRA is not: they stay as they are. "
        f"To train them too: lora_target_parameters: [{', '.join(names[:SHOWN])}]"
    ]
