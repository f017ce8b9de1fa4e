"""The recipe's keys of checkpoints and of going on -> the calls that write them and that find one. Knows no method."""

from finetune.plan import Call
from finetune.recipe.recipe import Recipe
from finetune.recipe.surviving import DynamicCheckpoint

AUTO = "auto"


def surviving_calls(recipe: Recipe) -> tuple[Call, ...]:
    named = recipe.resume_from_checkpoint
    wish = {
        "auto": recipe.auto_resume_from_checkpoints or named == AUTO,
        "checkpoint": None if named == AUTO else named,
        "changed": sorted(recipe.resume_changed or []),
    }
    dynamic = recipe.dynamic_checkpoint or DynamicCheckpoint()
    regular = recipe.save_strategy not in (None, "no") or recipe.save_steps or recipe.saves_per_epoch
    writes = regular or recipe.save_first_step or dynamic.enabled
    keeper = {
        "save_total_limit": (recipe.save_total_limit or None) if writes else None,
        "save_first_step": recipe.save_first_step,
        "trigger_file": dynamic.trigger_file_path if dynamic.enabled else None,
        "check_interval": dynamic.check_interval if dynamic.enabled else 1,
    }
    return Call("finetune.continuing.Wish", wish), Call("finetune.keeper.Keeper", keeper)
