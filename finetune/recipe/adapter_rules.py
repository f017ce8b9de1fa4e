"""What may not stand together in the keys of the adapter. Looks at written values only; knows no library."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

Values = Mapping[str, Any]
Finding = tuple[str, str]
LORA = ("lora", "qlora")
VIRTUAL = ("prefix_tuning", "prompt_tuning", "p_tuning")
CHANGES_BASE = ("pissa", "olora")
COMPARING = ("dpo", "ipo", "kto", "grpo", "gdpo", "rloo")
"""Methods whose reference is the model without its adapter."""
QUANTIZING = ("load_in_4bit", "load_in_8bit", "load_in_torchao")
BROKEN_LIST = re.compile(r"\s|,(?![^{]*\})")
"""A space, or a comma that is no `{1,2}`: neither is in any module's name."""


def learned_tokens(values: Values) -> Iterator[Finding]:
    adapter = values.get("adapter")
    if adapter not in VIRTUAL:
        return
    if values.get("sample_packing"):
        message = f"`adapter: {adapter}` puts learned tokens before each row, and packed rows have no place for them"
        yield "sample_packing", f"{message}: remove the line"
    if adapter == "prefix_tuning" and values.get("gradient_checkpointing"):
        message = "`adapter: prefix_tuning` and `gradient_checkpointing` do not go together in peft: remove the line"
        yield "gradient_checkpointing", f"{message}, or choose prompt_tuning or p_tuning"
    if values.get("prompt_encoder_type", "mlp") == "mlp":
        for key in ("prompt_encoder_layers", "prompt_encoder_dropout"):
            if values.get(key) and adapter == "p_tuning":
                yield key, f"`{key}` counts only with `prompt_encoder_type: lstm`"


def ia3_modules(values: Values) -> Iterator[Finding]:
    inside, all_of = values.get("ia3_feedforward_modules"), values.get("ia3_target_modules")
    if not isinstance(inside, list):
        return
    if not isinstance(all_of, list):
        yield "ia3_feedforward_modules", "`ia3_feedforward_modules` needs `ia3_target_modules`, of which it is a part"
        return
    missing = [name for name in inside if name not in all_of]
    if missing:
        yield "ia3_feedforward_modules", f"`ia3_feedforward_modules`: {missing[0]!r} is not in `ia3_target_modules`"


def beginnings(values: Values) -> Iterator[Finding]:
    """Ways to begin an adapter that other keys rule out."""
    first = str(values.get("peft_init_lora_weights"))
    quantized = next((key for key in QUANTIZING if values.get(key)), None)
    if values.get("adapter") not in LORA:
        return
    if quantized and first.startswith((*CHANGES_BASE, "orthogonal")):
        message = f"`peft_init_lora_weights: {first}` begins from unquantized weights: remove it, or `{quantized}`"
        yield "peft_init_lora_weights", message
    if first.startswith(CHANGES_BASE) and values.get("rl") in COMPARING:
        message = f"`peft_init_lora_weights: {first}` changes the base model's weights, with which"
        yield "peft_init_lora_weights", f"{message} `rl: {values['rl']}` compares: remove it"
    if first.startswith(CHANGES_BASE) and values.get("reward_model"):
        message = f"`peft_init_lora_weights: {first}` changes the base model's weights, and an adapter with a head that"
        yield (
            "peft_init_lora_weights",
            f"{message} scores cannot be rewritten to fit the base model as it is: remove it",
        )
    if first.startswith(CHANGES_BASE):
        for key in ("peft_use_dora", "lora_modules_to_save", "peft_trainable_token_indices", "lora_model_dir"):
            if values.get(key):
                message = f"`peft_init_lora_weights: {first}` changes the base model's weights, and an adapter with"
                yield key, f"{message} `{key}` cannot be rewritten to fit the base model as it is. Keep one of the two"
        if values.get("peft_use_rslora") and (values.get("lora_rank_pattern") or values.get("lora_alpha_pattern")):
            message = f"`peft_init_lora_weights: {first}` with `peft_use_rslora` needs one rank for all layers"
            yield "peft_use_rslora", f"{message}: remove the pattern"
        targets = values.get("lora_target_modules")
        if isinstance(targets, list) and "embed_tokens" in targets:
            message = f"`peft_init_lora_weights: {first}` begins from linear layers; embed_tokens is none"
            yield "lora_target_modules", message
    yield from _loftq(values)


def _loftq(values: Values) -> Iterator[Finding]:
    given = values.get("peft")
    if not (isinstance(given, dict) and given.get("loftq_config")):
        return
    if values.get("load_in_4bit") is not True:
        message = "`peft.loftq_config` makes up for what 4-bit weights lose: set `load_in_4bit: true`, or remove it"
        yield "peft", message
    for key in ("peft_init_lora_weights", "peft_use_dora", "lora_model_dir"):
        if (values.get(key) and values.get(key) is not True) or (key == "peft_use_dora" and values.get(key)):
            yield key, f"`{key}` and `peft.loftq_config` both say how the adapter begins. Keep one"


def continuing(values: Values) -> Iterator[Finding]:
    if values.get("lora_model_dir") and not values.get("adapter"):
        message = "`lora_model_dir` goes on from an adapter: set `adapter: lora`, or remove it"
        yield "lora_model_dir", message


def target_text(values: Values) -> Iterator[Finding]:
    """A text of module names that cannot be meant as a regular expression: a list that lost a bracket."""
    text = values.get("lora_target_modules")
    if isinstance(text, str) and (BROKEN_LIST.search(text) or text.count("]") > text.count("[")):
        names = [name for name in re.split(r"[\s,\[\]'\"]+", text) if name]
        message = f"`lora_target_modules: {text[:80]}` is one text, which is read as a pattern, and matches no module"
        yield "lora_target_modules", f"{message}. A list needs both brackets: [{', '.join(names[:8])}]"
