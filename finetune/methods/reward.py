"""A reward model: the recipe's keys -> TRL's RewardConfig and RewardTrainer. Pairs arrive as finished tokens. Knows no
model and no data."""

from finetune.methods.shared import RUNTIME, Setting, training_calls
from finetune.plan import Call
from finetune.recipe.recipe import Recipe


def train_calls(recipe: Recipe, setting: Setting) -> tuple[Call, ...]:
    own = {
        "center_rewards_coefficient": recipe.center_rewards_coefficient,
        "max_length": None,
        "pad_to_multiple_of": recipe.sequence_len if recipe.pad_to_sequence_len else None,
    }
    trainer = Call("trl.RewardTrainer", {}, runtime=RUNTIME)
    return training_calls(recipe, setting, "trl.RewardConfig", own, trainer)
