"""What to say of a training that cannot go on: the smallest change of the recipe that would mend it, as YAML to paste.
Knows keys and figures; tries nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from finetune.continuing import HARMLESS

SHOWN = 8
"""Rows that are named."""
LOWER = 10
"""By how much a learning rate under which numbers blew up is divided."""
SANE_ADAPTER, SANE_WHOLE = 1e-3, 1e-4
"""The highest learning rates that are worth another try, of an adapter and of all weights."""
WARM = 20
"""Steps of warm-up where a recipe has none."""
SMALLEST = 64
"""Tokens below which sequence_len is no more halved."""


def of_memory(keys: Mapping[str, Any]) -> dict[str, Any]:
    """One step down, the result kept the same where that can be."""
    micro, tokens = keys.get("micro_batch_size", 1), keys.get("sequence_len", 0)
    at_once = keys.get("tokens_per_pass")
    if isinstance(at_once, int) and at_once > tokens:
        return {"tokens_per_pass": max(at_once // 2, tokens)}
    if not isinstance(micro, int):
        # Chosen from an estimate, which was too low: one row a pass, and as many rows in a step as before.
        return {"micro_batch_size": 1}
    if micro > 1 and not at_once:
        # Odd sizes too: a step holds at least as many rows as before.
        half = micro // 2
        steps = keys.get("gradient_accumulation_steps", 1)
        return {"micro_batch_size": half, "gradient_accumulation_steps": -(-steps * micro // half)}
    if keys.get("gradient_checkpointing") in (False, None, "auto"):
        return {"gradient_checkpointing": True}
    if (
        keys.get("adapter") in ("lora", "qlora")
        and keys.get("load_in_4bit") is not True
        and not keys.get("load_in_8bit")
    ):
        return {"adapter": "qlora", "load_in_4bit": True}
    return {"sequence_len": tokens // 2} if tokens >= 2 * SMALLEST else {}


def of_loading(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Smaller base weights, where an adapter leaves them as they are."""
    if keys.get("adapter") not in ("lora", "qlora"):
        return {} if keys.get("adapter") else {"adapter": "lora"}
    if keys.get("load_in_8bit"):
        return {"adapter": "qlora", "load_in_8bit": False, "load_in_4bit": True}
    return {} if keys.get("load_in_4bit") is True else {"adapter": "qlora", "load_in_4bit": True}


def of_measuring(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Fewer rows at a time, else shorter answers."""
    rows = keys.get("eval_batch_size") or 8
    if rows > 1:
        return {"eval_batch_size": rows // 2}
    if keys.get("do_causal_lm_eval") and keys.get("eval_max_new_tokens", 0) > 1:
        return {"eval_max_new_tokens": keys["eval_max_new_tokens"] // 2}
    return {}


def of_reading(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Fewer processes that read rows."""
    workers = keys.get("dataloader_num_workers") or 0
    return {"dataloader_num_workers": workers // 2} if workers else {}


def of_answers(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Shorter sample answers, else none."""
    tokens = keys.get("generation_max_new_tokens") or 0
    return {"generation_max_new_tokens": tokens // 2} if tokens > SMALLEST else {"sample_prompts": []}


def of_numbers(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Smaller steps; without them already small, the number type."""
    if keys.get("fp16") is True:
        return {"fp16": False, "bf16": True}
    usual = SANE_ADAPTER if keys.get("adapter") else SANE_WHOLE
    changed = {"learning_rate": float(f"{min(keys['learning_rate'] / LOWER, usual):.3g}")}
    if not keys.get("warmup_steps") and not keys.get("warmup_ratio"):
        changed["warmup_steps"] = WARM
    if not keys.get("max_grad_norm"):
        changed["max_grad_norm"] = 1.0
    return changed


def of_disk(keys: Mapping[str, Any], checkpoints: int) -> dict[str, Any]:
    """Fewer checkpoints at a time, else smaller ones."""
    if checkpoints > 1:
        return {"save_total_limit": 1}
    return {} if keys.get("save_only_model") else {"save_only_model": True}


def as_yaml(changed: Mapping[str, Any]) -> str:
    import yaml

    return "".join(yaml.safe_dump({key: value}) for key, value in changed.items())


def told(changed: Mapping[str, Any], goes_on: bool) -> str:
    """Lines that end a message."""
    if not changed:
        return ""
    text = "\nThe smallest change of the recipe that may mend it:\n" + as_yaml(changed).rstrip()
    if goes_on:
        options = ["--resume", *allowing(changed)]
        text += f"\nThe last checkpoint is whole; with these lines the run goes on from it: {' '.join(options)}"
    return text


def allowing(changed: Mapping[str, Any]) -> list[str]:
    """Options with which a run goes on although these keys are others."""
    return [f"--resume-changed {key}" for key in changed if key not in HARMLESS]


def rows_told(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"\nRows of that step: {', '.join(names[:SHOWN])}{more}"
