"""What may not stand together in the keys of the optimizer and the learning rate's course. Looks at written values
only; knows no library."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from finetune.recipe.base import CLEAN_NUMBER
from finetune.recipe.optimizers import (
    MEASURED,
    OPTIMIZERS,
    SCHEDULERS,
    given_arguments,
)

Values = Mapping[str, Any]
Finding = tuple[str, str]
COMPRESSING = ("galore", "apollo")
PARTS = ("loraplus_lr_ratio", "embedding_lr", "embedding_lr_scale", "lr_groups")
"""Keys that give parts of the model learning rates of their own."""
MINIMA = ("cosine_min_lr_ratio", "eta_min", "cosine_constant_lr_ratio")


def optimizer_keys(values: Values) -> Iterator[Finding]:
    name = str(values.get("optimizer", "adamw_torch"))
    compresses = name.startswith(COMPRESSING)
    if compresses and not values.get("optim_target_modules"):
        yield "optimizer", f"`optimizer: {name}` needs `optim_target_modules`, for example all_linear"
    if values.get("optim_target_modules") and not compresses:
        yield "optim_target_modules", "`optim_target_modules` counts only for galore and apollo optimizers"
    if name not in OPTIMIZERS:
        return
    known = OPTIMIZERS[name]
    yield from _arguments("optim_args", values.get("optim_args"), known.arguments, f"optimizer: {name}")
    if values.get("weight_decay") and not known.decays:
        yield "weight_decay", f"`optimizer: {name}` decays no weights: remove `weight_decay`, or choose another"
    for key in PARTS:
        if values.get(key) and (compresses or name == "muon"):
            yield key, f"`{key}` and `optimizer: {name}` each divide the model in their own way. Keep one"


def scheduler_keys(values: Values) -> Iterator[Finding]:
    name = str(values.get("lr_scheduler", "linear"))
    if name not in SCHEDULERS:
        return
    given = values.get("lr_scheduler_kwargs")
    yield from _arguments("lr_scheduler_kwargs", given, SCHEDULERS[name], f"lr_scheduler: {name}")
    inside = given if isinstance(given, dict) else {}
    if name == "warmup_stable_decay" and not inside.get("num_decay_steps"):
        message = "`lr_scheduler: warmup_stable_decay` needs the steps of its end"
        yield "lr_scheduler", f"{message}: lr_scheduler_kwargs: {{num_decay_steps: 100}}"
    if name in ("cosine_with_min_lr", "cosine_warmup_with_min_lr") and ("min_lr" in inside) == (
        "min_lr_rate" in inside
    ):
        message = f"`lr_scheduler: {name}` needs one of two ends: lr_scheduler_kwargs: {{min_lr_rate: 0.1}} or"
        yield "lr_scheduler", f"{message} {{min_lr: 1e-6}}"
    if name in MEASURED:
        yield from _measured(values, name)
    warm = [key for key in ("warmup_steps", "warmup_ratio") if values.get(key)]
    if name == "constant" and not str(values.get("optimizer")).startswith("schedule_free"):
        for key in warm:
            yield key, f"`lr_scheduler: constant` has no warm-up: write constant_with_warmup, or remove `{key}`"
    yield from _warm_up_of_schedule_free(values)
    yield from _courses(values, name)


def _measured(values: Values, name: str) -> Iterator[Finding]:
    if not values.get("val_set_size") and not values.get("test_datasets"):
        yield "lr_scheduler", f"`lr_scheduler: {name}` looks at validation loss: set `val_set_size: 0.05`"
    elif values.get("eval_strategy") == "no":
        yield (
            "lr_scheduler",
            f"`lr_scheduler: {name}` looks at validation loss, which `eval_strategy: no` never measures",
        )
    for key in ("warmup_steps", "warmup_ratio"):
        if values.get(key):
            yield key, f"`lr_scheduler: {name}` has no warm-up: remove `{key}`"


def _warm_up_of_schedule_free(values: Values) -> Iterator[Finding]:
    name, steps = str(values.get("optimizer")), values.get("warmup_steps")
    if not name.startswith("schedule_free"):
        return
    if name == "schedule_free_radam":
        for key in ("warmup_steps", "warmup_ratio"):
            if values.get(key):
                yield key, f"`optimizer: {name}` warms up by itself: remove `{key}`"
    elif values.get("warmup_ratio") or (isinstance(steps, float) and 0 < steps < 1):
        # transformers 5.17 hands the share on as a number of steps.
        key = "warmup_ratio" if values.get("warmup_ratio") else "warmup_steps"
        yield key, f"`optimizer: {name}` takes its warm-up in whole steps only: write `warmup_steps: 10`"


def _courses(values: Values, name: str) -> Iterator[Finding]:
    """Keys that bend the cosine, which other courses do not heed."""
    with_rex = ("cosine_min_lr_ratio", "eta_min")
    for key in (*MINIMA, "lr_quadratic_warmup"):
        if values.get(key) and name != "cosine" and not (name == "rex" and key in with_rex):
            yield key, f"`{key}` counts only with `lr_scheduler: cosine`"
    if values.get("cosine_min_lr_ratio") and values.get("eta_min"):
        yield "eta_min", "`eta_min` and `cosine_min_lr_ratio` both say where the course ends. Keep one"
    if values.get("cosine_constant_lr_ratio") and not (values.get("cosine_min_lr_ratio") or values.get("eta_min")):
        message = "`cosine_constant_lr_ratio` says from when the least rate holds: set `cosine_min_lr_ratio: 0.1` too"
        yield "cosine_constant_lr_ratio", message
    if values.get("lr_quadratic_warmup") and not (values.get("warmup_steps") or values.get("warmup_ratio")):
        yield "lr_quadratic_warmup", "`lr_quadratic_warmup` counts only with `warmup_steps` or `warmup_ratio`"
    bent = next((key for key in ("cosine_constant_lr_ratio", "lr_quadratic_warmup") if values.get(key)), None)
    if bent and values.get("lr_scheduler_kwargs"):
        yield "lr_scheduler_kwargs", f"`lr_scheduler_kwargs` and `{bent}` do not go together. Keep one"
    rate, least = values.get("learning_rate", 2e-4), values.get("eta_min")
    if isinstance(rate, float) and isinstance(least, float) and least >= rate:
        yield "eta_min", f"`eta_min: {least:g}` is not below `learning_rate: {rate:g}`"


def part_rates(values: Values) -> Iterator[Finding]:
    """Learning rates of parts of the model."""
    for key in ("loraplus_lr_ratio", "loraplus_lr_embedding"):
        if values.get(key) and values.get("adapter") not in ("lora", "qlora"):
            yield key, f"`{key}` is for the matrices of LoRA: set `adapter: lora`, or remove it"
    given = [key for key in ("embedding_lr", "embedding_lr_scale", "loraplus_lr_embedding") if values.get(key)]
    if len(given) > 1:
        yield given[1], f"`{given[0]}` and `{given[1]}` both set the embeddings' learning rate. Keep one"
    groups = values.get("lr_groups")
    names = [str(group.get("name")) for group in groups if isinstance(group, dict)] if isinstance(groups, list) else []
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield "lr_groups", f"lr_groups names {name!r} twice"


def _arguments(key: str, given: Any, known: Mapping[str, str], whose: str) -> Iterator[Finding]:
    if not isinstance(given, dict | str):
        return
    for name, value in given_arguments(given).items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"it takes {', '.join(known) or 'none'}"
            yield f"{key}.{name}", f"`{key}`: `{whose}` has no argument `{name}`; {hint}"
        elif isinstance(value, bool | int | float | str) and (why := _misfit(value, known[name])):
            yield f"{key}.{name}", f"`{key}.{name}: {value}` should be {why}"


def _misfit(value: Any, kind: str) -> str | None:
    """What a value should be, or None where it is of its kind. Values inside a text are texts."""
    text = str(value).strip()
    if kind == "text":
        return None if isinstance(value, str) and not CLEAN_NUMBER.fullmatch(text) else "a word"
    if kind in ("flag", "on"):
        if text.lower() == "true" or (kind == "flag" and text.lower() == "false"):
            return None
        return "true or false" if kind == "flag" else "true, or left out"
    number = not isinstance(value, bool) and CLEAN_NUMBER.fullmatch(text)
    if kind == "whole":
        return None if number and float(text).is_integer() else "a whole number"
    return None if number else "a number"
