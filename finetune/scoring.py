"""Pairs -> the scores that a reward model gives their answers, the same way before and after training. Knows no recipe
and no trainer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune.data.prepared import Prepared


@dataclass(frozen=True)
class Pair:
    """A question with two answers, as text to show and as tokens to score."""

    question: str
    chosen: str
    rejected: str
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]


def sample_pairs(*, from_rows: int, prepared: Prepared, tokenizer: Any) -> list[Pair]:
    """The first pairs of the validation rows, else of the training rows."""
    purpose = "validation" if "validation" in prepared.purposes else "train"
    documents = prepared.rows(purpose)
    found: list[Pair] = []
    for (_, _, chosen, labels), (_, _, rejected, _) in zip(documents, documents, strict=True):
        start = next(at for at, label in enumerate(labels) if label >= 0)
        texts = [_text(tokenizer, ids) for ids in (chosen[:start], chosen[start:], rejected[start:])]
        found.append(Pair(texts[0], texts[1], texts[2], tuple(chosen), tuple(rejected)))
        if len(found) == from_rows:
            break
    return found


def _text(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


@dataclass(frozen=True)
class Scored:
    """A pair with the scores of its answers."""

    pair: Pair
    chosen: float
    rejected: float

    def beside(self, later: "Scored") -> dict[str, Any]:
        """This and a later scoring of the same pair, as JSON."""
        return {
            "question": self.pair.question,
            "chosen": self.pair.chosen,
            "rejected": self.pair.rejected,
            "before": {"chosen": self.chosen, "rejected": self.rejected},
            "after": {"chosen": later.chosen, "rejected": later.rejected},
        }


def scores(pairs: Sequence[Pair], model: Any) -> list[Scored]:
    """One row at a time: nothing is padded."""
    import torch

    def score(ids: tuple[int, ...]) -> float:
        with torch.no_grad():
            return float(model(input_ids=torch.tensor([ids], device=model.device)).logits.float().reshape(-1)[0])

    was_training = model.training
    model.eval()
    found = [Scored(pair, score(pair.chosen_ids), score(pair.rejected_ids)) for pair in pairs]
    model.train(was_training)
    return found
