"""Whether the modules that a recipe names are in the model: peft passes over a name that matches nothing. Changes
nothing."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from finetune.errors import ModelError
from finetune.kernels.zero import rows_of

SHOWN = 12
"""Names of modules that are listed where none is near."""


def check_names(*, model: Any, names: Mapping[str, Sequence[str] | str]) -> None:
    """ModelError for the first name, under any of these keys, that no module of the model answers to.

    `names`: key -> a list of names, as peft compares them, or a pattern that has to match a module's whole name."""
    modules = [name for name, _ in model.named_modules() if name]
    for key, wanted in names.items():
        if isinstance(wanted, str):
            if not any(re.fullmatch(wanted, name) for name in modules):
                raise ModelError(_message(key, wanted, modules) + _experts(model, key))
            continue
        for one in wanted:
            if not any(_matcher(key)(one, name) for name in modules):
                raise ModelError(_message(key, one, modules) + _experts(model, key))


def check_tokens(*, model: Any, numbers: Sequence[int] | Mapping[str, Sequence[int]]) -> None:
    """ModelError for the first token, under peft_trainable_token_indices, that the model has no embedding for."""
    per_layer = numbers if isinstance(numbers, Mapping) else {"": numbers}
    for layer, wanted in per_layer.items():
        found = [module for name, module in model.named_modules() if layer and _matcher("")(layer, name)]
        if layer and not found:
            modules = [name for name, _ in model.named_modules() if name]
            raise ModelError(_message("peft_trainable_token_indices", layer, modules))
        there = rows_of((found[0] if found else model.get_input_embeddings()).weight)
        beyond = next((number for number in wanted if number >= there), None)
        if beyond is not None:
            raise ModelError(
                f"peft_trainable_token_indices: there is no token {beyond}; the model's are 0 to {there - 1}"
            )


def in_one_tensor(parameters: Mapping[str, Any]) -> list[str]:
    """Names, without the number of their block, of tensors of three dimensions, which experts are kept in."""
    return sorted({re.sub(r"^.*\.\d+\.", "", name) for name, weight in parameters.items() if weight.ndim == 3})


def _experts(model: Any, key: str) -> str:
    named = [name for name in in_one_tensor(dict(model.named_parameters())) if "expert" in name]
    if not named or key != "lora_target_modules":
        return ""
    return f". Its experts are no modules, but tensors: lora_target_parameters: [{', '.join(named)}]"


def _matcher(key: str) -> Callable[[str, str], bool]:
    if key.endswith("_pattern"):
        return lambda pattern, name: re.match(rf"(.*\.)?({pattern})$", name) is not None
    return lambda wanted, name: name == wanted or name.endswith(f".{wanted}")


def _message(key: str, wanted: str, modules: Sequence[str]) -> str:
    last = list(dict.fromkeys(name.rsplit(".", 1)[-1] for name in modules if not name.rsplit(".", 1)[-1].isdigit()))
    near = difflib.get_close_matches(wanted, last, n=3)
    hint = f"did you mean {', '.join(near)}?" if near else f"its modules are named {', '.join(last[:SHOWN])}"
    return f"{key}: {wanted!r} is no module of the model, so nothing of it would be trained; {hint}"
