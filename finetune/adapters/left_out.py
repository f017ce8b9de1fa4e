"""Which linear layers of a model cannot take LoRA, although peft would put it on them: those that give something else
than a product, and those whose weight the model reads itself, around the layer. Found on the model and in its classes'
source, not looked up by names. Changes nothing but peft's configuration."""

import functools
import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from finetune.adapters.lora import ALL_LINEAR
from finetune.errors import ModelError
from finetune.kernels.zero import in_parts

AROUND = re.compile(r"self\.(\w+)\.weight\s*(?:[,)@]|$)", re.MULTILINE)
"""A layer's weight that is handed on or multiplied with, not asked for its type or size."""
HEARD = "the model listens to it by its name, and would take the adapter's own layers for it"
READ = "the model reads its weight around the layer, where kernels are fused, and an adapter would not be seen"
OTHER = "it gives something else than a product with its weight"


def leave_out(*, model: Any, peft_config: Any) -> None:
    """Tell a LoraConfig of `all-linear` to leave such layers out. ModelError where its layers are named, and one of
    them is such a layer."""
    found = unfit(model)
    if peft_config.target_modules == ALL_LINEAR:
        peft_config.exclude_modules = _short(model, found) or None
        return
    from peft.tuners.tuners_utils import check_target_module_exists

    named = next((name for name in found if check_target_module_exists(peft_config, name)), None)
    if named is not None:
        raise ModelError(f"lora_target_modules: LoRA cannot be on {named}: {found[named]}. Leave it out of the list")


def unfit(model: Any) -> Mapping[str, str]:
    """Linear layer -> why LoRA cannot be on it."""
    import torch

    ends, heard = {id(model.get_output_embeddings())}, _heard(model)
    around, found = set(linear_layers_read(model, AROUND)), {}
    for name, parent in model.named_modules():
        for child, layer in parent.named_children():
            if not isinstance(layer, torch.nn.Linear) or id(layer) in ends:
                continue
            if f"{name}.{child}".lstrip(".") in around:
                found[f"{name}.{child}".lstrip(".")] = READ
            elif any(one in f"{name}.{child}" for one in heard):
                found[f"{name}.{child}".lstrip(".")] = HEARD
            elif _is_own(type(layer)) and not in_parts(layer) and not _gives_product(layer):
                found[f"{name}.{child}".lstrip(".")] = OTHER
    return found


def linear_layers_read(model: Any, *patterns: re.Pattern[str]) -> list[str]:
    """Names of linear layers whose weight the module around them reads, as a pattern finds it in its source."""
    import torch

    found = []
    for name, parent in model.named_modules():
        kind: Any = type(parent)
        for child, layer in parent.named_children():
            if isinstance(layer, torch.nn.Linear) and any(child in _read(kind, one) for one in patterns):
                found.append(f"{name}.{child}".lstrip("."))
    return found


@functools.cache
def _read(kind: Any, pattern: re.Pattern[str]) -> frozenset[str]:
    """Names of layers whose weight a class of modules reads itself."""
    try:
        sources = [
            inspect.getsource(each) for each in kind.__mro__ if not each.__module__.startswith(("torch", "builtin"))
        ]
    except (OSError, TypeError):
        return frozenset()
    return frozenset(name for source in sources for name in pattern.findall(source))


def _heard(model: Any) -> set[str]:
    """Parts of names of linear layers whose answers a model hands on beside its own."""
    import torch

    told = [each for part in model.modules() for each in (getattr(part, "_can_record_outputs", None) or {}).values()]
    every = [one for each in told for one in (each if isinstance(each, list | tuple) else [each])]
    return {one.layer_name for one in every if getattr(one, "target_class", None) is torch.nn.Linear and one.layer_name}


def _is_own(kind: type) -> bool:
    """Whether a linear layer is of a model's own class. Those of quantization are another matter."""
    return kind.__module__.startswith(("transformers.models.", "transformers_modules."))


def _gives_product(layer: Any) -> bool:
    import torch

    weight = layer.weight
    try:
        with torch.no_grad():
            given = layer(torch.zeros(1, 2, layer.in_features, dtype=weight.dtype, device=weight.device))
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError):
        return False
    return isinstance(given, torch.Tensor) and given.shape == (1, 2, layer.out_features)


def _short(model: Any, found: Iterable[str]) -> list[str]:
    """The last two parts of the names, where they say it as well as whole names."""
    wanted = set(found)
    short = sorted({".".join(name.split(".")[-2:]) for name in wanted})
    meant = {name for name, _ in model.named_modules() if any(name == one or name.endswith(f".{one}") for one in short)}
    return short if meant == wanted else sorted(wanted)
