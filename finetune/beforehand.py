"""What a run looks at before it loads its model, since a fault there must not cost the download: the adapter that it
goes on from, and what rewards answers. Makes calls of the Plan; decides nothing."""

from typing import Any

from finetune.plan import Plan, perform


def goes_on_from_adapter(plan: Plan) -> bool:
    return plan.one("adapt", ".check_adapter") is not None


def load_rewards(plan: Plan) -> tuple[Any, ...]:
    """What rewards answers, in the recipe's order; nothing where nothing does. FinetuneError if it cannot be loaded, or
    if the adapter to go on from is not there, or is not the one that the recipe describes."""
    check = plan.one("adapt", ".check_adapter")
    if check is not None:
        perform(check)
    return tuple(perform(call) for call in plan.stage("train") if ".rewards." in call.target)
