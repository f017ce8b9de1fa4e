"""The tables of other tools' settings hold every argument that the installed libraries have, and point at keys."""

import ast
import dataclasses
import importlib.util
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from finetune.importing import (
    llamafactory_arguments,
    model_arguments,
    peft_arguments,
    script_after,
    torchtune_arguments,
    trainer_arguments,
    training_arguments,
    trl_arguments,
    trl_yaml,
    unsloth_arguments,
)
from finetune.importing.rules import Carry, Rule
from finetune.recipe.adapter import PeftSection
from finetune.recipe.method import TrlConfig
from finetune.recipe.model import BnbConfig, SpecialTokens
from finetune.recipe.recipe import Recipe
from finetune.recipe.source import plain

INSIDE = {"trl": TrlConfig, "special_tokens": SpecialTokens, "bnb_config_kwargs": BnbConfig, "peft": PeftSection}
TABLES: Mapping[str, Mapping[str, Rule]] = {
    "transformers": training_arguments.TABLE,
    **trl_arguments.METHODS,
    "lora": peft_arguments.LORA,
    "bits": peft_arguments.BITS,
    "model": {**model_arguments.MODEL, **model_arguments.TOKENIZER},
    "trl model": {**model_arguments.TRL_MODEL, **trl_yaml.SCRIPT},
    "trainer": trainer_arguments.TRAINER,
    "load": unsloth_arguments.LOAD,
    "adapt": unsloth_arguments.ADAPT,
    "responses": unsloth_arguments.RESPONSES,
    "generate": script_after.GENERATE,
    "llamafactory": llamafactory_arguments.TABLE,
    "torchtune": {**torchtune_arguments.TOP, **torchtune_arguments.MODEL, **torchtune_arguments.OPTIMIZER},
}


def fields(config: Any) -> dict[str, Any]:
    return {
        one.name: one.default_factory() if callable(one.default_factory) else one.default
        for one in dataclasses.fields(config)
    }


def configurations() -> dict[str, Any]:
    import trl
    from trl.experimental.cpo import CPOConfig
    from trl.experimental.orpo import ORPOConfig

    return {
        "sft": trl.SFTConfig, "dpo": trl.DPOConfig, "kto": trl.KTOConfig, "orpo": ORPOConfig, "cpo": CPOConfig,
        "reward": trl.RewardConfig, "grpo": trl.GRPOConfig, "rloo": trl.RLOOConfig,
    }  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_every_rule_points_at_a_key_of_the_recipe(name: str) -> None:
    for setting, rule in TABLES[name].items():
        if isinstance(rule, Carry):
            top, _, inner = rule.key.partition(".")
            assert top in Recipe.model_fields, setting
            if inner:
                assert inner.partition(".")[0] in INSIDE[top].model_fields, setting


def test_every_argument_of_the_installed_libraries_is_in_a_table() -> None:
    from peft import LoraConfig
    from transformers import TrainingArguments
    from trl import ModelConfig, ScriptArguments

    common = set(fields(TrainingArguments))
    assert common <= set(training_arguments.TABLE)
    present = set(common)
    for method, config in configurations().items():
        present |= set(fields(config))
        assert set(fields(config)) - common <= set(trl_arguments.METHODS[method]), method
    assert set(fields(LoraConfig)) <= set(peft_arguments.LORA)
    assert set(fields(ModelConfig)) <= set(model_arguments.TRL_MODEL)
    assert set(fields(ScriptArguments)) <= set(trl_yaml.SCRIPT)
    tables = {name for method in trl_arguments.METHODS.values() for name in method} | set(training_arguments.TABLE)
    assert tables - present == trainer_arguments.GONE_FROM_CONFIGURATIONS


def test_the_defaults_that_are_written_out_are_those_of_the_installed_libraries() -> None:
    from transformers import TrainingArguments

    names = {"micro_batch_size": "per_device_train_batch_size", "num_epochs": "num_train_epochs", "optimizer": "optim"}
    names |= {
        "lr_scheduler": "lr_scheduler_type",
        "sequence_len": "max_length",
        "rl_beta": "beta",
        "orpo_alpha": "beta",
    }
    theirs = fields(TrainingArguments)
    for key, value in training_arguments.DEFAULTS.items():
        assert theirs[names.get(key, key)] == value, key
    for method, config in configurations().items():
        for key, value in trl_arguments.DEFAULTS[method].items():
            if key not in ("bf16", "fp16"):
                assert fields(config)[names.get(key, key)] == value, (method, key)


def test_the_trainers_take_what_is_said_to_be_taken_today() -> None:
    import transformers
    import trl

    taken: set[str] = set()
    for trainer in (trl.SFTTrainer, trl.DPOTrainer, trl.KTOTrainer, trl.RewardTrainer, trl.GRPOTrainer):
        taken |= set(inspect.signature(trainer.__init__).parameters)
    taken |= set(inspect.signature(transformers.Trainer.__init__).parameters) - {"self"}
    assert taken - {"self"} == trainer_arguments.TODAY


def test_unsloths_arguments_and_defaults_are_those_of_its_source() -> None:
    spec = importlib.util.find_spec("unsloth")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    wanted = {"from_pretrained": unsloth_arguments.LOAD, "get_peft_model": unsloth_arguments.ADAPT}
    for file in ("models/loader.py", "models/llama.py"):
        for node in ast.walk(ast.parse((folder / file).read_text())):
            if isinstance(node, ast.FunctionDef) and node.name in wanted:
                names = {argument.arg for argument in node.args.args} - {"model", "cls"}
                assert names <= set(wanted[node.name]), (file, names - set(wanted[node.name]))
    text = (folder / "models" / "rl.py").read_text()
    found = text[text.index("    replacements = {") :]
    found = found[: found.index("\n    }\n")]
    theirs = dict(
        line.strip().rstrip(",").split(": ", 1) for line in found.splitlines() if line.strip().startswith('"')
    )
    names = {"micro_batch_size": "per_device_train_batch_size", "optimizer": "optim"}
    for key, value in unsloth_arguments.DEFAULTS.items():
        if key != "warmup_ratio":
            written = theirs[f'"{names.get(key, key)}"'].split("  #")[0].rstrip(",").strip('"')
            assert plain(written) == value, key
