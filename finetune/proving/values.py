"""The values of a proof's runs: the whole run with a checkpoint in its midst, the same gone on from there, and one step
in two splits. Knows the recipe's keys; runs nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune import methods
from finetune.proving.base import Known
from finetune.proving.replaced import Replacement, Setting, replaced
from finetune.proving.rows import Taken
from finetune.recipe.recipe import Recipe

STEPS, HALFWAY = 24, 11
ONLINE_STEPS, ONLINE_HALFWAY = 4, 2
LONGEST = 1024
"""Tokens of a row in a proof, for time."""
SANE = (1e-7, 1e-2)
"""Learning rates that people train with. One outside is as far outside in the proof, and so fails there too."""
RATES = {"sgd": 0.3, "schedule_free_sgd": 0.3, "adagrad": 3e-2, "muon": 2e-2, "lion": 2e-3, "adafactor": 1e-2}
OF_ADAPTERS: Mapping[str | None, float] = {
    "lora": 1e-2,
    "qlora": 1e-2,
    "ia3": 0.2,
    "prefix_tuning": 0.3,
    "prompt_tuning": 0.3,
    "p_tuning": 1e-2,
}
WHOLE_RATE = 3e-3
"""With which a tiny model learns within a few steps: an adapter, and all weights."""
SPLITS = ((4, 1), (1, 4))
"""micro_batch_size and gradient_accumulation_steps of the two runs that must agree."""


@dataclass(frozen=True)
class Plot:
    """`whole`: the values of the whole run; `told`: what in them is not the recipe's."""

    whole: dict[str, Any]
    told: list[Replacement]
    kind: str
    method: str
    steps: int
    halfway: int


def rate_of(recipe: Recipe) -> float:
    """What the recipe's learning rates are multiplied by."""
    name = next((name for name in RATES if name in recipe.optimizer), None)
    usual = RATES[name] if name else OF_ADAPTERS.get(recipe.adapter, WHOLE_RATE)
    low, high = SANE
    return usual / min(max(recipe.learning_rate, low), high)


def plotted(recipe: Recipe, known: Known, taken: Sequence[Taken], base: Path, setting: Setting) -> Plot:
    values, told = replaced(recipe, setting)
    kind = methods.of(recipe).kind
    online = kind == "prompt"
    told += _quantized(recipe, known, values)
    steps, halfway = (ONLINE_STEPS, ONLINE_HALFWAY) if online else (STEPS, HALFWAY)
    longest = min(recipe.sequence_len, LONGEST)
    if longest < recipe.sequence_len:
        told.append(Replacement("sequence_len", recipe.sequence_len, longest, "for time"))
    micro, accumulation = _rows(recipe, kind)
    for key, new in (("micro_batch_size", micro), ("gradient_accumulation_steps", accumulation)):
        if getattr(recipe, key) != new:
            told.append(Replacement(key, getattr(recipe, key), new, "the proof has few rows"))
    values |= {
        "base_model": str(base),
        "datasets": [one.entry for one in taken],
        "sequence_len": longest,
        # Rows are dropped as the recipe has it; that they are too many is no fault of so few.
        "max_dropped_share": 1.0,
        "dataset_prepared_path": str(base.parent / "prepared"),
        "dataset_num_proc": 1,
        "micro_batch_size": micro,
        "gradient_accumulation_steps": accumulation,
        "max_steps": steps,
        "save_steps": halfway,
        "logging_steps": 1,
    }
    if "generation_max_new_tokens" not in values and not recipe.reward_model:
        values["generation_max_new_tokens"] = 24
    return Plot(values, told, kind, recipe.rl or ("reward" if recipe.reward_model else "sft"), steps, halfway)


def _quantized(recipe: Recipe, known: Known, values: dict[str, Any]) -> list[Replacement]:
    """A checkpoint that is quantized already stays so in the proof, by the recipe's own means."""
    found = known.quantized
    if found is None or recipe.adapter is None or {"load_in_4bit", "load_in_8bit"} & values.keys():
        return []
    key = "load_in_8bit" if found.get("load_in_8bit") else "load_in_4bit"
    values[key] = True
    return [
        Replacement(key, None, True, "base_model's own weights are quantized; the tiny model's become so on loading")
    ]


def _rows(recipe: Recipe, kind: str) -> tuple[int, int]:
    if kind == "prompt":
        return 4, min(recipe.gradient_accumulation_steps, 2)
    if recipe.sample_packing:
        return 1, min(recipe.gradient_accumulation_steps, 2)
    micro = recipe.micro_batch_size if isinstance(recipe.micro_batch_size, int) else 2
    return max(min(micro, 2), 2 if recipe.rl == "kto" else 1), min(recipe.gradient_accumulation_steps, 2)


def packed_length(lengths: Sequence[int], longest: int) -> int:
    """sequence_len with which the rows fill several packed rows: enough for the two splits to differ."""
    most, total = max(lengths), sum(lengths)
    return int(min(longest, max(8, most, -(-total // 8))))


def gone_on(plot: Plot, run: Path) -> dict[str, Any]:
    """The same run from its checkpoint on."""
    checkpoint = run / "checkpoints" / f"checkpoint-{plot.halfway}"
    return {**plot.whole, "resume_from_checkpoint": str(checkpoint), **_unasked(plot)}


def _unasked(plot: Plot) -> dict[str, Any]:
    """No sample answers, where there are any."""
    return {} if plot.method == "reward" else {"sample_prompts": []}


def split(plot: Plot, micro: int, accumulation: int) -> dict[str, Any]:
    """One plain step down the gradient, so that the weights show it; nothing in it is drawn at random."""
    values: Mapping[str, Any] = {key: value for key, value in plot.whole.items() if key not in _NOT_IN_A_SPLIT}
    values = {**values, "optimizer": "sgd", "learning_rate": 1.0, "lr_scheduler": "constant", "max_steps": 1}
    if "trl" not in values and values.get("adapter") in ("lora", "qlora"):
        values |= {"lora_dropout": 0.0}
    return {
        **values,
        "micro_batch_size": micro,
        "gradient_accumulation_steps": accumulation,
        **_unasked(plot),
    }


_NOT_IN_A_SPLIT = frozenset(
    """
    save_steps warmup_steps warmup_ratio weight_decay neftune_noise_alpha lr_scheduler_kwargs cosine_min_lr_ratio
    eta_min cosine_constant_lr_ratio lr_quadratic_warmup optim_args optim_target_modules adam_beta1 adam_beta2
    adam_epsilon
    adam_beta3 adam_epsilon2 loraplus_lr_ratio loraplus_lr_embedding embedding_lr embedding_lr_scale lr_groups
    tokens_per_pass group_by_length prompt_encoder_dropout
    """.split()
)
