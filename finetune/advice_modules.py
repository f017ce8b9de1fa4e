"""Which linear layers the architectures have, and the warning about an adapter for others. Knows names alone."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from finetune.advice_values import Finding
from finetune.recipe.recipe import Recipe

_LLAMA = frozenset("q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split())
_NEOX = frozenset("query_key_value dense dense_h_to_4h dense_4h_to_h".split())
MODULES = {
    **dict.fromkeys(
        "llama mistral qwen2 qwen3 gemma gemma2 gemma3 gemma3_text olmo olmo2 cohere cohere2 granite smollm3 stablelm "
        "ministral seed_oss".split(),
        _LLAMA,
    ),
    "phi3": frozenset("qkv_proj o_proj gate_up_proj down_proj".split()),
    "phi": frozenset("q_proj k_proj v_proj dense fc1 fc2".split()),
    "opt": frozenset("q_proj k_proj v_proj out_proj fc1 fc2 project_in project_out".split()),
    "gpt2": frozenset("c_attn c_proj c_fc".split()),
    "gptj": frozenset("q_proj k_proj v_proj out_proj fc_in fc_out".split()),
    "gpt_bigcode": frozenset("c_attn c_proj c_fc".split()),
    "starcoder2": frozenset("q_proj k_proj v_proj o_proj c_fc c_proj".split()),
    "gpt_neox": _NEOX,
    "falcon": _NEOX,
    "bloom": _NEOX,
    "mpt": frozenset("Wqkv out_proj up_proj down_proj".split()),
}
"""`model_type` -> the linear layers of its blocks, as transformers names them."""
SLOW = re.compile(r"\)[*+{?]|([*+{].*){5}", re.DOTALL)
"""Regular expressions that can take longer than the world has time; they are left to peft, unjudged."""
EVERYWHERE = frozenset("all-linear embed_tokens lm_head wte wpe embed_in embed_out".split())


def no_such_modules(recipe: Recipe, config: Mapping[str, Any]) -> Iterator[Finding]:
    """A warning, if lora_target_modules names what a model of this config.json has not."""
    wanted, kind = recipe.lora_target_modules, str(config.get("model_type"))
    there = MODULES.get(kind)
    if there is None or not recipe.adapter or recipe.lora_target_linear or not wanted:
        return
    if isinstance(wanted, str):
        if SLOW.search(wanted):
            return
        # A regular expression is matched against whole names, whose last part is the module's.
        names = [f"model.layers.0.{part}.{name}" for name in there for part in ("self_attn", "mlp", "attn")]
        if any(re.fullmatch(wanted, name) for name in names) or wanted in EVERYWHERE | there:
            return
        missing = [wanted]
    else:
        missing = [name for name in wanted if name.split(".")[-1] not in there | EVERYWHERE]
    if missing:
        message = f"a {kind} model has no module {', '.join(repr(name) for name in missing)}"
        yield "lora_target_modules", f"{message}; its layers are {', '.join(sorted(there))}", "FT019"


ENDS = frozenset("embed_tokens lm_head wte embed_in embed_out word_embeddings output".split())
"""Names of modules before and behind the layers of a model."""


def both_targets(recipe: Recipe) -> Iterator[Finding]:
    """A warning about a list of modules beside the key that takes every linear layer."""
    if not recipe.adapter or not recipe.lora_target_linear or not recipe.lora_target_modules:
        return
    listed = recipe.lora_target_modules if isinstance(recipe.lora_target_modules, list) else []
    message = "`lora_target_modules` does not count: `lora_target_linear: true` takes every linear layer"
    if beyond := sorted(ENDS & {name.rsplit(".", 1)[-1] for name in listed}):
        message += f" but the output layer, and no embedding; with Axolotl {', '.join(beyond)} would be adapted too"
        yield "lora_target_modules", f"{message}. For that, list all modules, without lora_target_linear", "FT011"
    else:
        yield "lora_target_modules", f"{message}. Remove one of the two", "FT011"
