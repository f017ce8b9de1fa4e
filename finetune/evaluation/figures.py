"""Answers and likelihoods of one model, or of two that are compared -> figures with what they may well be, and the
answers from the worst on. Knows no model and no file."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.evaluation.chance import SLOW_DRAWS, Between, Statistic, compared, mean_of, share_of
from finetune.evaluation.likelihood import Likely
from finetune.evaluation.scores import Answered, scores
from finetune.recipe.measures import CLASSIFYING, MEASURES


@dataclass(frozen=True)
class Said:
    """An answer. `ended`: by itself, and not by the length limit."""

    text: str
    ended: bool


@dataclass(frozen=True)
class Side:
    """What one model made of the rows: how likely it finds each, and its answer to each question."""

    likely: Sequence[Likely]
    said: Sequence[Said] = ()


@dataclass(frozen=True)
class Wanted:
    """`expected`: the answers of the data, in the order of the questions. `labels`: the answers there are."""

    metrics: Sequence[str]
    expected: Sequence[str] = ()
    labels: Sequence[str] = ()
    questions: Sequence[str] = field(default=(), repr=False)


EACH = frozenset({"exact_match", "token_f1", "rouge"})
"""Metrics whose figure is the mean over the answers."""


def figures(sides: Mapping[str, Side], wanted: Wanted) -> dict[str, dict[str, Between]]:
    """Figure -> side -> value; where there are two sides, their difference too."""
    found: dict[str, dict[str, Between]] = {}
    if "perplexity" in wanted.metrics:
        rows = len(next(iter(sides.values())).likely)
        found["loss"] = compared({name: _loss(side) for name, side in sides.items()}, rows)
        found["perplexity"] = compared({name: _exponential(_loss(side)) for name, side in sides.items()}, rows)
        found["token_accuracy"] = compared({name: _foreseen(side) for name, side in sides.items()}, rows)
    if not wanted.expected:
        return found
    count = len(wanted.expected)
    for metric in wanted.metrics:
        if metric in EACH:
            each = {name: each_score(metric, side.said, wanted) for name, side in sides.items()}
            for figure in MEASURES[metric].figures:
                found[figure] = compared({name: mean_of(values[figure]) for name, values in each.items()}, count)
        elif metric != "perplexity":
            for figure in MEASURES[metric].figures:
                made = {name: _anew(metric, figure, side.said, wanted) for name, side in sides.items()}
                found[figure] = compared(made, count, SLOW_DRAWS)
    ended = {name: mean_of([float(one.ended) for one in side.said]) for name, side in sides.items()}
    found["answers_stopped"] = compared(ended, count)
    return found


def _loss(side: Side) -> Statistic:
    return share_of([one.loss for one in side.likely], [one.tokens for one in side.likely])


def _foreseen(side: Side) -> Statistic:
    return share_of([one.foreseen for one in side.likely], [one.tokens for one in side.likely])


def _exponential(statistic: Statistic) -> Statistic:
    return lambda chosen: math.exp(min(float(statistic(chosen)), 700.0))


def each_score(metric: str, said: Sequence[Said], wanted: Wanted) -> dict[str, list[float]]:
    """Each answer's own score, of each figure of the metric."""
    rows = [
        scores([metric], Answered([one.text], [expected])) for one, expected in zip(said, wanted.expected, strict=True)
    ]
    return {figure: [row[figure] for row in rows] for figure in MEASURES[metric].figures}


def _anew(metric: str, figure: str, said: Sequence[Said], wanted: Wanted) -> Callable[[Any], float]:
    """A figure that is one of all answers together."""
    labels = wanted.labels or (tuple(dict.fromkeys(wanted.expected)) if metric in CLASSIFYING else ())

    def of(chosen: Any) -> float:
        texts, expected = [said[number].text for number in chosen], [wanted.expected[number] for number in chosen]
        return scores([metric], Answered(texts, expected, labels))[figure]

    return of


def answers(sides: Mapping[str, Side], wanted: Wanted) -> list[dict[str, Any]]:
    """Every question with what was expected and said, from the worst answer of the last side on. `score`: the words it
    shares with what was expected; of classes, whether it is right."""
    last = list(sides)[-1]
    metric = "exact_match" if set(wanted.metrics) & CLASSIFYING else "token_f1"
    judged = each_score(metric, sides[last].said, wanted)[metric]
    if metric == "exact_match":
        pairs = zip(sides[last].said, wanted.expected, strict=True)
        judged = [float(_same(one.text, expected)) for one, expected in pairs]
    rows = [
        {"question": question, "expected": expected, **{name: side.said[number].text for name, side in sides.items()}}
        | {"stopped": sides[last].said[number].ended, "score": judged[number]}
        for number, (question, expected) in enumerate(zip(wanted.questions, wanted.expected, strict=True))
    ]
    return sorted(rows, key=lambda row: float(row["score"]))


def _same(one: str, other: str) -> bool:
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()
