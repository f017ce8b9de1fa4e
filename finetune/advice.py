"""Warnings a colleague would give about a recipe that is legal. Looks at the recipe, and at local data and a local
model as far as a moment allows; knows no plan and loads nothing."""

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.advice_modules import both_targets, no_such_modules
from finetune.advice_values import Finding, far_off
from finetune.backends.checkpoints import verdict
from finetune.backends.quantized import asked_of
from finetune.codes import CODES
from finetune.errors import Fault
from finetune.machine import installed
from finetune.recipe.data_rules import TASKS
from finetune.recipe.load import Checked
from finetune.recipe.old_keys import OVERRIDES
from finetune.recipe.optimizers import ADAM, OPTIMIZERS
from finetune.recipe.recipe import Recipe
from finetune.recipe.source import Path_
from finetune.recipe.unsaid import OWN
from finetune.templates_planned import several

RATES = {"an adapter": (5e-6, 2e-3), "a whole model": (1e-7, 2e-4)}
"""Learning rates outside of which AdamW mostly diverges or learns nothing."""
SMALL_HIDDEN, SMALL_MOST = 1024, 5e-3
"""A whole model with blocks up to this width bears rates up to this one: the smallest are pretrained with such."""

RECURRENT = frozenset(
    "mamba mamba2 falcon_mamba jamba bamba zamba zamba2 rwkv recurrent_gemma falcon_h1 granitemoehybrid nemotron_h "
    "qwen3_next qwen3_5 qwen3_5_moe lfm2 lfm2_moe plamo2 kimi_linear olmo_hybrid".split()
)
"""`model_type` of models with layers that carry a state along the row, across the documents packed into it."""


@dataclass(frozen=True)
class Case:
    """A recipe with what is looked up for it once, when a rule asks."""

    recipe: Recipe
    written: frozenset[str] = frozenset()
    """Keys at the top of its file, in whatever spelling."""

    @functools.cached_property
    def rows(self) -> int | None:
        from finetune.derived import count_rows  # it brings every reader of files, and few rules ask

        return count_rows(self.recipe)

    @functools.cached_property
    def steps(self) -> int | None:
        from finetune.derived import steps

        return self.recipe.max_steps or steps(self.recipe, self.rows)

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """config.json of a local base_model, else nothing."""
        try:
            found = json.loads((Path(self.recipe.base_model) / "config.json").read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @functools.cached_property
    def is_small(self) -> bool:
        """Whether the model is known to be one of the smallest."""
        width = self.architecture.get("hidden_size")
        return isinstance(width, int) and width <= SMALL_HIDDEN

    @functools.cached_property
    def architecture(self) -> dict[str, Any]:
        """config.json of a local base_model or, by its name, of one that is known."""
        from finetune.memory.known import config_of_name  # a table that few recipes need

        return self.config or dict(config_of_name(self.recipe.base_model) or {})


def advice(checked: Checked) -> list[Fault]:
    """Every warning, and here and there a note, at the line of its key."""
    written = frozenset(str(path[0]) for path in checked.source.lines if path)
    case = Case(checked.recipe, written)
    return [
        Fault(message, checked.source.where(_path(key)), CODES[code].severity, code)
        for rule in RULES
        for key, message, code in rule(case)
    ]


def _path(key: str) -> Path_:
    return tuple(int(part) if part.isdigit() else part for part in key.split("."))


def _learning_rate(case: Case) -> Iterator[Finding]:
    recipe = case.recipe
    if not recipe.optimizer.startswith(("adam", "paged_adam", "stable_adam")):
        return
    method = "an adapter" if recipe.adapter else "a whole model"
    least, most = RATES[method]
    if not recipe.adapter and case.is_small:
        most = SMALL_MOST
    if not least <= recipe.learning_rate <= most:
        side = "high" if recipe.learning_rate > most else "low"
        yield (
            "learning_rate",
            f"`learning_rate: {recipe.learning_rate:g}` is very {side} for training {method} with {recipe.optimizer}; "
            f"usual is {least:g} to {most:g}",
            "FT012",
        )


def _evaluation(case: Case) -> Iterator[Finding]:
    recipe = case.recipe
    if recipe.evals_per_epoch and not recipe.val_set_size and recipe.test_datasets is None:
        message = "`evals_per_epoch` asks for evaluation, but there is no validation data: nothing is evaluated"
        yield "evals_per_epoch", f"{message}. Set `val_set_size: 0.05`, or remove the line", "FT015"


def _same_source(case: Case) -> Iterator[Finding]:
    seen: list[dict[str, Any]] = []
    for number, entry in enumerate(case.recipe.datasets):
        what = entry.model_dump(include={"path", "name", "split", "data_files", "filter", "shards_idx"})
        if what in seen:
            message = f"datasets.{number} names `{entry.path}` again: its rows are learned twice"
            yield f"datasets.{number}.path", message, "FT025"
        seen.append(what)


def _batch(case: Case) -> Iterator[Finding]:
    recipe = case.recipe
    batch = recipe.rows_at_once * recipe.gradient_accumulation_steps
    if not recipe.sample_packing and batch > 1 and case.rows is not None and case.rows <= batch:
        yield (
            "gradient_accumulation_steps" if recipe.gradient_accumulation_steps > 1 else "micro_batch_size",
            f"a step learns from {batch} rows and the training data has {case.rows}: an epoch is one step. Lower "
            "micro_batch_size or gradient_accumulation_steps",
            "FT013",
        )


def _never(case: Case) -> Iterator[Finding]:
    recipe = case.recipe
    looked_at = (
        ("warmup_steps", "the warm-up never ends and learning_rate is never reached", "FT014"),
        ("eval_steps", "the first evaluation never comes", "FT015"),
        ("save_steps", "the first checkpoint never comes", "FT016"),
    )
    for key, what, code in looked_at:
        count = getattr(recipe, key)
        # A value below 1 is a share of all steps, which always comes.
        if not count or count < 1 or case.steps is None:
            continue
        if count > case.steps or (key == "warmup_steps" and count == case.steps):
            yield key, f"`{key}: {count}`, but the run has {case.steps} steps: {what}. Lower it", code


def _packing(case: Case) -> Iterator[Finding]:
    recipe = case.recipe
    if not recipe.sample_packing:
        return
    kind = case.config.get("model_type")
    if kind in RECURRENT:
        message = f"`sample_packing` with a {kind} model: its recurrent layers carry one document into the next"
        yield "sample_packing", f"{message}. Set sample_packing: false", "FT017"
    elif recipe.attn_implementation == "eager":
        message = "`sample_packing` with `attn_implementation: eager` holds sequence_len x sequence_len scores a head"
        yield "attn_implementation", f"{message}; auto does not", "FT017"


BOUNDED = ("gemma2", "vaultgemma")
"""Models whose configuration has attn_logit_softcapping."""
TEMPLATED = ("chat_template", *TASKS)
"""Forms whose questions are a user's turns."""


def _inputs(case: Case) -> Iterator[Finding]:
    recipe = case.recipe
    if recipe.train_on_inputs and any(entry.type in TEMPLATED for entry in recipe.datasets):
        message = "`train_on_inputs: true` also teaches the model to write the user's turns"
        yield "train_on_inputs", f"{message}; false learns the answers", "FT018"


def _templates(case: Case) -> Iterator[Finding]:
    if found := several(case.recipe):
        kept, others = found
        message = f"several chat templates: {kept} is saved with the tokenizer, {', '.join(others)} beside it"
        yield "datasets", f"{message} only forms the data. Answers are asked for under {kept}", "FT026"


def _modules(case: Case) -> Iterator[Finding]:
    yield from no_such_modules(case.recipe, case.config)


def _bounded(case: Case) -> Iterator[Finding]:
    recipe, config = case.recipe, case.architecture
    bounded = config.get("attn_logit_softcapping") or (config.get("model_type") in BOUNDED and not case.config)
    if bounded and recipe.attn_implementation == "sdpa" and recipe.backend != "unsloth":
        message = "this model bounds the scores of its attention, which sdpa leaves out: the run would end as it loads"
        yield "attn_implementation", f"{message}. Write attn_implementation: auto", "FT033"


def _checkpoint(case: Case) -> Iterator[Finding]:
    key, why, said = verdict(case.config, asked_of(case.recipe), installed)
    if why is not None:
        yield key or "base_model", why, "FT028"
    elif said:
        yield "base_model", said, "FT028"


def _overruled(case: Case) -> Iterator[Finding]:
    """Lines that another line of the recipe leaves without effect, and which one."""
    recipe, written = case.recipe, case.recipe.model_fields_set
    if recipe.max_steps and "num_epochs" in written:
        yield "num_epochs", f"`num_epochs` does not count: `max_steps: {recipe.max_steps}` ends the run", "FT011"
    yield from both_targets(recipe)
    if recipe.bnb_config_kwargs and not recipe.load_in_4bit:
        yield "bnb_config_kwargs", "`bnb_config_kwargs` counts only with `load_in_4bit: true`", "FT011"
    if recipe.gradient_checkpointing_kwargs and not recipe.gradient_checkpointing:
        message = "`gradient_checkpointing_kwargs` counts only with `gradient_checkpointing: true`"
        yield "gradient_checkpointing_kwargs", message, "FT011"
    for key in sorted(written & (ADAM - OPTIMIZERS[recipe.optimizer].reads)):
        yield key, f"`{key}` does not count: `optimizer: {recipe.optimizer}` has no such setting", "FT011"
    for key in sorted(written):
        kinds = next((kinds for start, kinds in ADAPTERS_OF.items() if key.startswith(start)), None)
        if kinds and recipe.adapter not in kinds and getattr(recipe, key) is not None:
            instead = f"`adapter: {recipe.adapter}` has no use for it"
            without = f"without `adapter: {kinds[0]}` the whole model is trained"
            yield key, f"`{key}` does not count: {instead if recipe.adapter else without}", "FT011"


_LORA, _VIRTUAL = ("lora", "qlora"), ("prefix_tuning", "prompt_tuning", "p_tuning")
ADAPTERS_OF: dict[str, tuple[str, ...]] = {
    "lora_modules_to_save": (*_LORA, "ia3"),
    "lora_model_dir": (*_LORA, "ia3", *_VIRTUAL),
    "peft_autocast_adapter_dtype": (*_LORA, "ia3", *_VIRTUAL),
    "lora_": _LORA,
    "peft": _LORA,
    "ia3_": ("ia3",),
    "num_virtual_tokens": _VIRTUAL,
    "prefix_projection": ("prefix_tuning",),
    "prompt_tuning_init_text": ("prompt_tuning",),
    "prompt_encoder_hidden_size": ("p_tuning", "prefix_tuning"),
    "prompt_encoder_": ("p_tuning",),
}
"""Beginning of a key -> the adapters that heed it."""


def _values(case: Case) -> Iterator[Finding]:
    yield from far_off(case.recipe, case.architecture)


def _routers(case: Case) -> Iterator[Finding]:
    """Axolotl counts what routers lose only where it is asked to."""
    shares = case.architecture.get("router_aux_loss_coef")
    if not shares or case.recipe.rl or case.recipe.reward_model or not case.written - OWN or case.written & ROUTING:
        return
    message = f"base_model is a mixture of experts: the loss of its routers counts here ({shares:g} of it, as its "
    message += "config.json says), and with Axolotl only where `model_config: {output_router_logits: true}` stands. "
    yield "base_model", f"{message}For none, set router_aux_loss_coef: 0.0 in config.json of a local copy", "FT032"


ROUTING = frozenset(OVERRIDES)


def _packages(case: Case) -> Iterator[Finding]:
    """Only where the training libraries are: a machine that just checks recipes needs none of them."""
    recipe = case.recipe
    key = next((key for key in ("load_in_4bit", "load_in_8bit") if getattr(recipe, key)), None)
    if OPTIMIZERS[recipe.optimizer].module == "bitsandbytes":
        key = "optimizer"
    if key and installed("torch") and not installed("bitsandbytes"):
        shown = str(getattr(recipe, key)).lower()
        yield key, f"`{key}: {shown}` needs bitsandbytes, which is not installed: pip install bitsandbytes", "FT020"


RULES: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    _learning_rate,
    _evaluation,
    _same_source,
    _batch,
    _never,
    _packing,
    _inputs,
    _templates,
    _modules,
    _bounded,
    _checkpoint,
    _overruled,
    _values,
    _routers,
    _packages,
)
