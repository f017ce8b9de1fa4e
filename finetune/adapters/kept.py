"""Linear layers that LoRA would lose: where experts have become one tensor, peft takes the names of their old layers
for that tensor, and forgets that other layers of the model (shared experts, the first blocks) still go by these names.

peft 0.21.2; a test fails once peft reaches them by itself. Changes nothing but peft's configuration."""

import copy
from typing import Any

from finetune.adapters.lora import ALL_LINEAR


def keep_reach(*, model: Any, peft_config: Any) -> None:
    """Tell a LoraConfig of such layers by their weights, which keep their names."""
    lost = lost_layers(model, peft_config)
    if lost and not getattr(model, "is_quantized", False):
        named = [*(peft_config.target_parameters or ()), *short(model, lost)]
        peft_config.target_parameters = sorted(set(named))


def lost_layers(model: Any, peft_config: Any) -> list[str]:
    """Linear layers that a LoraConfig means and peft passes over."""
    from peft.tuners.tuners_utils import check_target_module_exists
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    changed = copy.deepcopy(peft_config)
    convert_peft_config_for_transformers(changed, model, None)
    if changed.target_modules == peft_config.target_modules:
        return []
    parameters = [str(name) for name in changed.target_parameters or ()]
    whole = peft_config.target_modules == ALL_LINEAR
    return [
        name
        for name in _linear(model)
        if (whole or check_target_module_exists(peft_config, name))
        and not check_target_module_exists(changed, name)
        and not any(f"{name}.weight".endswith(f".{one}") for one in parameters)
        and not any(name == one or name.endswith(f".{one}") for one in peft_config.exclude_modules or ())
    ]


def _linear(model: Any) -> list[str]:
    import torch

    head = model.get_output_embeddings()
    return [name for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear) and layer is not head]


def short(model: Any, lost: list[str]) -> list[str]:
    """Names of the layers' weights without what comes before their last parent."""
    wanted = {f"{name}.weight" for name in lost}
    ends = {".".join(name.split(".")[-3:]) for name in wanted}
    meant = {name for name, _ in model.named_parameters() if any(name.endswith(f".{end}") for end in ends)}
    return sorted(ends if meant == wanted else wanted)
