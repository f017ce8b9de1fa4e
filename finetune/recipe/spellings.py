"""Old and foreign spellings -> today's keys, each with a note that shows today's. Judges no value itself."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from finetune.errors import Fault
from finetune.recipe import old_fsdp, old_keys
from finetune.recipe.dataset_spellings import rewrites_of_entry
from finetune.recipe.foreign import is_off
from finetune.recipe.rewrite import Found, Rewrite, contradiction, moved, show
from finetune.recipe.source import Path_, Source
from finetune.recipe.template_names import SPELLINGS as TEMPLATES

RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "lr_scheduler_type": "lr_scheduler",
    "optim": "optimizer",
    "use_rslora": "peft_use_rslora",
    "noisy_embedding_alpha": "neftune_noise_alpha",
    "liger_swiglu": "liger_glu_activation",
    "adam_eps": "adam_epsilon",
    "model_revision": "revision_of_model",
    "eval_table_max_new_tokens": "eval_max_new_tokens",
    "gc_steps": "torch_empty_cache_steps",
    "dataset_processes": "dataset_num_proc",
}
ATTENTION = {
    "flash_attention": "flash_attention_2",
    "sdp_attention": "sdpa",
    "eager_attention": "eager",
    "xformers_attention": "sdpa",
    "flex_attention": "flex_attention",
}
# Key -> (today's key, today's value) where it is true.
NUMBER_TYPES = {"bfloat16": ("bf16", True), "float16": ("fp16", True), "float32": ("bf16", False)}
DTYPES = {
    "auto": ("bf16", "auto"),
    "bfloat16": ("bf16", True),
    "bf16": ("bf16", True),
    "float16": ("fp16", True),
    "fp16": ("fp16", True),
    "half": ("fp16", True),
    "float32": ("bf16", False),
    "fp32": ("bf16", False),
}
QUANTIZATION = ("bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "bnb_4bit_compute_dtype", "bnb_4bit_quant_storage")
# Values of a key that Axolotl spells otherwise.
VALUES: Mapping[str, Mapping[Any, Any]] = {
    "gradient_checkpointing": {"offload": "unsloth"},
    "attn_implementation": {"xformers": "sdpa", "flash": "flash_attention_2"},
    "excess_length_strategy": {"raise": "error"},
    "bf16": {"full": True, "true": True, "false": False},
    "fp16": {"full": True, "true": True, "false": False},
    "tf32": {"true": True, "false": False, "auto": None},
    "chat_template": TEMPLATES,
    "max_steps": {-1: None},
    "optimizer": {"adamw_hf": "adamw_torch", "ao_adamw_4bit": "adamw_torch_4bit", "ao_adamw_8bit": "adamw_torch_8bit"},
    "torch_compile": {"auto": True},
    "torch_empty_cache_steps": {-1: None},
    "wandb_log_model": {"true": "end", "True": "end", True: "end", "false": None, "False": None},
    "wandb_watch": {"true": "gradients", True: "gradients", "false": None, "False": None},
}
OTHER_OLD_KEYS = (
    "batch_size",
    "base_model_config",
    "max_packed_sequence_len",
    "pretraining_dataset",
    "torch_dtype",
    "fsdp",
)


def today(source: Source) -> tuple[Source, list[Fault], list[Fault]]:
    """The source in today's spelling, notes on what was rewritten, and faults where old and new contradict."""
    source, rewrites, faults = rewritten(source)
    notes = [Fault(each.message, source.where(each.path), "note", "FT010") for each in rewrites if each.message]
    return source, notes, faults


def rewritten(source: Source) -> tuple[Source, list[Rewrite], list[Fault]]:
    """The source in today's spelling and the rewrites that made it so, in their order."""
    lines = dict(source.lines)
    data = _listed(source.data, lines)
    rewrites: list[Rewrite] = []
    faults: list[Fault] = []
    for rule in RULES:
        for found in list(rule(data)):
            if isinstance(found, Fault):
                path: Path_ = tuple(int(part) if part.isdigit() else part for part in found.code.split("."))
                faults.append(Fault(found.message, source.where(path), code="FT005"))
                continue
            rewrites.append(found)
            _remove(data, found.path)
            for path, value in found.entries.items():
                lines.setdefault(path, source.where(found.path))
                _put(data, path, value)
    return replace(source, data=data, lines=lines), rewrites, faults


def _listed(data: Mapping[str, Any], lines: dict[Path_, Any]) -> dict[str, Any]:
    """A copy down to the entries of datasets; one entry written without a list becomes a list of one."""
    new: dict[str, Any] = {}
    for key, value in data.items():
        if key in ("datasets", "test_datasets", "pretraining_dataset") and isinstance(value, dict) and value:
            value = [value]
            inside = [(path, where) for path, where in lines.items() if path[:1] == (key,) and path[1:]]
            lines |= {(key, 0, *path[1:]): where for path, where in inside}
        if isinstance(value, list):
            value = [dict(item) if isinstance(item, dict) else item for item in value]
        new[key] = dict(value) if isinstance(value, dict) else value
    return new


def _remove(data: Any, path: Path_) -> None:
    for part in path[:-1]:
        data = data[part]
    data.pop(path[-1], None)


def _put(data: Any, path: Path_, value: Any) -> None:
    for part in path[:-1]:
        if isinstance(data, dict):
            # A copy, since the mapping may be the source's own; a key without a value starts one.
            data[part] = dict(data[part]) if isinstance(data.get(part), dict) else data.get(part) or {}
        data = data[part]
    data[path[-1]] = value


def _renamed(data: Mapping[str, Any]) -> Found:
    for key, new in RENAMED.items():
        if key in data:
            yield Rewrite((key,), {}) if data[key] is None else moved(data, key, new, data[key])
    for key, new in ATTENTION.items():
        if key not in data:
            continue
        if is_off(key, data[key]):
            yield Rewrite((key,), {})
        elif data[key] is not True:
            yield Fault(f"`{key}: {data[key]}` should be true or false", code=key)
        elif data.get("attn_implementation") is not None:
            yield contradiction(key, "attn_implementation")
        else:
            yield moved(data, key, "attn_implementation", new)


def _number_types(data: Mapping[str, Any]) -> Found:
    for key, (new, value) in NUMBER_TYPES.items():
        if key in data:
            if data[key] is not True and not is_off(key, data[key]):
                yield Fault(f"`{key}: {data[key]}` should be true or false", code=key)
            else:
                yield Rewrite((key,), {}) if is_off(key, data[key]) else _number_type(data, key, new, value)
    if "torch_dtype" in data:
        dtype = data["torch_dtype"]
        name = str(dtype).removeprefix("torch.").lower()
        if is_off("torch_dtype", dtype):
            yield Rewrite(("torch_dtype",), {})
        elif name in DTYPES:
            yield _number_type(data, "torch_dtype", *DTYPES[name])
        else:
            message = f"`torch_dtype: {dtype}` is no number type known here: write `bf16` and `fp16`"
            yield Fault(message, code="torch_dtype")


def _number_type(data: Mapping[str, Any], key: str, new: str, value: Any) -> Rewrite | Fault:
    """`auto` beside a type by name leaves no doubt; nor does an off switch, which was another key's in old recipes."""
    if data.get(new) in ("auto", False):
        message = f"`{key}: {show(data[key])}` is written `{new}: {show(value)}` today"
        return Rewrite((key,), {(new,): value}, message)
    return moved(data, key, new, value)


def _quantization(data: Mapping[str, Any]) -> Found:
    for key in QUANTIZATION:
        if key not in data:
            continue
        if data[key] is None:
            yield Rewrite((key,), {})
            continue
        inner = data.get("bnb_config_kwargs")
        if not isinstance(inner, dict | None) or (inner and inner.get(key, data[key]) != data[key]):
            yield contradiction(key, "bnb_config_kwargs")
            continue
        value = data[key]
        if isinstance(value, str):
            value = value.removeprefix("torch.")
        message = f"`{key}: {show(value)}` is written `bnb_config_kwargs: {{{key}: {show(value)}}}` today"
        yield Rewrite((key,), {("bnb_config_kwargs", key): value}, message)


def _values(data: Mapping[str, Any]) -> Found:
    for key, values in VALUES.items():
        value = data.get(key)
        if value is not None and not isinstance(value, list | dict) and value in values:
            new = values[value]
            same = isinstance(value, bool) == isinstance(next(old for old in values if old == value), bool)
            if same:
                yield Rewrite((key,), {(key,): new}, f"`{key}: {show(value)}` is written `{key}: {show(new)}` today")


def _templates(data: Mapping[str, Any]) -> Found:
    for key in ("datasets", "test_datasets"):
        entries = data.get(key)
        for number, entry in enumerate(entries if isinstance(entries, list) else ()):
            name = entry.get("chat_template") if isinstance(entry, dict) else None
            if isinstance(name, str) and name in TEMPLATES:
                path, new = (key, number, "chat_template"), TEMPLATES[name]
                yield Rewrite(path, {path: new}, f"`chat_template: {name}` is written `chat_template: {new}` today")


def _entries(data: Mapping[str, Any]) -> Found:
    for key in ("datasets", "test_datasets"):
        entries = data.get(key)
        for number, entry in enumerate(entries if isinstance(entries, list) else ()):
            if isinstance(entry, dict):
                yield from rewrites_of_entry(entry, (key, number), data)


RULES: tuple[Callable[[Mapping[str, Any]], Found], ...] = (
    _renamed,
    _number_types,
    _quantization,
    _values,
    old_keys.batch_size,
    old_keys.eight_bit,
    old_keys.model_config,
    old_keys.routers,
    old_keys.scoring_class,
    old_keys.named_tokens,
    old_keys.packed_length,
    old_keys.pretraining,
    *old_fsdp.RULES,
    _templates,
    _entries,
)
