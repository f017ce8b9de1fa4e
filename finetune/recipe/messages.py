"""What pydantic found -> faults a person can act on: the place, the key, what is wrong and what to write. Finds nothing
itself."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from finetune.errors import Fault
from finetune.recipe import foreign
from finetune.recipe.base import CLEAN_NUMBER
from finetune.recipe.data import DatasetEntry, MessageProperties
from finetune.recipe.header import Header
from finetune.recipe.model import BnbConfig, SpecialTokens
from finetune.recipe.recipe import Recipe
from finetune.recipe.source import Path_, Source


def faults_of(error: ValidationError, source: Source) -> Iterator[Fault]:
    seen: set[Path_] = set()
    for detail in error.errors(include_url=False):
        path: Path_ = tuple(part for part in detail["loc"])
        while path and path not in source.lines and detail["type"] not in ("missing", "extra_forbidden"):
            path = path[:-1]  # the rest names a branch of a union, not a line
        if path in seen and path:
            continue  # one fault a line: a union reports once per branch
        seen.add(path)
        unknown = detail["type"] == "extra_forbidden"
        yield Fault(_message(detail, path, source), source.where(path), code="FT002" if unknown else "FT003")


def _message(detail: Any, path: Path_, source: Source) -> str:
    key, kind, value = ".".join(map(str, path)), detail["type"], detail["input"]
    if kind == "missing":
        return f"`{key}` is missing and has no default"
    if kind == "extra_forbidden":
        import difflib

        name = str(path[-1])
        if name in ELSEWHERE:
            return f"unknown key `{key}`; did you mean `{ELSEWHERE[name]}`?"
        near = difflib.get_close_matches(name, _known_keys(path), n=1, cutoff=0.7) or difflib.get_close_matches(
            name, sorted(foreign.RECIPE_KEYS), n=1, cutoff=0.85
        )
        hint = f"did you mean `{near[0]}`?" if near else "`finetune schema` lists the keys there are"
        return f"unknown key `{key}`; {hint}"
    shown = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    shown = "null" if value is None else shown
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"`{key}: {shown[:80]}` should be a mapping of keys"
    if kind == "string_too_short":
        return f"`{key}` is empty; write a value, or remove the line"
    if key.rsplit(".", 1)[-1] in CHOICES:
        return f"`{key}: {shown[:80]}` {CHOICES[key.rsplit('.', 1)[-1]]}"
    wanted = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if kind in ("bool_type", "literal_error", "bool_parsing") and str(value).lower() in ("yes", "on", "no", "off"):
        wanted += "; in YAML 1.2 this word is text: write true or false"
    if isinstance(value, str) and "_" in value and CLEAN_NUMBER.fullmatch(value.replace("_", "")):
        wanted += f"; in YAML 1.2 digits have no underscores: write {value.replace('_', '')}"
    return f"`{key}: {shown[:80]}` should be {wanted}"


# Where a list of every choice would not help.
CHOICES = {
    "type": "is no form of rows known here (chat_template, alpaca, completion): leave the line out to have it detected",
    "model_type": "is no class that learns text here: write AutoModelForCausalLM, or a class named ...ForCausalLM",
    "chat_template": "is no template kept here (chatml, llama3, phi_3, phi_35): write tokenizer_default, its own",
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
}


def _known_keys(path: Path_) -> list[str]:
    if len(path) == 1:
        return [*Recipe.model_fields, *Header.model_fields]
    if path[0] == "special_tokens":
        return list(SpecialTokens.model_fields)
    if "message_property_mappings" in path:
        return list(MessageProperties.model_fields)
    if path[0] == "bnb_config_kwargs":
        return list(BnbConfig.model_fields)
    return list(DatasetEntry.model_fields)
