"""What pydantic found -> faults a person can act on: the place, the key, what is wrong and what to write. Finds nothing
itself."""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from finetune.errors import Fault
from finetune.recipe import foreign, template_names
from finetune.recipe.adapter import LoftqSection, PeftSection
from finetune.recipe.base import CLEAN_NUMBER
from finetune.recipe.data import DatasetEntry
from finetune.recipe.header import Header
from finetune.recipe.labels import NAMED
from finetune.recipe.model import BnbConfig, QuantizationKwargs, SpecialTokens
from finetune.recipe.optimizer import LrGroup
from finetune.recipe.optimizers import REFUSED_OPTIMIZERS
from finetune.recipe.recipe import Recipe
from finetune.recipe.rows import MessageProperties, PromptFormat
from finetune.recipe.source import Path_, Source


def faults_of(error: ValidationError, source: Source) -> Iterator[Fault]:
    found = [(_path(detail, source), detail) for detail in error.errors(include_url=False)]
    deepest = {path[:length] for path, _ in found for length in range(len(path))}
    seen: set[Path_] = set()
    said_more = {path for path, detail in found if detail["type"] != "list_type"}
    for path, detail in found:
        whole = detail["type"] in WHOLE
        if detail["type"] == "list_type" and isinstance(detail["input"], dict) and path in said_more:
            continue  # a mapping was meant, and what is wrong with it is said
        if (path in seen or (path in deepest and not whole)) and path:
            continue  # one fault a line: a union reports once per branch, and what it holds says more than the whole
        seen.add(path)
        unknown = detail["type"] == "extra_forbidden"
        yield Fault(_message(detail, path, source), source.where(path), code="FT002" if unknown else "FT003")


MISSING = {
    "output_dir": ": write output_dir: ./outputs/NAME (Axolotl's own is ./model-out)",
    "base_model": ": name a model of the hub, or a folder",
}
"""Key -> what to write where it is missing."""
WHOLE = ("missing", "extra_forbidden")
"""Faults of a key itself, which need not stand anywhere."""


def place_of(loc: tuple[str | int, ...]) -> Path_:
    """Where a fault stands, without the name of the section that a mapping under `type` is read as."""
    return tuple(part for part in loc if part != PromptFormat.__name__)


def _path(detail: Any, source: Source) -> Path_:
    """The key or item that a fault is about; what names a branch of a union is left out."""
    path: Path_ = ()
    if detail["type"] in WHOLE:
        return place_of(detail["loc"])
    for part in detail["loc"]:
        path = (*path, part) if (*path, part) in source.lines else path
    return path


def meant_by(path: Path_) -> str:
    """The key that an unknown one was probably to be; empty where none is near."""
    import difflib

    name = str(path[-1])
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    near = difflib.get_close_matches(name, _known_keys(path), n=1, cutoff=0.7) or difflib.get_close_matches(
        name, sorted(foreign.RECIPE_KEYS), n=1, cutoff=0.85
    )
    return near[0] if near else ""


def _message(detail: Any, path: Path_, source: Source) -> str:
    key, kind, value = ".".join(map(str, path)), detail["type"], detail["input"]
    if kind == "missing":
        return f"`{key}` is missing and has no default{MISSING.get(key, '')}"
    if kind == "extra_forbidden":
        near = meant_by(path)
        hint = f"did you mean `{near}`?" if near else "`finetune schema` lists the keys there are"
        return f"unknown key `{key}`; {hint}"
    shown = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    shown = "null" if value is None else shown
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"`{key}: {shown[:80]}` should be a mapping of keys"
    if kind in ("string_too_short", "too_short") and not value:
        return f"`{key}` is empty; write a value, or remove the line"
    name = key.rsplit(".", 1)[-1]
    if name in CHOICES:
        return f"`{key}: {shown[:80]}` {_choice(name, value)}"
    wanted = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    wanted = "written otherwise; docs/keys.md shows how" if kind == "string_pattern_mismatch" else wanted
    if kind in ("bool_type", "literal_error", "bool_parsing") and str(value).lower() in ("yes", "on", "no", "off"):
        wanted += "; in YAML 1.2 this word is text: write true or false"
    if isinstance(value, str) and "_" in value and CLEAN_NUMBER.fullmatch(value.replace("_", "")):
        wanted += f"; in YAML 1.2 digits have no underscores: write {value.replace('_', '')}"
    return f"`{key}: {shown[:80]}` should be {wanted}"


def _choice(key: str, value: Any) -> str:
    if key == "type":
        why = next((why for start, why in FORMS.items() if str(value).startswith(start)), None)
        if why:
            return f"is no form of rows known here. {why}"
    if key == "chat_template":
        return template_names.refusal(str(value)) or _no_template(str(value))
    if key == "optimizer" and str(value) in REFUSED_OPTIMIZERS:
        return f"is known, but {REFUSED_OPTIMIZERS[str(value)]}"
    return CHOICES[key]


def _no_template(value: str) -> str:
    """The nearest names, as people spell them: `phi3.5`, `Qwen-2.5`."""
    import difflib

    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in NAMED}
    wanted = re.sub(r"[^a-z0-9]", "", value.lower())
    near = difflib.get_close_matches(wanted, plain, n=2, cutoff=0.75)
    near.sort(key=lambda name: abs(len(name) - len(wanted)))
    meant = " or ".join(f"`{plain[name]}`" for name in near)
    return f"is no template kept here; did you mean {meant}? {TEMPLATES}" if near else CHOICES["chat_template"]


TEMPLATES = (
    f"Kept are {', '.join(NAMED)}; tokenizer_default is the tokenizer's own, trl/NAME one that TRL ships, jinja one "
    "of yours in chat_template_jinja"
)
# Where a list of every choice would not help.
CHOICES = {
    "type": "is no form of rows known here (chat_template, alpaca, completion and those in docs/keys.md): leave the "
    "line out to have it detected",
    "model_type": "is no class that learns text here: write AutoModelForCausalLM, or a class named ...ForCausalLM",
    "tokenizer_type": "is no class of a tokenizer: write AutoTokenizer, or a class named ...Tokenizer",
    "chat_template": f"is no template kept here. {TEMPLATES}",
    "optimizer": "is no optimizer kept here: adamw_torch_fused and adamw_8bit are usual, docs/keys.md lists all",
    "lr_scheduler": "is no course of the learning rate kept here: cosine and linear are usual, docs/keys.md lists all",
    "attn_implementation": "is no attention kept here (auto, sdpa, eager, flash_attention_2, flash_attention_3, "
    "flash_attention_4, flex_attention)",
    "activation_offloading": "should be true or false: where true, activations wait in the CPU's memory",
    "gradient_checkpointing": "should be true, false, auto or unsloth; activation_offloading: true saves more memory",
    "adapter": "is no adapter kept here: write lora, qlora, ia3, prefix_tuning, prompt_tuning, p_tuning, or nothing to "
    "train the whole model",
}
WORDING = (
    "Write the prompt that you mean as a mapping: type: {field_instruction: instruction, field_output: output, "
    "format: '{instruction}\\n{input}\\n', no_input_format: '{instruction}\\n'}"
)
# The beginning of a dataset's type -> why it is refused.
FORMS = {
    "alpaca": WORDING,
    "gpteacher": WORDING,
    "oasst": WORDING,
    "jeopardy": WORDING,
    "explainchoice": WORDING,
    "concisechoice": "Its only wording is that of `type: concisechoice`",
    "summarizetldr": "Its only wording is that of `type: summarizetldr`",
    "reflection": "Axolotl's wording of it leaves out the corrected answer or has none of that style: write `type: "
    "reflection` or `type: reflection:instruct`",
    "context_qa": WORDING,
    "orcamini": WORDING,
    "creative_acr": "Write creative_acr.load_answer, creative_acr.load_critique or creative_acr.load_revise",
    "pygmalion": "Write `type: chat_template` with a chat_template of your own (chat_template: jinja), and roles: "
    "{user: [human], assistant: [bot]}",
    "llama2_chat": "Write `type: chat_template` with `chat_template: llama2`, which has the same layout",
    "messages": "Write `type: chat_template`",
    "pretrain": "Write `type: completion`",
    "_synthetic": "It makes up its rows; write the path of real ones",
    "stepwise": "Reward models are not trained here yet",
    "bradley_terry": "Reward models are not trained here yet",
    "ebft": "It is learned by a method that is not supported",
    "chat_template.": "It takes pairs of a chosen and a rejected answer, which are not learned from here yet",
    "chatml.": "It takes pairs of a chosen and a rejected answer, which are not learned from here yet",
    "llama3.": "It takes pairs of a chosen and a rejected answer, which are not learned from here yet",
    "zephyr.": "It takes pairs of a chosen and a rejected answer, which are not learned from here yet",
    "passthrough": "It takes pairs of a chosen and a rejected answer, which are not learned from here yet",
    "user_defined.": "It takes pairs of a chosen and a rejected answer, which are not learned from here yet",
    "user_defined": "Write the format itself as a mapping: type: {field_instruction: ..., field_output: ..., "
    "format: ...}",
}
# Other trainers' names that no spelling check would bring near ours.
ELSEWHERE = {
    "epochs": "num_epochs",
    "num_train_epochs": "num_epochs",
    "cutoff_len": "sequence_len",
    "max_seq_length": "sequence_len",
    "max_seq_len": "sequence_len",
    "max_length": "sequence_len",
    "per_device_train_batch_size": "micro_batch_size",
    "per_device_eval_batch_size": "eval_batch_size",
    "train_batch_size": "micro_batch_size",
    "global_batch_size": "gradient_accumulation_steps",
    "model_name_or_path": "base_model",
    "model_name": "base_model",
    "model": "base_model",
    "dataset": "datasets",
    "template": "chat_template",
    "finetuning_type": "adapter",
    "peft_type": "adapter",
    "lora_rank": "lora_r",
    "lora_target": "lora_target_modules",
    "target_modules": "lora_target_modules",
    "modules_to_save": "lora_modules_to_save",
    "dropout": "lora_dropout",
    "packing": "sample_packing",
    "lr": "learning_rate",
    "lr_warmup_steps": "warmup_steps",
    "clip_grad_norm": "max_grad_norm",
    "wandb_run_name": "wandb_name",
    "early_stopping": "early_stopping_patience",
    "use_dora": "peft_use_dora",
    "use_gradient_checkpointing": "gradient_checkpointing",
    "quantization_bit": "load_in_4bit",
    "flash_attn": "attn_implementation",
    "max_new_tokens": "generation_max_new_tokens",
    "temperature": "generation_temperature",
    "eval_dataset": "test_datasets",
    "random_seed": "seed",
    "run_name": "wandb_name",
    "lora_out_dir": "output_dir",
    "report_to": "use_wandb",
    "logging_dir": "use_tensorboard",
    "do_eval": "val_set_size",
    "bos_token": "special_tokens",
    "eos_token": "special_tokens",
    "pad_token": "special_tokens",
    "unk_token": "special_tokens",
    "use_peft": "adapter",
    "use_lora": "adapter",
    "full_finetune": "adapter",
    "full_finetuning": "adapter",
    "use_flash_attention": "attn_implementation",
    "use_flash_attention_2": "attn_implementation",
    "use_liger_kernel": "liger_fused_linear_cross_entropy",
    "assistant_only_loss": "train_on_inputs",
    "completion_only_loss": "train_on_inputs",
    "max_grad_value": "max_grad_norm",
    "gradient_clipping": "max_grad_norm",
    "warmup": "warmup_steps",
    "batch_size_per_device": "micro_batch_size",
    "lora_modules": "lora_target_modules",
    "train_file": "datasets",
    "dataset_name": "datasets",
    "dataset_path": "datasets",
    "valid_data": "test_datasets",
}


def _known_keys(path: Path_) -> list[str]:
    if len(path) == 1:
        return [*Recipe.model_fields, *Header.model_fields]
    if path[0] == "special_tokens":
        return list(SpecialTokens.model_fields)
    if "message_property_mappings" in path:
        return list(MessageProperties.model_fields)
    if path[2:3] == ("type",):
        return list(PromptFormat.model_fields)
    if path[0] == "model_quantization_config_kwargs":
        return list(QuantizationKwargs.model_fields)
    if path[0] == "peft":
        return list(PeftSection.model_fields if len(path) == 2 else LoftqSection.model_fields)
    if path[0] == "lr_groups":
        return list(LrGroup.model_fields)
    if path[0] == "bnb_config_kwargs":
        return list(BnbConfig.model_fields)
    return list(DatasetEntry.model_fields)
