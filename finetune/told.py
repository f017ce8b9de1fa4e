"""What is said of the rows and of the model before a training. Decides nothing."""

from collections.abc import Callable, Iterator
from typing import Any

from finetune import stages
from finetune.adapters.reach import unreached
from finetune.backends.loaded import Loaded, new_tokens_learn
from finetune.data.warned import warnings_of
from finetune.plan import Plan
from finetune.rendering.lengths import loss_text
from finetune.screen import Screen

SOURCES_SHOWN = 10
"""Files whose losses are named on the terminal."""


def counts(data: stages.Formatted) -> Iterator[str]:
    """What is trained on, and what each source lost."""
    for purpose, counted in data.counted.items():
        learned = "questions" if data.prepared.facts.get("kind") == "prompt" else f"{counted.trained_share:.0%} learned"
        yield f"{purpose}: {counted.kept} rows, {counted.tokens:,} tokens, {learned}"
        if purpose in data.fill:
            yield f"{purpose}: packed rows are {data.fill[purpose]:.1%} full"
        lossy = [(source, lost) for source, lost in counted.sources.items() if lost.changed]
        for source, lost in lossy[:SOURCES_SHOWN]:
            yield f"{source}: {loss_text(lost)}"
        yield from warnings_of(counted)
        if len(lossy) > SOURCES_SHOWN:
            yield f"{len(lossy) - SOURCES_SHOWN} more files lost rows or tokens; data.json lists them"


def fits_positions(plan: Plan, model: Any, screen: Screen) -> None:
    limit = getattr(model.config, "max_position_embeddings", None)
    wanted = stages.one(plan, "Place.prepare").arguments["lengths"]["sequence_len"]
    if isinstance(limit, int) and limit < wanted:
        screen.say(f"warning: sequence_len: {wanted} is more than the {limit} positions this model was made for")


def look_at_adapted(model: Any, loaded: Loaded, say: Callable[[str], None]) -> None:
    """ModelError if new tokens would not learn; says what the adapter leaves out."""
    new_tokens_learn(model, loaded.new_tokens)
    for line in unreached(model):
        say(line)
