"""What of a model is not kept in 4 or 8 bits although a recipe wants few: layers whose weights the model reads itself,
which would be no matrix then, and experts that no linear layer holds."""

import inspect
import re
from typing import Any

from finetune.adapters.left_out import AROUND, linear_layers_read
from finetune.adapters.targets import in_one_tensor
from finetune.plan import Call

CHANGED = re.compile(r"self\.(\w+)\.weight(?:\.data)?\.(?!size|new_|to\b|type\b)\w+\(")
"""A layer's weight of which something is computed."""
LARGE = 0.1
"""Share of a model that is worth a word."""


def leave_readable(config: Any, model_call: Call) -> None:
    """Tell bitsandbytes to leave out the layers whose weights the model reads itself, around the layer."""
    import torch
    import transformers
    from transformers.quantizers.base import get_keys_to_not_convert

    given = model_call.arguments
    if not hasattr(config, "llm_int8_skip_modules") or given["trust_remote_code"]:
        return
    wanted = {name: given[name] for name in ("pretrained_model_name_or_path", "revision")}
    said = transformers.AutoConfig.from_pretrained(**wanted)
    loader = getattr(transformers, model_call.target.split(".")[1])
    kind = getattr(loader, "_model_mapping", {}).get(type(said), None)
    module: Any = inspect.getmodule(kind) if inspect.isclass(kind) else None
    source = inspect.getsource(module) if module else ""
    if not AROUND.search(source) and not CHANGED.search(source):
        return
    with torch.device("meta"):
        model = loader.from_config(said)
    read = linear_layers_read(model, AROUND, CHANGED)
    if read:
        config.llm_int8_skip_modules = sorted({*get_keys_to_not_convert(model), *read})


def not_in_few_bits(model: Any) -> str:
    """What should be said of weights that stay as they are although the recipe wants few bits."""
    if not getattr(model, "is_quantized", False):
        return ""
    sizes = {name: weight.numel() * weight.element_size() for name, weight in model.named_parameters()}
    wide = {name: one for name, one in model.named_parameters() if one.ndim == 3 and one.is_floating_point()}
    bytes_of_wide = sum(sizes[name] for name in wide)
    if bytes_of_wide < LARGE * sum(sizes.values()):
        return ""
    kind = str(next(iter(wide.values())).dtype).removeprefix("torch.")
    names = ", ".join(in_one_tensor(wide))
    return (
        f"warning: {bytes_of_wide / sum(sizes.values()):.0%} of the model's memory ({bytes_of_wide / 2**30:.2g} GiB) "
        f"stays in {kind}: experts in one tensor ({names}), and linear layers alone are quantized"
    )
