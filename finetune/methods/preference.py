"""Preferences between two answers, or judgements of one: the recipe's keys -> TRL's configurations of DPO, ORPO, CPO
and KTO. Pairs arrive as finished tokens. Knows no model and no data."""

from typing import Any

from finetune.methods.shared import RUNTIME, Setting, training_calls
from finetune.plan import Call
from finetune.recipe.recipe import Recipe

LENGTHS_ARE_DECIDED = 2**31 - 1
"""For trainers that cannot be told that rows come cut already."""


def dpo_calls(recipe: Recipe, setting: Setting) -> tuple[Call, ...]:
    losses, weights = _losses(recipe)
    own = _given(
        beta=recipe.rl_beta,
        label_smoothing=recipe.dpo_label_smoothing,
    ) | {
        "loss_type": losses,
        "loss_weights": weights,
        "use_weighting": recipe.dpo_use_weighting,
        "precompute_ref_log_probs": recipe.precompute_ref_log_probs,
        "max_length": None,
        "pad_to_multiple_of": recipe.sequence_len if recipe.pad_to_sequence_len else None,
        **({"use_liger_kernel": True, "liger_kernel_config": {}} if recipe.dpo_use_liger_kernel else {}),
    }
    return training_calls(recipe, setting, "trl.DPOConfig", own, _trainer("preference.DPOTrainer"))


def _losses(recipe: Recipe) -> tuple[list[str], list[float] | None]:
    """TRL's losses and their weights. RPO is a pair's loss with imitation beside it."""
    if recipe.rl == "ipo":
        return ["ipo"], None
    given = recipe.dpo_loss_type or "sigmoid"
    losses: list[str] = [given] if isinstance(given, str) else list(given)
    if recipe.rpo_alpha is not None:
        return [*losses, "sft"], [*(recipe.dpo_loss_weights or [1.0] * len(losses)), recipe.rpo_alpha]
    return losses, recipe.dpo_loss_weights


def kto_calls(recipe: Recipe, setting: Setting) -> tuple[Call, ...]:
    own = _given(
        beta=recipe.rl_beta,
        desirable_weight=recipe.kto_desirable_weight,
        undesirable_weight=recipe.kto_undesirable_weight,
    ) | {
        "precompute_ref_log_probs": recipe.precompute_ref_log_probs,
        "max_length": None,
        "pad_to_multiple_of": recipe.sequence_len if recipe.pad_to_sequence_len else None,
    }
    return training_calls(recipe, setting, "trl.KTOConfig", own, _trainer("preference.KTOTrainer"))


def orpo_calls(recipe: Recipe, setting: Setting) -> tuple[Call, ...]:
    beta = recipe.rl_beta if recipe.rl_beta is not None else recipe.orpo_alpha
    own = _given(beta=beta) | _experimental()
    return training_calls(recipe, setting, "trl.experimental.orpo.ORPOConfig", own, _trainer("odds.ORPOTrainer"))


def cpo_calls(recipe: Recipe, setting: Setting) -> tuple[Call, ...]:
    own = _given(beta=recipe.rl_beta, simpo_gamma=recipe.simpo_gamma, cpo_alpha=recipe.cpo_alpha)
    own |= {"loss_type": "simpo" if recipe.rl == "simpo" else "sigmoid"} | _experimental()
    return training_calls(recipe, setting, "trl.experimental.cpo.CPOConfig", own, _trainer("odds.CPOTrainer"))


def _experimental() -> dict[str, Any]:
    # Their batches hold nothing under the name by which transformers counts tokens.
    return {"max_length": LENGTHS_ARE_DECIDED, "include_num_input_tokens_seen": "no", "remove_unused_columns": False}


def _given(**arguments: Any) -> dict[str, Any]:
    """The arguments that the recipe sets; the rest stays as recipe_version froze it."""
    return {name: value for name, value in arguments.items() if value is not None}


def _trainer(name: str) -> Call:
    return Call(f"finetune.trainers.{name}", {}, runtime=RUNTIME)
