"""What can be measured while training: the figures, which way is better, and what each needs. Only tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """A name under eval_causal_lm_metrics. `figures`: what it gives -> whether greater is better. `package`: what must
    be installed, by the name to install it by."""

    figures: Mapping[str, bool]
    package: str = ""


MEASURES: Mapping[str, Measure] = {
    "perplexity": Measure({"perplexity": False}),
    "exact_match": Measure({"exact_match": True}),
    "token_f1": Measure({"token_f1": True}),
    "rouge": Measure({"rouge1": True, "rouge2": True, "rougeL": True}, "rouge-score"),
    "sacrebleu": Measure({"sacrebleu": True}, "sacrebleu"),
    "chrf": Measure({"chrf": True}, "sacrebleu"),
    "ter": Measure({"ter": False}, "sacrebleu"),
    "accuracy": Measure({"accuracy": True}),
    "precision": Measure({"precision": True}, "scikit-learn"),
    "recall": Measure({"recall": True}, "scikit-learn"),
    "f1": Measure({"f1": True}, "scikit-learn"),
}
USUAL = ("sacrebleu", "ter", "chrf", "perplexity")
"""Axolotl's choice where none is written, without `comet`, which is a model of its own."""
CLASSIFYING = frozenset("accuracy precision recall f1".split())
ALWAYS: Mapping[str, bool] = {"loss": False, "perplexity": False, "mean_token_accuracy": True}
"""Figures of every measurement of supervised rows; perplexity costs nothing."""
PREFERRING: Mapping[str, bool] = {"rewards/accuracies": True, "rewards/margins": True}
"""Figures of a measurement of preferences."""
SCORING: Mapping[str, bool] = {"margin": True, "accuracy": True}
"""Figures of a measurement of a reward model."""
REWARDED: Mapping[str, bool] = {"reward": True}
"""Figures of a measurement of answers that are rewarded."""
ANSWERING: Mapping[str, bool] = {"answers_stopped": True}
"""Figures of every measurement that generates answers."""
FIGURES: Mapping[str, bool] = {
    **ALWAYS,
    **PREFERRING,
    **SCORING,
    **REWARDED,
    **ANSWERING,
    **{name: greater for measure in MEASURES.values() for name, greater in measure.figures.items()},
}


def bare(name: str) -> str:
    """A figure's name without the `eval_` that the metrics write before it."""
    return name.removeprefix("eval_")


def generated(metrics: Sequence[str]) -> list[str]:
    """The metrics that need generated answers."""
    return [name for name in metrics if name != "perplexity"]


def figures_of(metrics: Sequence[str]) -> list[str]:
    return [figure for name in metrics if name in MEASURES for figure in MEASURES[name].figures]
