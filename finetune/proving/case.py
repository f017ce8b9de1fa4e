"""What the checks of one recipe share. Decides nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.proving.lines import Report
from finetune.proving.rows import Taken
from finetune.proving.runs import Bench, Made
from finetune.proving.values import Plot
from finetune.recipe.recipe import Recipe


@dataclass
class Case:
    """What the checks of one recipe share. `over`: without the last one nothing further can be checked."""

    report: Report
    bench: Bench
    recipe: Recipe
    plot: Plot
    taken: Sequence[Taken]
    reword: Callable[[str], str]
    over: bool = False
    documents: list[tuple[list[int], list[int]]] = field(default_factory=list)
    stop_ids: tuple[int, ...] = ()
    whole: Made | None = None
    output: Any = None
