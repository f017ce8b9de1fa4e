"""The `sweep:` section of a recipe file: which keys are tried with which values, and how. It never reaches a library of
training; `finetune sweep` alone acts on it."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from finetune.recipe.base import Number, Section, Whole
from finetune.recipe.measures import FIGURES, bare

_FIGURE = "^(train_loss|(eval_)?(" + "|".join(FIGURES) + "))$"


def _known(value: Any) -> Any:
    if isinstance(value, str) and value != "train_loss" and bare(value) not in FIGURES:
        raise ValueError(f"a figure that is measured: train_loss, {', '.join(f'eval_{name}' for name in FIGURES)}")
    return value


class SweepRange(Section):
    min: Annotated[Number, Field(examples=[1e-5, 0.0])]
    """The least value."""
    max: Annotated[Number, Field(examples=[1e-3, 0.1])]
    """The greatest value."""
    log: Annotated[bool, Field(examples=[True, False])] = False
    """Draw evenly between the powers of ten instead of between the numbers."""
    step: Annotated[Number | None, Field(gt=0, examples=[0.05, 8])] = None
    """Only values so far apart, from the least on. Unset: any; whole numbers where both ends are whole."""

    @model_validator(mode="after")
    def _in_order(self) -> "SweepRange":
        if self.min >= self.max:
            raise ValueError("a range whose min is below its max")
        if self.log and self.min <= 0:
            raise ValueError("a range above 0, since log: true")
        if self.log and self.step:
            raise ValueError("a range with log or with step, not with both")
        return self


class SweepSection(Section):
    method: Annotated[Literal["grid", "random", "tpe"], Field(examples=["tpe", "grid"])] = "tpe"
    """`grid`: every combination; `random`: drawn by chance; `tpe`: drawn where earlier trials were good."""
    metric: Annotated[
        Annotated[str, Field(pattern=_FIGURE), BeforeValidator(_known)], Field(examples=["eval_loss", "eval_rougeL"])
    ] = "eval_loss"
    """The figure by which trials are compared: any that a measurement gives, or train_loss."""
    direction: Annotated[Literal["minimize", "maximize"] | None, Field(examples=["minimize", "maximize"])] = None
    """Which way is better. Unset: as that figure has it."""
    trials: Annotated[Whole | None, Field(ge=1, le=10_000, examples=[20, 50])] = None
    """How many trials; needed but for grid, which has as many as there are combinations."""
    seed: Annotated[Whole, Field(ge=0, le=2**32 - 1, examples=[0, 7])] = 0
    """Start of what is drawn. Every trial trains with the recipe's own seed."""
    pruner: Annotated[Literal["none", "median", "halving", "hyperband"], Field(examples=["median", "halving"])] = "none"
    """End a trial early: `median` when it is worse than half of the earlier ones at the same step; `halving` and
    `hyperband` (Optuna's) let only the better part go on, in rounds."""
    pruner_startup_trials: Annotated[Whole, Field(ge=0, examples=[3, 5])] = 5
    """`median`: trials that are never ended early."""
    pruner_warmup_steps: Annotated[Whole, Field(ge=0, examples=[10, 50])] = 0
    """`median`: training steps before which no trial is ended."""
    parameters: Annotated[
        dict[str, Annotated[list[Any], Field(min_length=1)] | SweepRange],
        Field(min_length=1, examples=[{"learning_rate": {"min": 1e-5, "max": 1e-3, "log": True}, "lora_r": [8, 16]}]),
    ]
    """Recipe key (`datasets.0.weight` for one inside) -> a list of values, or a range {min, max, log, step}."""

    @property
    def figure(self) -> str:
        """The metric as metrics.jsonl names it."""
        return self.metric if self.metric == "train_loss" else f"eval_{bare(self.metric)}"

    @property
    def maximizes(self) -> bool:
        if self.direction is not None:
            return self.direction == "maximize"
        return FIGURES.get(bare(self.figure), False)
