"""Old keys whose meaning takes more than another name: each a rule from the recipe's values to rewrites and faults."""

from collections.abc import Mapping
from typing import Any

from finetune.errors import Fault
from finetune.recipe.foreign import is_off
from finetune.recipe.rewrite import Found, Rewrite, contradiction, moved
from finetune.recipe.source import Path_


def batch_size(data: Mapping[str, Any]) -> Found:
    if "batch_size" not in data:
        return
    whole, micro = data["batch_size"], data.get("micro_batch_size")
    if is_off("batch_size", whole):
        yield Rewrite(("batch_size",), {})
    elif data.get("gradient_accumulation_steps"):
        yield contradiction("batch_size", "gradient_accumulation_steps")
    elif micro == "auto" and isinstance(whole, int) and whole is not True and whole > 0:
        # Left to memory, a step's rows are those of gradient_accumulation_steps.
        yield moved(data, "batch_size", "gradient_accumulation_steps", whole)
    elif whole is True or not isinstance(whole, int) or not isinstance(micro, int) or micro < 1 or whole % micro:
        message = "`batch_size` needs a micro_batch_size that divides it: write gradient_accumulation_steps instead"
        yield Fault(message, code="batch_size")
    else:
        yield moved(data, "batch_size", "gradient_accumulation_steps", whole // micro)


def eight_bit(data: Mapping[str, Any]) -> Found:
    """Axolotl's docs print this one with false, which is what bitsandbytes does anyway."""
    inner, key = data.get("bnb_config_kwargs"), "llm_int8_has_fp16_weight"
    if not isinstance(inner, dict) or key not in inner:
        return
    if is_off(key, inner[key]):
        yield Rewrite(("bnb_config_kwargs", key), {})
    else:
        yield Fault(
            f"`{key}` keeps a second copy of the weights, which is not supported: remove it", code="bnb_config_kwargs"
        )


def model_config(data: Mapping[str, Any]) -> Found:
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


ROUTERS = {"output_router_logits": True}
OVERRIDES = ("model_config", "overrides_of_model_config", "overrides_of_model_kwargs")


def routers(data: Mapping[str, Any]) -> Found:
    """Fine-tuning counts the loss of a mixture's routers unasked."""
    for key in OVERRIDES:
        if data.get(key) == ROUTERS and data[key]["output_router_logits"] is True and not _compares(data):
            message = f"`{key}: {{output_router_logits: true}}` asks for what happens anyway: the loss of a mixture's "
            yield Rewrite((key,), {}, f"{message}routers counts as much as its config.json says; the line can go")


def _compares(data: Mapping[str, Any]) -> bool:
    return bool(data.get("rl") or data.get("reward_model"))


def scoring_class(data: Mapping[str, Any]) -> Found:
    """A reward model is loaded by the class that scores, whatever is written."""
    if data.get("reward_model") is True and data.get("model_type") == SCORES:
        message = f"`model_type: {SCORES}` is what `reward_model: true` loads anyway; the line can go"
        yield Rewrite(("model_type",), {}, message)


SCORES = "AutoModelForSequenceClassification"


def named_tokens(data: Mapping[str, Any]) -> Found:
    """`tokens` once named the special ones."""
    if not isinstance(data.get("tokens"), dict):
        return
    if is_off("tokens", data["tokens"]):
        yield Rewrite(("tokens",), {})
    elif data.get("special_tokens"):
        yield contradiction("tokens", "special_tokens")
    else:
        note = "`tokens` with names is written `special_tokens` today"
        yield Rewrite(("tokens",), {("special_tokens",): data["tokens"]}, note)


def packed_length(data: Mapping[str, Any]) -> Found:
    key = "max_packed_sequence_len"
    if key not in data:
        return
    packed, rows = data[key], data.get("sequence_len")
    if is_off(key, packed):
        yield Rewrite((key,), {})
    elif data.get("sample_packing") is False:
        yield contradiction(key, "sample_packing")
    elif rows in (None, packed):
        message = f"`{key}: {packed}` is written `sample_packing: true` with `sequence_len: {packed}` today"
        yield Rewrite((key,), {("sample_packing",): True, ("sequence_len",): packed}, message)
    else:
        message = f"`{key}: {packed}` packs rows of another length than `sequence_len: {rows}`: rows are packed to "
        yield Fault(f"{message}sequence_len. Write `sample_packing: true` and one length", code=key)


def pretraining(data: Mapping[str, Any]) -> Found:
    """Axolotl streams these rows of plain text, for as many steps as max_steps says."""
    key = "pretraining_dataset"
    if key not in data:
        return
    given = data[key]
    if is_off(key, given):
        yield Rewrite((key,), {})
        return
    if data.get("datasets"):
        yield contradiction(key, "datasets")
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
    streamed = bool(data.get("max_steps")) and "streaming" not in data
    also = " and `streaming: true`" if streamed else ""
    values: dict[Path_, Any] = {("datasets",): new} | ({("streaming",): True} if streamed else {})
    message = f"`{key}` is written `datasets` with `type: completion`{also} today. A text longer than sequence_len is "
    less = "lets them overlap by 256 tokens" if data.get("sample_packing") else "learns no more than its beginning"
    yield Rewrite((key,), values, f"{message}cut into pieces that follow one another; Axolotl {less}")
