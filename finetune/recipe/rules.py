"""What may not stand together in one recipe. Looks at written values only; knows no library and no machine."""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from finetune.recipe import evaluation_rules
from finetune.recipe.adapter_rules import beginnings, continuing, ia3_modules, learned_tokens, target_text
from finetune.recipe.base import as_number
from finetune.recipe.data_rules import row_keys, taken_rows, template_of
from finetune.recipe.export_rules import exporting
from finetune.recipe.intervals import measures_what_it_saves
from finetune.recipe.method_rules import method_keys
from finetune.recipe.optimizer_rules import optimizer_keys, part_rates, scheduler_keys
from finetune.recipe.parallel_rules import parallel
from finetune.recipe.speed_rules import speed

Values = Mapping[str, Any]
Finding = tuple[str, str]
"""The key to point at (`datasets.0.type` for one inside), and the message."""


def broken_rules(values: Values) -> list[Finding]:
    """Every broken rule. Values of wrong types are passed over: they have faults of their own."""
    return [finding for rule in RULES for finding in rule(values)]


def _no_pattern(text: str) -> str | None:
    """Why a text is no regular expression, or None where it is one."""
    try:
        with warnings.catch_warnings():
            # Python warns of brackets that it may read otherwise one day, in the middle of our output.
            warnings.simplefilter("ignore")
            re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        return str(error)
    return None


def _quantization(values: Values) -> Iterator[Finding]:
    sizes = [key for key in ("load_in_4bit", "load_in_8bit") if values.get(key) in (True, "auto")]
    sizes += [key for key in ("load_in_torchao", "model_quantization_config") if values.get(key)]
    adapter = values.get("adapter")
    if len(sizes) > 1:
        yield sizes[1], f"{sizes[0]} and {sizes[1]} are both on; a weight has one size. Keep one"
    if adapter == "qlora" and "load_in_4bit" not in sizes:
        yield "adapter", "`adapter: qlora` trains on 4-bit weights: set `load_in_4bit: true`, or write `adapter: lora`"
    key = sizes[0] if sizes else "model_quantization_config"
    if adapter is None and key != "model_quantization_config":
        shown = "int8" if key == "load_in_torchao" else str(values[key]).lower()
        yield key, f"`{key}: {shown}` needs an adapter, since quantized weights cannot be trained: set `adapter: lora`"


def _precision(values: Values) -> Iterator[Finding]:
    if values.get("bf16") is True and values.get("fp16") is True:
        yield "fp16", "bf16 and fp16 are both on. Keep bf16 where the GPU can, else fp16"


def _pairs(values: Values) -> Iterator[Finding]:
    for one, other in (
        ("warmup_steps", "warmup_ratio"),
        ("save_steps", "saves_per_epoch"),
        ("eval_steps", "evals_per_epoch"),
        ("val_set_size", "test_datasets"),
        ("curriculum_sampling", "group_by_length"),
    ):
        if values.get(one) and values.get(other):
            yield other, f"`{one}` and `{other}` cannot both hold. Keep one"


def _watchdog(values: Values) -> Iterator[Finding]:
    if values.get("loss_watchdog_patience") and not values.get("loss_watchdog_threshold"):
        yield "loss_watchdog_patience", "`loss_watchdog_patience` counts only with `loss_watchdog_threshold`"


def _targets(values: Values) -> Iterator[Finding]:
    if values.get("adapter") and values.get("lora_target_linear") is False and not values.get("lora_target_modules"):
        message = (
            "`lora_target_linear: false` without `lora_target_modules` leaves nothing for the adapter: list modules"
        )
        yield "lora_target_linear", message


def _workers(values: Values) -> Iterator[Finding]:
    for key in ("dataloader_prefetch_factor", "dataloader_persistent_workers"):
        if values.get(key) and not values.get("dataloader_num_workers"):
            yield key, f"`{key}` counts only with `dataloader_num_workers` above 0"


def _layers(values: Values) -> Iterator[Finding]:
    if values.get("peft_layers_to_transform"):
        if not isinstance(values.get("lora_target_modules"), list) or values.get("lora_target_linear"):
            yield "peft_layers_to_transform", "`peft_layers_to_transform` needs a list of `lora_target_modules`"
    elif values.get("peft_layers_pattern"):
        yield "peft_layers_pattern", "`peft_layers_pattern` counts only with `peft_layers_to_transform`"


def _best_checkpoint(values: Values) -> Iterator[Finding]:
    keys = [key for key in ("load_best_model_at_end", "early_stopping_patience") if values.get(key)]
    if not keys:
        return
    if not values.get("val_set_size") and not values.get("test_datasets"):
        yield (
            keys[0],
            f"`{keys[0]}` looks at validation rows, but there is no validation data: set `val_set_size: 0.05`",
        )
    elif values.get("eval_strategy") == "no":
        yield keys[0], f"`{keys[0]}` looks at validation rows, which `eval_strategy: no` never measures"
    saves = values.get("save_strategy", "no") != "no" or values.get("save_steps") or values.get("saves_per_epoch")
    if values.get("load_best_model_at_end") and not saves:
        yield "load_best_model_at_end", "there are no checkpoints to choose the best of: set `saves_per_epoch: 1`"
    elif values.get("load_best_model_at_end") and values.get("eval_strategy") != "no":
        yield from _measured_where_saved(values)


def _measured_where_saved(values: Values) -> Iterator[Finding]:
    numbers = {key: as_number(values.get(key)) for key in PERIODS}
    if any(isinstance(value, str | bool) for value in numbers.values()):
        return
    if not measures_what_it_saves({**values, **numbers}):
        message = "`load_best_model_at_end` needs the validation rows measured whenever a checkpoint is written: set "
        yield (
            "load_best_model_at_end",
            f"{message}`saves_per_epoch` and `evals_per_epoch` alike, or `save_steps` a multiple of `eval_steps`",
        )


PERIODS = ("save_steps", "saves_per_epoch", "eval_steps", "evals_per_epoch", "num_epochs")


def _run_names(values: Values) -> Iterator[Finding]:
    names = {key: values[key] for key in RUN_NAMES if isinstance(values.get(key), str)}
    if len(set(names.values())) > 1:
        yield list(names)[-1], f"a run has one name for all trackers: {', '.join(names)} differ"


RUN_NAMES = ("wandb_name", "mlflow_run_name", "trackio_run_name", "swanlab_experiment_name")


def _unfrozen(values: Values) -> Iterator[Finding]:
    if values.get("unfrozen_parameters") and values.get("adapter"):
        message = "`unfrozen_parameters` trains a part of the model itself, which an adapter leaves frozen: remove it"
        yield "unfrozen_parameters", f"{message}, or use lora_modules_to_save"
    given = values.get("unfrozen_parameters")
    for pattern in given if isinstance(given, list) else ():
        if re.search(r"\[\d*:\d*\]$", str(pattern)) and values.get("weight_decay"):
            message = f"`weight_decay` would also pull at the rows that {str(pattern)[:80]!r} leaves frozen"
            yield "weight_decay", f"{message}: set it to 0"
        if why := _no_pattern(re.sub(r"\[\d*:\d*\]$", "", str(pattern))):
            yield "unfrozen_parameters", f"{str(pattern)[:80]!r} is not a regular expression: {why}"


def _roles(values: Values) -> Iterator[Finding]:
    for list_key in ("datasets", "test_datasets"):
        entries = values.get(list_key)
        for entry in entries if isinstance(entries, list) else ():
            roles = entry.get("roles") if isinstance(entry, dict) else None
            if isinstance(roles, dict):
                named = [name for names in roles.values() for name in (names if isinstance(names, list) else [names])]
                for name in sorted({str(name) for name in named if named.count(name) > 1}):
                    yield list_key, f"datasets.roles names {name!r} for two roles; a turn has one"


def _experts(values: Values) -> Iterator[Finding]:
    if values.get("adapter") and values.get("lora_target_parameters") and values.get("lora_dropout"):
        message = "`lora_dropout` cannot be applied to `lora_target_parameters`, which are no layers: set it to 0"
        yield "lora_dropout", message


def _target_pattern(values: Values) -> Iterator[Finding]:
    pattern = values.get("lora_target_modules")
    for name in pattern if isinstance(pattern, list) else ():
        # peft compares a list's names as they are; a pattern among them would silently match nothing.
        if re.search(r"[^\w.-]", str(name)):
            message = f"{name!r} is no name of a module; a pattern is written alone, as text: lora_target_modules: "
            yield "lora_target_modules", f"{message}'...'"
    if isinstance(pattern, str) and (why := _no_pattern(pattern)):
        message = f"{pattern[:80]!r} is not a regular expression: {why}. List the modules' names instead"
        yield "lora_target_modules", message
    for key in ("lora_rank_pattern", "lora_alpha_pattern"):
        given = values.get(key)
        for name in given if isinstance(given, dict) else ():
            if why := _no_pattern(str(name)):
                yield key, f"{str(name)[:80]!r} is not a regular expression: {why}"


def _strategies(values: Values) -> Iterator[Finding]:
    for strategy, steps, per_epoch in (
        ("save_strategy", "save_steps", "saves_per_epoch"),
        ("eval_strategy", "eval_steps", "evals_per_epoch"),
    ):
        chosen = values.get(strategy)
        for key in (steps, per_epoch):
            if values.get(key) and chosen in ("epoch", "no"):
                yield strategy, f"`{strategy}: {chosen}` and `{key}` contradict each other. Keep one"
        if chosen == "steps" and not values.get(steps) and not values.get(per_epoch):
            yield strategy, f"`{strategy}: steps` needs `{steps}`"


def _evaluation(values: Values) -> Iterator[Finding]:
    if values.get("val_set_size") or values.get("test_datasets"):
        return
    if values.get("eval_steps"):
        yield (
            "eval_steps",
            "`eval_steps` asks for evaluation, but there is no validation data: set `val_set_size: 0.05`",
        )
    if values.get("eval_strategy") in ("steps", "epoch"):
        yield "eval_strategy", "there is no validation data to evaluate on: set `val_set_size: 0.05`"


def _template(values: Values) -> Iterator[Finding]:
    yield from template_of(values)


def _validation_share(values: Values) -> Iterator[Finding]:
    size = values.get("val_set_size")
    if isinstance(size, float) and size > 1 and not size.is_integer():
        yield "val_set_size", f"{size} is neither a share below 1 nor a whole number of rows"
    if size == 1:
        yield "val_set_size", "1 is ambiguous: write a share below 1, or at least 2 rows"


RULES: tuple[Callable[[Values], Iterator[Finding]], ...] = (
    _quantization,
    _precision,
    _pairs,
    scheduler_keys,
    part_rates,
    method_keys,
    row_keys,
    _roles,
    taken_rows,
    optimizer_keys,
    _watchdog,
    _targets,
    _workers,
    _layers,
    _best_checkpoint,
    _run_names,
    _unfrozen,
    _experts,
    _target_pattern,
    target_text,
    learned_tokens,
    ia3_modules,
    beginnings,
    continuing,
    exporting,
    _strategies,
    _evaluation,
    evaluation_rules.generating,
    evaluation_rules.figures,
    _template,
    _validation_share,
    speed,
    parallel,
)
