"""Where a finished run belongs on the hub, as its recipe names it. Sends nothing."""

from typing import Any

from finetune.errors import UsageError
from finetune.plan import Plan
from finetune.screen import Screen


def say_where(*, run: str, repo: str, screen: Screen) -> None:
    screen.say(f"nothing was published; this sends it to {repo}: finetune push {run}")


def named(plan: Plan) -> str:
    """UsageError if the recipe names no repository."""
    call = plan.one("save", ".naming.say_where")
    if call is None:
        raise UsageError("the run's recipe names no hub_model_id: write finetune push RUN_DIR OWNER/NAME")
    found: Any = call.arguments["repo"]
    return str(found)
