"""docs/import.md: what `finetune import` reads, and each tool's settings with what becomes of them, from the tables."""

from collections.abc import Iterator, Mapping
from typing import Any

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
from finetune.importing.llamafactory import VERSION as FACTORY
from finetune.importing.llamafactory_data import TEMPLATES
from finetune.importing.rules import Carry, Idle, Lost, Only, Rule, Table

BEGIN = "<!-- tables -->\n"
VERSIONS = f"""
The tables are for LLaMA-Factory {FACTORY}, TRL {trl_arguments.VERSION},
transformers {training_arguments.VERSION}, peft {peft_arguments.VERSION}, Unsloth {unsloth_arguments.VERSION}
and torchtune {torchtune_arguments.VERSION}. Those of TRL,
transformers, peft and Unsloth are compared with the installed signatures by a test. The program writes them.
"""


def with_tables(page: str) -> str:
    """The page with its tables made anew."""
    before, found, _ = page.partition(BEGIN)
    assert found, "docs/import.md has lost the mark above its tables"
    parts = [before + BEGIN + VERSIONS]
    for title, table in _tables():
        parts += [f"## {title}\n", _rows(table)]
    parts += ["## Templates of LLaMA-Factory\n", "| `template` | `chat_template` |\n|---|---|\n" + _templates()]
    return "\n".join(parts).rstrip() + "\n\n" + _defaults()


def _tables() -> Iterator[tuple[str, Table]]:
    yield "TrainingArguments of transformers", training_arguments.TABLE
    for method, table in trl_arguments.METHODS.items():
        seen = trl_arguments.SHARED if method != "sft" else {}
        name = "RewardConfig" if method == "reward" else f"{method.upper()}Config"
        yield f"{name} of TRL", {key: rule for key, rule in table.items() if key not in seen}
    yield "A model and a script on TRL's command line", {**model_arguments.TRL_MODEL, **trl_yaml.SCRIPT}
    yield "Trainers", trainer_arguments.TRAINER
    yield "Loading with transformers", {**model_arguments.MODEL, **model_arguments.TOKENIZER}
    yield "BitsAndBytesConfig", peft_arguments.BITS
    yield "LoraConfig of peft", peft_arguments.LORA
    yield "FastLanguageModel.from_pretrained of Unsloth", unsloth_arguments.LOAD
    yield "get_peft_model of Unsloth", unsloth_arguments.ADAPT
    yield "get_chat_template of Unsloth", unsloth_arguments.TEMPLATE
    yield "train_on_responses_only of Unsloth", unsloth_arguments.RESPONSES
    yield "generate", script_after.GENERATE
    yield "LLaMA-Factory", llamafactory_arguments.TABLE
    yield "torchtune", torchtune_arguments.TOP
    yield (
        "torchtune: model, tokenizer, checkpointer",
        {
            **torchtune_arguments.MODEL,
            **torchtune_arguments.TOKENIZER,
            **torchtune_arguments.CHECKPOINTER,
        },
    )
    yield (
        "torchtune: optimizer, lr_scheduler, dataset",
        {
            **torchtune_arguments.OPTIMIZER,
            **torchtune_arguments.SCHEDULER,
            **torchtune_arguments.DATASET,
        },
    )


def _rows(table: Table) -> str:
    return "| there | here |\n|---|---|\n" + "".join(f"| `{name}` | {said(rule)} |\n" for name, rule in table.items())


def said(rule: Rule) -> str:
    """A rule in a few words."""
    if isinstance(rule, Carry):
        return f"`{rule.key}`" + (f"; {rule.note}" if rule.note else "")
    if isinstance(rule, Idle):
        return f"left out: {rule.why}"
    if isinstance(rule, Only):
        values = ", ".join(f"`{value}`" for value in rule.values if value is not None)
        return f"{values or 'unset'} asks for what happens here ({rule.why}); else no counterpart"
    if isinstance(rule, Lost):
        parts = [part for part in (rule.why, rule.advice) if part]
        return "no counterpart" + (f": {'; '.join(parts)}" if parts else "")
    return rule.says


def _templates() -> str:
    own = [name for name, ours in TEMPLATES.items() if ours == "tokenizer_default"]
    named = "".join(f"| `{name}` | `{ours}` |\n" for name, ours in TEMPLATES.items() if name not in own)
    return named + f"| {', '.join(f'`{name}`' for name in own)} | the model's own: `tokenizer_default` |\n"


def _defaults() -> str:
    columns: dict[str, Mapping[str, Any]] = {
        "TrainingArguments": training_arguments.DEFAULTS,
        **{f"TRL: {method}": {**training_arguments.DEFAULTS, **own} for method, own in trl_arguments.DEFAULTS.items()},
        "a TRL configuration under Unsloth": {**training_arguments.DEFAULTS, **unsloth_arguments.DEFAULTS},
    }
    keys = list(dict.fromkeys(key for values in columns.values() for key in values))
    head = "## Defaults that are written out\n\n| key | " + " | ".join(columns) + " |\n|---"
    lines = [head + "|---" * len(columns) + "|"]
    for key in keys:
        cells = (f"`{values[key]}`" if key in values else "" for values in columns.values())
        lines.append(f"| `{key}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
