"""How Axolotl's files ask for FSDP1 -> FSDP2's keys, which share out the same weights, gradients and optimizer. What
has no counterpart is refused by name. Judges no value itself."""

from collections.abc import Iterator, Mapping
from typing import Any

from finetune.errors import Fault
from finetune.recipe.foreign import is_off
from finetune.recipe.rewrite import Found, Rewrite, contradiction, show
from finetune.recipe.source import Path_
from finetune.recipe.writing import written

CONFIG, VERSION = "fsdp_config", "fsdp_version"
PREFIX = "fsdp_"
AGAIN = "reshard_after_forward"
STRATEGIES: Mapping[Any, bool] = {"FULL_SHARD": True, "1": True, "SHARD_GRAD_OP": False, "2": False}
"""What is shared out -> whether a layer's weights are given up after the forward pass."""
WORDS: Mapping[str, tuple[str, Any]] = {
    "full_shard": (AGAIN, True),
    "shard_grad_op": (AGAIN, False),
    "auto_wrap": ("auto_wrap_policy", "TRANSFORMER_BASED_WRAP"),
    "offload": ("offload_params", True),
}
"""Words under `fsdp` -> what they say under fsdp_config."""
LOSSES = ("liger_fused_linear_cross_entropy", "liger_cross_entropy")


def _config(data: Mapping[str, Any]) -> Mapping[str, Any]:
    config = data.get(CONFIG)
    return config if isinstance(config, dict) else {}


def prefixed(data: Mapping[str, Any]) -> Found:
    """`fsdp_` before the keys inside fsdp_config."""
    config = _config(data)
    for old, value in config.items():
        new = old.removeprefix(PREFIX)
        if new == old or old == VERSION:
            continue
        if value is None:
            yield Rewrite((CONFIG, old), {})
        elif config.get(new) not in (None, value):
            yield Fault(f"`{old}` and `{new}` say the same thing; keep `{new}`", code=f"{CONFIG}.{old}")
        else:
            message = f"`{CONFIG}.{old}` is written `{CONFIG}.{new}` today"
            yield Rewrite((CONFIG, old), {(CONFIG, new): value}, message)


def version(data: Mapping[str, Any]) -> Found:
    """FSDP1, asked for in any way; the version inside fsdp_config."""
    for key in (VERSION, "version"):
        if key in _config(data) and data.get(VERSION) is None and _is(_config(data)[key], 1, 2):
            message = f"`{CONFIG}.{key}` is written `{VERSION}: 2` at the top level today"
            yield Rewrite((CONFIG, key), {(VERSION,): 2}, message)
            return
    if _is(data.get(VERSION), 1):
        message = f"`{VERSION}: 1` shares out what `{VERSION}: 2` does, and is written so today"
        yield Rewrite((VERSION,), {(VERSION,): 2}, message)


def _is(value: Any, *numbers: int) -> bool:
    return not isinstance(value, bool) and value in numbers


def words(data: Mapping[str, Any]) -> Found:
    """`fsdp: [full_shard, auto_wrap]`."""
    if "fsdp" not in data:
        return
    given, config = data["fsdp"], _config(data)
    if is_off("fsdp", given):
        yield Rewrite(("fsdp",), {})
        return
    found = given.split() or [given] if isinstance(given, str) else ["full_shard"] if given is True else given
    found = found if isinstance(found, list) else [given]
    unknown = [word for word in found if not isinstance(word, str) or word not in WORDS]
    if unknown:
        why = "each GPU holding the whole model is what happens without it, and nothing lies between"
        yield Fault(f"`fsdp: {show(unknown[0])}` has no counterpart in FSDP2 here: {why}. Remove the line", code="fsdp")
        return
    entries: dict[Path_, Any] = {(VERSION,): 2}
    for key, value in map(WORDS.__getitem__, found):
        if key not in config and key != "auto_wrap_policy" and not (key == AGAIN and _strategy(config) is not None):
            entries |= {} if (key, value) == (AGAIN, True) else {(CONFIG, key): value}
    yield Rewrite(("fsdp",), entries, f"`fsdp: {written(given)}` is written `{VERSION}: 2` today")


def _strategy(config: Mapping[str, Any]) -> bool | None:
    return STRATEGIES.get(str(config.get("sharding_strategy")))


def inside(data: Mapping[str, Any]) -> Found:
    """Values that FSDP2 takes in another form, or not at all."""
    config = _config(data)
    if "sharding_strategy" in config:
        yield from _sharding(config["sharding_strategy"], config)
    wrapped = config.get("transformer_layer_cls_to_wrap")
    if isinstance(wrapped, str) and "," in wrapped and all(name.strip() for name in wrapped.split(",")):
        names = [name.strip() for name in wrapped.split(",")]
        path = (CONFIG, "transformer_layer_cls_to_wrap")
        yield Rewrite(path, {path: names}, f"`{path[1]}: {wrapped}` is written as a list today")


def _sharding(given: Any, config: Mapping[str, Any]) -> Iterator[Rewrite | Fault]:
    path, again = (CONFIG, "sharding_strategy"), _strategy(config)
    if again is None:
        message = (
            f"`sharding_strategy: {given}` has no counterpart in FSDP2 here: write `{AGAIN}: true` (FULL_SHARD) or"
        )
        yield Fault(f"{message} false (SHARD_GRAD_OP)", code=".".join(path))
    elif config.get(AGAIN) not in (None, again):
        yield Fault(f"`sharding_strategy: {given}` and `{AGAIN}` say different things; keep `{AGAIN}`", code=path[0])
    else:
        message = f"`sharding_strategy: {given}` is written `{AGAIN}: {show(again)}` today"
        yield Rewrite(path, {(CONFIG, AGAIN): again}, message)


def losses(data: Mapping[str, Any]) -> Found:
    """Liger's losses need the whole output layer, of which no GPU has more than a part."""
    for key in LOSSES:
        if not _is(data.get(VERSION), 2) or data.get(key) is not True:
            continue
        if data.get("cut_cross_entropy") is False:
            yield contradiction(key, "cut_cross_entropy")
        else:
            message = f"`{key}` with `{VERSION}: 2` is written `cut_cross_entropy: true`, which computes the same loss"
            yield Rewrite((key,), {("cut_cross_entropy",): True}, message)


def four_bits(data: Mapping[str, Any]) -> Found:
    """4-bit weights are cut where they are stored as the type that is computed in, which Axolotl sees to unasked; each
    process loads them, small as they are."""
    if not _is(data.get(VERSION), 2) or data.get("load_in_4bit") is not True:
        return
    loading = "cpu_ram_efficient_loading"
    if _config(data).get(loading) is True:
        message = (
            f"`{CONFIG}.{loading}` is for 16-bit weights: each process loads 4-bit weights whole, onto its GPU, and"
        )
        yield Rewrite((CONFIG, loading), {}, f"{message} then keeps its part; the line can go")
    inner, key = data.get("bnb_config_kwargs"), "bnb_4bit_quant_storage"
    if isinstance(inner, dict | None) and not (inner or {}).get(key):
        kind = _computed_in(data, inner or {})
        entries: dict[Path_, Any] = {("load_in_4bit",): True, ("bnb_config_kwargs", key): kind}
        message = (
            f"`load_in_4bit: true` with `{VERSION}: 2` is written with `bnb_config_kwargs: {{{key}: {kind}}}` today"
        )
        yield Rewrite(("load_in_4bit",), entries, message)


def _computed_in(data: Mapping[str, Any], inner: Mapping[str, Any]) -> str:
    if inner.get("bnb_4bit_compute_dtype"):
        return str(inner["bnb_4bit_compute_dtype"])
    if data.get("fp16") is True and data.get("bf16") is not True:
        return "float16"
    return "float32" if data.get("bf16") is False else "bfloat16"


RULES = (prefixed, version, words, inside, losses, four_bits)
