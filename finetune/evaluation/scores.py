"""Answers and what was expected -> figures. Pure functions of texts; each library is imported only where it is asked
for. Knows no model."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from finetune.recipe.measures import CLASSIFYING


@dataclass(frozen=True)
class Answered:
    """Generated answers beside the expected ones, in the same order. `labels`: the answers there are, for
    classification; empty: those that are expected somewhere."""

    answers: Sequence[str]
    expected: Sequence[str]
    labels: Sequence[str] = ()


def scores(metrics: Sequence[str], answered: Answered) -> dict[str, float]:
    """Every figure of the named metrics. Shares are 0 to 1; sacrebleu, chrf and ter are on sacrebleu's scale of 100."""
    found: dict[str, float] = {}
    classes = [name for name in metrics if name in CLASSIFYING]
    for name in metrics:
        if name in SCORES:
            found |= SCORES[name](answered)
    return found | (_classified(answered, classes) if classes else {})


def _exact_match(answered: Answered) -> dict[str, float]:
    """Equal but for white space around them."""
    same = [one.strip() == other.strip() for one, other in _pairs(answered)]
    return {"exact_match": _mean([float(hit) for hit in same])}


def words(text: str) -> list[str]:
    """Lower-case words without punctuation, as SQuAD compares answers; characters where a script has no spaces."""
    return re.findall(r"[぀-ヿ㐀-鿿가-힯]|[^\W_]+", text.lower())


def _token_f1(answered: Answered) -> dict[str, float]:
    """Words that both hold: the harmonic mean of their share of each, averaged over the answers."""

    def one(answer: str, expected: str) -> float:
        said, wanted = words(answer), words(expected)
        if not said or not wanted:
            return float(said == wanted)
        shared = sum((Counter(said) & Counter(wanted)).values())
        return 2 * shared / (len(said) + len(wanted))

    return {"token_f1": _mean([one(*pair) for pair in _pairs(answered)])}


class _Words:
    """rouge-score's own splits off all but a-z and 0-9, and would find nothing in other scripts."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


def _rouge(answered: Answered) -> dict[str, float]:
    """The F-measures, averaged over the answers."""
    from rouge_score.rouge_scorer import RougeScorer

    kinds = ["rouge1", "rouge2", "rougeL"]
    scorer = RougeScorer(kinds, tokenizer=_Words())
    found = [scorer.score(expected, answer) for answer, expected in _pairs(answered)]
    return {kind: _mean([float(one[kind].fmeasure) for one in found]) for kind in kinds}


def _sacrebleu(answered: Answered) -> dict[str, float]:
    from sacrebleu.metrics.bleu import BLEU

    return {"sacrebleu": float(BLEU().corpus_score(list(answered.answers), [list(answered.expected)]).score)}


def _chrf(answered: Answered) -> dict[str, float]:
    from sacrebleu.metrics.chrf import CHRF

    return {"chrf": float(CHRF().corpus_score(list(answered.answers), [list(answered.expected)]).score)}


def _ter(answered: Answered) -> dict[str, float]:
    from sacrebleu.metrics.ter import TER

    return {"ter": float(TER().corpus_score(list(answered.answers), [list(answered.expected)]).score)}


SCORES: dict[str, Callable[[Answered], dict[str, float]]] = {
    "exact_match": _exact_match,
    "token_f1": _token_f1,
    "rouge": _rouge,
    "sacrebleu": _sacrebleu,
    "chrf": _chrf,
    "ter": _ter,
}


def _classified(answered: Answered, wanted: Sequence[str]) -> dict[str, float]:
    """Of labels compared without case and white space. An answer that is no label is wrong; precision, recall and f1
    are means over the labels, each counting the same."""
    said, expected = [label_of(text) for text in answered.answers], [label_of(text) for text in answered.expected]
    labels = sorted({label_of(label) for label in answered.labels} or set(expected))
    figures = {"accuracy": _mean([float(one == other) for one, other in zip(said, expected, strict=True)])}
    if set(wanted) - {"accuracy"}:
        from sklearn.metrics import precision_recall_fscore_support

        given = precision_recall_fscore_support(expected, said, labels=labels, average="macro", zero_division=0.0)
        figures |= dict(zip(("precision", "recall", "f1"), map(float, given[:3]), strict=True))
    return {name: figures[name] for name in wanted}


def label_of(text: str) -> str:
    """As labels are compared."""
    return " ".join(text.split()).casefold()


def _pairs(answered: Answered) -> list[tuple[str, str]]:
    return list(zip(answered.answers, answered.expected, strict=True))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
