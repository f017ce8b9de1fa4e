"""Methods that reward the model's own answers: the recipe's `trl` section -> TRL's GRPOConfig or RLOOConfig, and what
rewards. Knows no model; opens no file."""

from typing import Any

from finetune.methods.shared import RUNTIME, Setting, training_calls
from finetune.plan import Call
from finetune.recipe.method import TrlConfig
from finetune.recipe.recipe import Recipe
from finetune.recipe.rewards import FunctionName, parsed

BOTH = (
    "reward_weights num_generations num_generations_eval max_completion_length generation_batch_size temperature top_p "
    "top_k min_p repetition_penalty generation_kwargs num_iterations epsilon epsilon_high mask_truncated_completions "
    "sync_ref_model ref_model_mixup_alpha ref_model_sync_steps"
).split()
GRPO = (
    "loss_type scale_rewards importance_sampling_level multi_objective_aggregation off_policy_mask_threshold"
).split()
DEFAULT_ANSWER = 512
RLOO = ("normalize_advantages", "reward_clip_range")


def answer_tokens(recipe: Recipe) -> int:
    """Tokens that are kept free for an answer in a row of sequence_len."""
    return (recipe.trl or TrlConfig()).max_completion_length or DEFAULT_ANSWER


def grpo_calls(recipe: Recipe, setting: Setting) -> tuple[Call, ...]:
    own = _arguments(recipe, (*BOTH, *GRPO))
    if recipe.rl == "gdpo":
        own.setdefault("multi_objective_aggregation", "normalize_then_sum")
    if "scale_rewards" in own:
        own["scale_rewards"] = {True: "group", False: "none"}.get(own["scale_rewards"], own["scale_rewards"])
    return _calls(recipe, setting, ("trl.GRPOConfig", "online.GRPOTrainer"), own)


def rloo_calls(recipe: Recipe, setting: Setting) -> tuple[Call, ...]:
    return _calls(recipe, setting, ("trl.RLOOConfig", "online.RLOOTrainer"), _arguments(recipe, (*BOTH, *RLOO)))


def _arguments(recipe: Recipe, names: tuple[str, ...]) -> dict[str, Any]:
    section = recipe.trl or TrlConfig()
    own = {name: value for name in names if (value := getattr(section, name)) is not None}
    beta = section.beta if section.beta is not None else recipe.rl_beta
    # Answers are generated, not read: transformers has nothing to count.
    own |= {"include_num_input_tokens_seen": "no", "shuffle_dataset": not recipe.curriculum_sampling}
    return own | ({} if beta is None else {"beta": beta})


def _calls(recipe: Recipe, setting: Setting, targets: tuple[str, str], own: dict[str, Any]) -> tuple[Call, ...]:
    config, trainer = targets
    runtime = (*RUNTIME, "reward_funcs", "reward_processing_classes")
    made = training_calls(recipe, setting, config, own, Call(f"finetune.trainers.{trainer}", {}, runtime=runtime))
    names = (recipe.trl or TrlConfig()).reward_funcs or ()
    return (*(_reward(text, setting, len(names) == 1) for text in names), *made)


def _reward(text: str, setting: Setting, alone: bool) -> Call:
    found = parsed(text)
    if isinstance(found, FunctionName):
        function = {"file": found.file, "name": found.name, "sha256": found.sha256, "alone": alone}
        return Call("finetune.trainers.rewards.load_function", function)
    device = {"": 0 if setting.machine.cuda else "cpu"}
    arguments: dict[str, Any] = {"path": found, "dtype": setting.precision.dtype, "device_map": device}
    return Call("finetune.trainers.rewards.load_model", arguments)
