"""Values as other tools write them -> as the recipe's keys hold them. NotCarriedError for what a key cannot hold."""

import math
import re
from typing import Any

from finetune.importing.draft import NotCarriedError
from finetune.importing.found import Symbol
from finetune.recipe.optimizers import OPTIMIZERS, SCHEDULERS
from finetune.recipe.source import plain

OPTIMIZER_NAMES = {
    "adamw_hf": "adamw_torch",
    "adamw": "adamw_torch",
    "adamw_bnb": "adamw_8bit",
    "adamw_torch_xla": "adamw_torch",
    "paged_adamw": "paged_adamw_32bit",
    "lion": "lion_32bit",
    "paged_lion": "paged_lion_32bit",
    "rmsprop_32bit": "rmsprop_bnb_32bit",
    "ademamix_32bit": "ademamix",
    "paged_ademamix": "paged_ademamix_32bit",
}


def number(value: Any) -> Any:
    """A number that was written as text ("2e-4"), as that number."""
    read = plain(value.strip()) if isinstance(value, str) else value
    if isinstance(read, bool) or not isinstance(read, int | float) or not math.isfinite(read):
        raise NotCarriedError(f"{value!r} is not a number")
    return read


def whole(value: Any) -> int:
    found = number(value)
    if isinstance(found, float) and not found.is_integer():
        raise NotCarriedError(f"{value!r} is not a whole number, which is what the recipe's key takes")
    return int(found)


def flag(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no", "on", "off"):
        return value.lower() in ("true", "yes", "on")
    if value in (0, 1) and not isinstance(value, bool):
        return bool(value)
    if not isinstance(value, bool):
        raise NotCarriedError(f"{value!r} is neither true nor false")
    return value


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise NotCarriedError(f"{value!r} is not text")
    return value


def words(value: Any) -> list[str]:
    """A list of names, or one text with commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, list | tuple | set) and all(isinstance(item, str) for item in value):
        return sorted(value) if isinstance(value, set) else list(value)
    raise NotCarriedError(f"{value!r} is no list of names")


def optimizer(value: Any) -> str:
    name = value.text.rsplit(".", 1)[-1].lower() if isinstance(value, Symbol) else str(value)
    name = OPTIMIZER_NAMES.get(name, name)
    if name not in OPTIMIZERS:
        raise NotCarriedError(f"the optimizer {name!r} is not one of those here")
    return name


def scheduler(value: Any) -> str:
    name = value.text.rsplit(".", 1)[-1].lower() if isinstance(value, Symbol) else str(value)
    if name not in SCHEDULERS:
        raise NotCarriedError(f"the course {name!r} of the learning rate is not one of those here")
    return name


def targets(value: Any) -> Any:
    """Names of modules, or one pattern."""
    if isinstance(value, str):
        names = words(value)
        return names if all(re.fullmatch(r"[\w.-]+", name) for name in names) else value
    return words(value)


def attention(value: Any) -> str:
    names = ("sdpa", "eager", "flash_attention_2", "flash_attention_3", "flash_attention_4", "flex_attention", "auto")
    if value in names:
        return str(value)
    if isinstance(value, str) and value.startswith("kernels-community/"):
        near = {
            "flash-attn3": "flash_attention_3",
            "vllm-flash-attn3": "flash_attention_3",
            "flash-attn4": "flash_attention_4",
        }
        raise NotCarriedError(
            f"kernels from the hub are not loaded here; {near.get(value.split('/')[1], 'flash_attention_2')} is near"
        )
    raise NotCarriedError(f"{value!r} is none of {', '.join(names)}")
