"""What becomes of keys that Axolotl recipes hold and this program does not act on: refused by name when they are on,
accepted when they are off, and accepted with a note where nothing hangs on them. The tables: refused and waived."""

from collections.abc import Mapping
from typing import Any

from finetune.recipe.refused import DATASET_REFUSED, FSDP_REFUSED, REFUSED, TRL_REFUSED, Refused
from finetune.recipe.waived import ANY, DATASET_WAIVED, FSDP_WAIVED, TRL_WAIVED, WAIVED

# Written 1, these say "no more than one", which is what happens.
OFF_AT_ONE = frozenset(
    "tensor_parallel_size context_parallel_size sequence_parallel_degree dp_shard_size dp_replicate_size "
    "expert_parallel_size heads_k_stride ray_num_workers world_size".split()
)
# 0 is a setting of its own here, not "off".
ZERO_IS_ON = frozenset("local_rank mask_token_id lisa_n_layers profiler_steps_start dataset_shard_idx skip".split())

# Off is a setting of its own here: no end of a turn learned, no slow tokenizer, other attention in packed rows.
NO_IS_A_SETTING = frozenset(
    "train_on_eos train_on_eot roles_to_train tokenizer_use_fast tokenizer_legacy save_safetensors "
    "pretrain_multipack_attn".split()
)


def _table(groups: tuple[Refused, ...]) -> dict[str, Refused]:
    return {key: group for group in groups for key in group.keys.split()}


_TABLES = {
    "": _table(REFUSED),
    "datasets": _table(DATASET_REFUSED),
    "trl": _table(TRL_REFUSED),
    "fsdp_config": _table(FSDP_REFUSED),
}
WAIVERS: Mapping[str, Mapping[str, tuple[Any, str]]] = {
    "": WAIVED,
    "datasets": DATASET_WAIVED,
    "trl": TRL_WAIVED,
    "fsdp_config": FSDP_WAIVED,
}
"""Inside which key -> its keys that are accepted; "" is the recipe itself."""
RECIPE_KEYS, DATASET_KEYS, TRL_KEYS, FSDP_KEYS = (
    frozenset(_TABLES[name]) | frozenset(WAIVERS[name]) for name in _TABLES
)


def is_off(key: str, value: object) -> bool:
    """Whether a value asks for nothing: null, false, 0, an empty text, list or mapping; "false" and "none" as text."""
    if value is None or value == "":
        return True
    if key in NO_IS_A_SETTING:
        return False
    if value is False or value in ([], {}):
        return True
    if isinstance(value, str) and value.strip().lower() in ("false", "none", "null", "no"):
        return True
    if isinstance(value, dict):
        # What is inside is another library's: false and 0 are settings there (tie_word_embeddings: false).
        return all(item is None or (isinstance(item, dict) and is_off("", item)) for item in value.values())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (value == 0 and key not in ZERO_IS_ON) or (value == 1 and key in OFF_AT_ONE)


def waiver(key: str, value: object, inside: str = "") -> str | None:
    """Why the value is accepted although nothing hangs on it, or None where it is not."""
    accepted, why = WAIVERS[inside].get(key, ((), ""))
    if isinstance(value, list) and accepted is not ANY and len(value) > 1:
        # A list is accepted where each of its items is.
        return why if all(waiver(key, [item], inside) for item in value) else None
    return why if accepted is ANY or any(value == one and type(value) is type(one) for one in accepted) else None


def refusal(key: str, inside: str = "") -> str:
    """Why the key is refused when it is on, and what to write instead."""
    group = _TABLES[inside].get(key)
    if group is None:
        why = WAIVERS[inside][key][1]
        return f"`{key}` is accepted only where it says what happens anyway: {why}. Remove it"
    return f"`{key}` is a key that Axolotl knows, but {group.why}. {group.instead}"
