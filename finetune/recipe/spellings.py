"""Old and foreign spellings -> today's keys, each with a note that shows today's. Judges no value itself."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from finetune.errors import Fault
from finetune.recipe.foreign import is_off
from finetune.recipe.source import Path_, Source

RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "lr_scheduler_type": "lr_scheduler",
    "optim": "optimizer",
    "use_rslora": "peft_use_rslora",
    "noisy_embedding_alpha": "neftune_noise_alpha",
    "liger_swiglu": "liger_glu_activation",
    "adam_eps": "adam_epsilon",
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
FILE_TYPES = frozenset({"json", "jsonl", "csv", "parquet", "text", "arrow"})
# Values of a key that Axolotl spells otherwise.
VALUES: Mapping[str, Mapping[Any, Any]] = {
    "gradient_checkpointing": {"offload": "unsloth"},
    "attn_implementation": {"xformers": "sdpa", "flash": "flash_attention_2"},
    "excess_length_strategy": {"raise": "error"},
    "bf16": {"full": True, "true": True, "false": False},
    "fp16": {"full": True, "true": True, "false": False},
    "tf32": {"true": True, "false": False, "auto": None},
    "max_steps": {-1: None},
    "wandb_log_model": {"true": "end", "True": "end", True: "end"},
    "wandb_watch": {"true": "gradients", True: "gradients"},
}
OTHER_OLD_KEYS = ("batch_size", "base_model_config", "max_packed_sequence_len", "pretraining_dataset", "torch_dtype")


@dataclass(frozen=True)
class Rewrite:
    """The line at `path` in today's spelling: `entries` (path -> value) take its place; none: it says nothing.

    `message` is the note to the user; without one the line was off, and nothing needs to be said."""

    path: Path_
    entries: Mapping[Path_, Any]
    message: str = ""


Found = Iterator[Rewrite | Fault]


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
                path: Path_ = (found.code,)
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
        if key in ("datasets", "test_datasets", "pretraining_dataset") and isinstance(value, dict):
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


def _contradiction(key: str, other: str) -> Fault:
    """`code` carries the key to point at until its place is known."""
    return Fault(f"`{key}` and `{other}` say the same thing; keep `{other}`", code=key)


def _moved(data: Mapping[str, Any], key: str, new: str, value: Any) -> Rewrite | Fault:
    """`key` says `new: value` today."""
    if data.get(new) is not None and key != new and data[new] != value:
        return _contradiction(key, new)
    message = f"`{key}: {_show(data[key])}` is written `{new}: {_show(value)}` today"
    return Rewrite((key,), {(new,): value}, message)


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def _renamed(data: Mapping[str, Any]) -> Found:
    for key, new in RENAMED.items():
        if key in data:
            yield Rewrite((key,), {}) if data[key] is None else _moved(data, key, new, data[key])
    for key, new in ATTENTION.items():
        if key not in data:
            continue
        if not isinstance(data[key], bool | None):
            yield Fault(f"`{key}: {data[key]}` should be true or false", code=key)
        elif not data[key]:
            yield Rewrite((key,), {})
        elif data.get("attn_implementation") is not None:
            yield _contradiction(key, "attn_implementation")
        else:
            yield _moved(data, key, "attn_implementation", new)


def _number_types(data: Mapping[str, Any]) -> Found:
    for key, (new, value) in NUMBER_TYPES.items():
        if key in data:
            yield Rewrite((key,), {}) if is_off(key, data[key]) else _moved(data, key, new, value)
    if "torch_dtype" in data:
        dtype = data["torch_dtype"]
        name = str(dtype).removeprefix("torch.").lower()
        if is_off("torch_dtype", dtype):
            yield Rewrite(("torch_dtype",), {})
        elif name in DTYPES:
            yield _moved(data, "torch_dtype", *DTYPES[name])
        else:
            message = f"`torch_dtype: {dtype}` is no number type known here: write `bf16` and `fp16`"
            yield Fault(message, code="torch_dtype")


def _quantization(data: Mapping[str, Any]) -> Found:
    for key in QUANTIZATION:
        if key not in data:
            continue
        if data[key] is None:
            yield Rewrite((key,), {})
            continue
        inner = data.get("bnb_config_kwargs")
        if not isinstance(inner, dict | None) or (inner and inner.get(key, data[key]) != data[key]):
            yield _contradiction(key, "bnb_config_kwargs")
            continue
        value = data[key]
        if isinstance(value, str):
            value = value.removeprefix("torch.")
        message = f"`{key}: {_show(value)}` is written `bnb_config_kwargs: {{{key}: {_show(value)}}}` today"
        yield Rewrite((key,), {("bnb_config_kwargs", key): value}, message)


def _values(data: Mapping[str, Any]) -> Found:
    for key, values in VALUES.items():
        value = data.get(key)
        if value is not None and not isinstance(value, list | dict) and value in values:
            new = values[value]
            same = isinstance(value, bool) == isinstance(next(old for old in values if old == value), bool)
            if same:
                yield Rewrite((key,), {(key,): new}, f"`{key}: {_show(value)}` is written `{key}: {_show(new)}` today")


def _batch_size(data: Mapping[str, Any]) -> Found:
    if "batch_size" not in data:
        return
    whole, micro = data["batch_size"], data.get("micro_batch_size")
    if is_off("batch_size", whole):
        yield Rewrite(("batch_size",), {})
    elif data.get("gradient_accumulation_steps"):
        yield _contradiction("batch_size", "gradient_accumulation_steps")
    elif not isinstance(whole, int) or not isinstance(micro, int) or micro < 1 or whole % micro:
        message = "`batch_size` needs a micro_batch_size that divides it: write gradient_accumulation_steps instead"
        yield Fault(message, code="batch_size")
    else:
        yield _moved(data, "batch_size", "gradient_accumulation_steps", whole // micro)


def _model_config(data: Mapping[str, Any]) -> Found:
    if "base_model_config" not in data:
        return
    config = data["base_model_config"]
    if is_off("base_model_config", config):
        yield Rewrite(("base_model_config",), {})
    elif config == data.get("base_model"):
        yield Rewrite(("base_model_config",), {}, "`base_model_config` names base_model again; the line can go")
    else:
        message = "`base_model_config` names another model's config, which is not supported: base_model's own is used"
        yield Fault(f"{message}. Remove the line", code="base_model_config")


def _packed_length(data: Mapping[str, Any]) -> Found:
    key = "max_packed_sequence_len"
    if key not in data:
        return
    packed, rows = data[key], data.get("sequence_len")
    if is_off(key, packed):
        yield Rewrite((key,), {})
    elif data.get("sample_packing") is False:
        yield _contradiction(key, "sample_packing")
    elif rows in (None, packed):
        message = f"`{key}: {packed}` is written `sample_packing: true` with `sequence_len: {packed}` today"
        yield Rewrite((key,), {("sample_packing",): True, ("sequence_len",): packed}, message)
    else:
        message = f"`{key}: {packed}` packs rows of another length than `sequence_len: {rows}`: rows are packed to "
        yield Fault(f"{message}sequence_len. Write `sample_packing: true` and one length", code=key)


def _pretraining(data: Mapping[str, Any]) -> Found:
    """Axolotl streams these rows of plain text; here they are read like others."""
    key = "pretraining_dataset"
    if key not in data:
        return
    given = data[key]
    if is_off(key, given):
        yield Rewrite((key,), {})
        return
    if data.get("datasets"):
        yield _contradiction(key, "datasets")
        return
    entries = [{"path": given}] if isinstance(given, str) else given
    if not isinstance(entries, list) or not all(isinstance(entry, dict | str) for entry in entries):
        yield Fault("`pretraining_dataset` should be a list of sources, each with a path", code=key)
        return
    new = []
    for entry in entries:
        entry = {"path": entry} if isinstance(entry, str) else dict(entry)
        field = entry.pop("text_column", None)
        if entry.get("type") in (None, "pretrain"):
            entry["type"] = "completion"
        new.append(entry | ({"field": field} if field and field != "text" else {}))
    yield Rewrite((key,), {("datasets",): new}, f"`{key}` is written `datasets` with `type: completion` today")


def _entries(data: Mapping[str, Any]) -> Found:
    from finetune.recipe.dataset_spellings import rewrites_of_entry

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
    _batch_size,
    _model_config,
    _packed_length,
    _pretraining,
    _entries,
)
