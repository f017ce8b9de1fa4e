"""DeepSpeed's configuration in a recipe: the file that `deepspeed` names, the well-known names that need no file, and
what of it may stand. Knows no library; reads one JSON file."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune.errors import Fault
from finetune.recipe.source import Source
from finetune.recipe.zero_known import KNOWN, OFFLOADS, SHARED, SIZES, THREE, TOP, zero_stage

FOLDER = "deepspeed_configs"
OFF = ("none", "false", "no", "null")
AGREEING = (
    ("train_micro_batch_size_per_gpu", "micro_batch_size", 1),
    ("gradient_accumulation_steps", "gradient_accumulation_steps", 1),
    ("gradient_clipping", "max_grad_norm", 1.0),
)
"""What DeepSpeed's file says too, the recipe's key for it, and the key's default."""
ELSEWHERE = {"optimizer": "optimizer and learning_rate", "scheduler": "lr_scheduler and warmup_steps"}


def with_zero_file(source: Source) -> tuple[Source, list[Fault]]:
    """The recipe with what the file named by `deepspeed` holds in the place of its name, a note where the name is a
    known one without a file, and what is wrong with the file."""
    name = source.data.get("deepspeed")
    if not name or str(name).lower() in OFF:
        off = {key: value for key, value in source.data.items() if key != "deepspeed"}
        return replace(source, data=off), []
    if not isinstance(name, str):
        return source, []
    where = source.where(("deepspeed",))
    beside = Path(where.file if where.file in source.files else source.name).parent / name
    found = next((path for path in (beside, Path(name)) if path.is_file()), None)
    if found is None:
        if Path(name).parts[-2:-1] == (FOLDER,) and Path(name).name in KNOWN:
            given: Any = dict(KNOWN[Path(name).name])
            message = f"there is no file `{name}` beside the recipe: the settings of that well-known name are taken"
            faults = [Fault(message, where, "note", "FT023")]
            return replace(source, data={**source.data, "deepspeed": given}), faults
        known = ", ".join(f"{FOLDER}/{one}" for one in KNOWN)
        message = f"`deepspeed` names `{name}`, and there is no such file beside the recipe or in the working directory"
        return _unread(source, Fault(f"{message}. Known without a file: {known}", where, code="FT005"))
    try:
        given = json.loads(found.read_text("utf-8"))
    except (OSError, ValueError) as error:
        return _unread(source, Fault(f"`deepspeed`: {found} cannot be read as JSON: {error}", where, code="FT005"))
    if not isinstance(given, dict):
        return _unread(source, Fault(f"`deepspeed`: {found} holds no mapping", where, code="FT005"))
    return replace(source, data={**source.data, "deepspeed": given}), []


def _unread(source: Source, fault: Fault) -> tuple[Source, list[Fault]]:
    return replace(source, data={key: value for key, value in source.data.items() if key != "deepspeed"}), [fault]


def zero(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(the key to point at, the message) for what may not stand."""
    config = values.get("deepspeed")
    if not isinstance(config, Mapping):
        return
    for message in (*_unknown(config), *_contradicted(config, values)):
        yield "deepspeed", f"`deepspeed`: {message}"


def _unknown(config: Mapping[str, Any]) -> Iterator[str]:
    for key in config:
        if key in ELSEWHERE:
            yield f"`{key}` stands in the recipe here: remove it, and write {ELSEWHERE[key]}"
        elif key not in TOP:
            yield f"`{key}` is not supported; remove it. There are {', '.join(sorted(TOP))}"
    inside, stage = config.get("zero_optimization"), zero_stage(config)
    if not isinstance(inside, Mapping) or stage not in (1, 2, 3):
        yield "`zero_optimization: {stage: 1}`, 2 or 3 is wanted; without it, remove `deepspeed`: that is DDP"
        return
    known = SHARED | THREE if stage == 3 else SHARED
    for key, value in inside.items():
        if key in THREE and stage != 3:
            yield f"`zero_optimization.{key}` counts only with stage 3; remove it"
        elif key not in known:
            yield f"`zero_optimization.{key}` is not supported; remove it. There are {', '.join(sorted(known))}"
        elif key.startswith("offload_"):
            yield from _offload(key, value)
        elif not _fits(key, value):
            yield f"`zero_optimization.{key}: {value}` is no value for it: a number, true, false or auto is wanted"


def _fits(key: str, value: Any) -> bool:
    if key.removeprefix("stage3_") in SIZES:
        return value == "auto" or (isinstance(value, int | float) and not isinstance(value, bool) and value >= 0)
    return isinstance(value, bool) or value == "auto" or key == "stage"


def _offload(key: str, value: Any) -> Iterator[str]:
    if not isinstance(value, Mapping) or set(value) - OFFLOADS or value.get("device") not in ("cpu", "none"):
        yield f"`{key}` takes {{device: cpu, pin_memory: true}}; offloading to NVMe is not supported"


def _contradicted(config: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[str]:
    for theirs, ours, default in AGREEING:
        said, written = config.get(theirs, "auto"), values.get(ours, default)
        if said != "auto" and said != written:
            yield f"`{theirs}: {said}` contradicts `{ours}: {written}`; write auto, or the same"
    for kind in ("bf16", "fp16"):
        inside = config.get(kind)
        said = inside.get("enabled", "auto") if isinstance(inside, Mapping) else "auto"
        off = values.get(kind, "auto" if kind == "bf16" else False) is False
        if said not in ("auto", False) and off:
            yield f"`{kind}: {{enabled: {str(said).lower()}}}` needs `{kind}: true` in the recipe"
        if said is False and values.get(kind) is True:
            yield f"`{kind}: {{enabled: false}}` contradicts `{kind}: true`; write auto, or the same"
    if values.get("fsdp_version"):
        yield "`fsdp_version` shares the same things out. Keep one of the two"
    if config.get("zero_allow_untested_optimizer") is False:
        yield "`zero_allow_untested_optimizer: false` would refuse the recipe's optimizer; remove it"
    if config.get("zero_force_ds_cpu_optimizer") is True:
        yield "`zero_force_ds_cpu_optimizer: true` asks for DeepSpeed's own optimizer; remove it"
