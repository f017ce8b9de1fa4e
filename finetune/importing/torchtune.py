"""torchtune's YAML -> a draft: what its components mean together. Their tables are in torchtune_arguments.py."""

import re
from collections.abc import Mapping
from typing import Any

from finetune.errors import Fault, RecipeError
from finetune.importing import converting as to
from finetune.importing.draft import CHANGED, IDLE, LOST, Draft, NotCarriedError
from finetune.importing.found import Setting
from finetune.importing.loop import Settings
from finetune.importing.rules import apply, converted
from finetune.importing.torchtune_arguments import (
    CHECKPOINTER,
    MODEL,
    REFUSED,
    TOKENIZER,
    TOP,
    VERSION,
    loss_of,
    named,
)
from finetune.importing.torchtune_data import read_data
from finetune.importing.torchtune_run import (
    read_length,
    read_logger,
    read_optimizer,
    read_run,
    read_schedule,
    set_defaults,
)
from finetune.recipe.source import Source

__all__ = ["VERSION", "inner", "read_torchtune"]
MLP = ("gate_proj", "up_proj", "down_proj")
FUSED = {
    "q_proj": "qkv_proj",
    "k_proj": "qkv_proj",
    "v_proj": "qkv_proj",
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
}
LORA_DEFAULTS = {"lora_r": 8, "lora_alpha": 16, "lora_dropout": 0.0}


def inner(source: Source, key: str) -> dict[str, Setting]:
    """The settings inside a component, each with its line."""
    found = source.data.get(key)
    if not isinstance(found, Mapping):
        return {}
    return {name: Setting(f"{key}.{name}", value, source.where((key, name))) for name, value in found.items()}


def read_torchtune(source: Source, settings: Settings, comments: str, draft: Draft) -> None:
    _refuse(source.data, settings)
    apply(settings.values(), TOP, draft)
    parts = {key: inner(source, key) for key in source.data}
    component = str(parts["model"]["_component_"].value) if "_component_" in parts.get("model", {}) else ""
    _base(parts.get("checkpointer", {}), comments, draft)
    _adapter(component, parts.get("model", {}), draft)
    read_optimizer(parts.get("optimizer", {}), draft)
    read_schedule(parts.get("lr_scheduler", {}), draft)
    _loss(parts.get("loss", {}), draft)
    read_data(source, settings, parts.get("tokenizer", {}), draft)
    _tokenizer(parts.get("tokenizer", {}), draft)
    read_length(settings, draft)
    read_run(settings, draft)
    read_logger(parts.get("metric_logger", {}), draft)
    for key in ("profiler", "ref_checkpointer"):
        for setting in parts.get(key, {}).values():
            draft.tell(IDLE, setting, f"of `{key}`")
    for key in source.data:
        if parts.get(key):
            if key in settings and (settings[key].name, settings[key].where) not in draft.accounted:
                draft.accounted.add((settings[key].name, settings[key].where))
            draft.account_for(one for one in parts[key].values() if one.key != "_component_")
    set_defaults(draft)


def _refuse(data: Mapping[str, Any], settings: Settings) -> None:
    for key, what in REFUSED.items():
        if key in data:
            message = f"this is a configuration for {what}, which no recipe can be; nothing was written"
            raise RecipeError(Fault(message, settings[key].where))
    model = data.get("model")
    component = str(model.get("_component_", "")) if isinstance(model, Mapping) else ""
    if "vision" in component or "multimodal" in str(data.get("dataset")):
        raise RecipeError(
            Fault("this model reads images, and rows here are text; nothing was written", settings["model"].where)
        )
    if "dataset" not in data or "model" not in data:
        where = next(iter(settings.values())).where
        raise RecipeError(
            Fault("this configuration trains nothing, since it has no model and dataset; nothing was written", where)
        )


def _base(settings: Settings, comments: str, draft: Draft) -> None:
    apply(settings.values(), {**CHECKPOINTER, "_component_": TOP["profiler"]}, draft)
    setting = settings.get("checkpoint_dir")
    if setting is None:
        return
    folder = str(setting.value).rstrip("/")
    found = re.search(r"tune download (\S+/\S+)", comments)
    if found:
        note = f"the folder is where `tune download {found[1]}` of the comments puts it"
        draft.put("base_model", found[1], setting, note)
    else:
        draft.put("base_model", folder, setting)


def _adapter(component: str, settings: Settings, draft: Draft) -> None:
    builder = named(component)
    apply(settings.values(), {**MODEL, "_component_": TOP["profiler"]}, draft)
    quantized = ("quantize_base" in settings and settings["quantize_base"].value is True) or builder.startswith("qlora")
    place = settings.get("_component_")
    if not builder.startswith(("lora", "qlora")) and "lora_rank" not in settings:
        return
    if quantized:
        draft.assume("load_in_4bit", True, f"{builder}: 4-bit weights")
        draft.assume("adapter", "qlora", builder)
        line = place.where.line if place else 0
        draft.say(
            CHANGED, line, builder, "its NF4 is torchao's there and bitsandbytes' here: the same format, other code"
        )
    draft.assume("adapter", "lora", builder)
    if "quantize_base" in settings:
        draft.tell(
            "carried" if quantized else IDLE, settings["quantize_base"], f"`load_in_4bit: {str(quantized).lower()}`"
        )
    for key, value in LORA_DEFAULTS.items():
        draft.assume(key, value, "not written; torchtune's default")
    _layers(component, settings, draft)


def _layers(component: str, settings: Settings, draft: Draft) -> None:
    modules = settings.get("lora_attn_modules")
    written = (converted(modules, to.words, draft) if modules is not None else None) or []
    names = [{"output_proj": "o_proj"}.get(name, name) for name in written]
    if "apply_lora_to_mlp" in settings and settings["apply_lora_to_mlp"].value is True:
        names += MLP
    if "apply_lora_to_output" in settings and settings["apply_lora_to_output"].value is True:
        names.append("lm_head")
    fused = any(family in component for family in (".phi3.", ".phi4."))
    if fused:
        names = list(dict.fromkeys(FUSED.get(name, name) for name in names))
    for key in ("lora_attn_modules", "apply_lora_to_mlp", "apply_lora_to_output"):
        if key in settings:
            message = f"`lora_target_modules: [{', '.join(names)}]`"
            more = (
                "; the query, key and value layers are one in transformers' Phi"
                if fused and key == "lora_attn_modules"
                else ""
            )
            draft.tell(CHANGED if more else "carried", settings[key], message + more)
    if names:
        draft.lines.pop("lora_target_modules", None)
        draft.assume("lora_target_modules", names, "lora_attn_modules, apply_lora_to_mlp, apply_lora_to_output")


def _loss(settings: Settings, draft: Draft) -> None:
    component = settings.get("_component_")
    if component is None:
        return
    try:
        loss = loss_of(str(component.value))
    except NotCarriedError as error:
        raise RecipeError(Fault(f"{error}; nothing was written", component.where)) from None
    if loss is None:
        for setting in settings.values():
            draft.tell(IDLE, setting, "cross-entropy, however it is computed")
        return
    draft.assume("rl", "dpo", "the loss of pairs")
    draft.tell("carried", component, "`rl: dpo`")
    if loss != "sigmoid":
        draft.put("dpo_loss_type", loss, component)
    beta, gamma, smooth = (settings.get(name) for name in ("beta", "gamma", "label_smoothing"))
    for strength in (beta, gamma):
        if strength is not None:
            draft.put("rl_beta", strength.value, strength)
    if smooth is not None and smooth.value:
        draft.put("dpo_label_smoothing", smooth.value, smooth)
    elif smooth is not None:
        draft.tell(IDLE, smooth, "asks for nothing")
    draft.assume("rl_beta", 0.1, "not written; torchtune's default")


def _tokenizer(settings: Settings, draft: Draft) -> None:
    apply([one for one in settings.values() if one.key != "_component_"], TOKENIZER, draft)
    template = settings.get("prompt_template")
    if template is not None and template.value is None:
        draft.tell(IDLE, template, "the model's own layout")
    elif template is not None and "ChatML" in str(template.value):
        draft.put("chat_template", "chatml", template)
    elif template is not None:
        draft.tell(LOST, template, "this layout is torchtune's own; the model's own is taken", "chat_template")
