"""Whether an artefact is what was trained: the same prompt token ids, logits as near as its number format allows,
answers that end. Compares what was measured, and words the verdict; runs no model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finetune.exporting.places import PROOF
from finetune.exporting.readers import Logits, Measured
from finetune.generation import Prompt

TEXT = "proof.txt"


@dataclass(frozen=True)
class Bound:
    """How far an artefact may be off. `logit`: the greatest difference of a logit, against the greatest logit there is;
    `kl`: the mean divergence of the next token's distribution, in nats; `stops`: the share of the answers that end by
    themselves in the reference which must end by themselves in the artefact too."""

    logit: float
    kl: float
    stops: float


BOUNDS: Mapping[str, Bound] = {
    "float32": Bound(1e-4, 1e-5, 1.0),
    "float16": Bound(1e-2, 1e-3, 1.0),
    "bfloat16": Bound(6e-2, 1e-2, 1.0),
    "q8_0": Bound(1e-1, 2e-2, 0.75),
    "q4_k_m": Bound(1.0, 5e-1, 0.5),
}
"""Number format of the artefact -> what its rounding may cost."""


@dataclass(frozen=True)
class Compared:
    """One prompt. `effect`: how far training moved the logits, None where there is no base model to compare with."""

    question: str
    tokens: int
    ids_equal: bool
    positions: int
    logit_difference: float
    logit_greatest: float
    kl: float
    top1_agreement: float
    effect: float | None
    reference_stopped: bool
    artefact_stopped: bool
    reference_answer: str
    artefact_answer: str


@dataclass(frozen=True)
class Proof:
    """`facts`: what was compared with what, and by which program; `failures`: why it is none; `warnings`: what the
    reader should know all the same."""

    facts: Mapping[str, Any]
    bound: Bound
    compared: Sequence[Compared]
    failures: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.failures

    def figures(self) -> dict[str, Any]:
        rows = self.compared
        effects = [row.effect for row in rows if row.effect is not None]
        return {
            "prompts": len(rows),
            "ids_equal": sum(row.ids_equal for row in rows),
            "positions": sum(row.positions for row in rows),
            "max_logit_difference": max(row.logit_difference for row in rows),
            "greatest_logit": max(row.logit_greatest for row in rows),
            "mean_kl": _mean(rows, "kl"),
            "top1_agreement": _mean(rows, "top1_agreement"),
            "max_change_by_training": max(effects) if effects else None,
            "reference_stopped": sum(row.reference_stopped for row in rows),
            "artefact_stopped": sum(row.artefact_stopped for row in rows),
        }

    def as_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            **self.facts,
            "figures": self.figures(),
            "bounds": vars(self.bound),
            "failures": list(self.failures),
            "warnings": list(self.warnings),
            "prompts": [vars(row) for row in self.compared],
        }

    def write(self, folder: Path) -> None:
        text = json.dumps(self.as_json(), indent=2, ensure_ascii=False)
        (folder / PROOF).write_text(text + "\n", "utf-8")
        (folder / TEXT).write_text("\n".join(self.lines()) + "\n", "utf-8")

    def lines(self) -> list[str]:
        """The proof in words."""
        figures = self.figures()
        count = figures["prompts"]
        moved = figures["max_change_by_training"]
        change = f"; training moved them by {moved:.2g})" if moved is not None else ")"
        said = [
            f"{self.facts['artefact']} against {self.facts['reference']}: {'proven' if self.passed else 'NOT proven'}",
            f"prompt token ids: {figures['ids_equal']} of {count} equal",
            f"logits: at most {figures['max_logit_difference']:.2g} apart (the greatest is "
            f"{figures['greatest_logit']:.3g}{change}",
            f"most likely token: {figures['top1_agreement']:.1%} of {figures['positions']} positions agree "
            f"(divergence {figures['mean_kl']:.2g} nats)",
            f"answers that end by themselves: {figures['artefact_stopped']} of {count}, in the reference "
            f"{figures['reference_stopped']}",
        ]
        return said + [f"FAILED: {line}" for line in self.failures] + [f"note: {line}" for line in self.warnings]


def compare(
    prompts: Sequence[Prompt],
    reference: Sequence[Measured],
    artefact: Sequence[Measured],
    base: Sequence[Logits] | None,
) -> list[Compared]:
    """`base`: the logits of the model before training, on the same tokens."""
    found = []
    for number, (prompt, ours, theirs) in enumerate(zip(prompts, reference, artefact, strict=True)):
        width = min(ours.logits.shape[1], theirs.logits.shape[1])
        one, other = ours.logits[:, :width], theirs.logits[:, :width]
        found.append(
            Compared(
                prompt.question,
                len(ours.ids),
                ours.ids == theirs.ids,
                len(one),
                float(np.abs(one - other).max()),
                float(np.abs(one).max()),
                divergence(one, other),
                float((one.argmax(1) == other.argmax(1)).mean()),
                None if base is None else float(np.abs(one - base[number][:, :width]).max()),
                ours.stopped,
                theirs.stopped,
                ours.text,
                theirs.text,
            )
        )
    return found


def divergence(reference: Logits, other: Logits) -> float:
    """Mean Kullback-Leibler divergence of the distributions of the next token, in nats."""
    one, two = _log_probabilities(reference), _log_probabilities(other)
    return max(0.0, float((np.exp(one) * (one - two)).sum(1).mean()))


def _log_probabilities(logits: Logits) -> Any:
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def judge(facts: Mapping[str, Any], bound: Bound, compared: Sequence[Compared], writes: bool) -> Proof:
    """The verdict. `writes`: answers are written, and must end."""
    failures, warnings = [], []
    differing = [row for row in compared if not row.ids_equal]
    if differing:
        failures.append(
            f"{len(differing)} of {len(compared)} prompts have other token ids ({differing[0].question!r}): template "
            "or tokenizer are not those of the training"
        )
    far = [row for row in compared if not row.logit_difference <= bound.logit * max(row.logit_greatest, 1.0)]
    if far:
        failures.append(
            f"logits are up to {max(row.logit_difference for row in far):.3g} apart; "
            f"{bound.logit * max(far[0].logit_greatest, 1.0):.2g} is what the number format explains"
        )
    mean = sum(row.kl for row in compared) / len(compared)
    if not mean <= bound.kl:
        failures.append(
            f"the next tokens' distributions diverge by {mean:.3g} nats; at most {bound.kl:.2g} is expected"
        )
    ended = [row for row in compared if row.reference_stopped]
    kept = [row for row in ended if row.artefact_stopped]
    if ended and len(kept) < bound.stops * len(ended):
        failures.append(
            f"of {len(ended)} answers that end by themselves after training, {len(kept)} do in the artefact: its stop "
            "tokens are not those of the training"
        )
    if writes and len(ended) < len(compared):
        warnings.append(
            f"{len(compared) - len(ended)} of {len(compared)} answers do not end by themselves in the trained model "
            "either: it has not learned to stop on such questions"
        )
    warnings += _lost(compared)
    return Proof(facts, bound, compared, tuple(failures), tuple(warnings))


def _lost(compared: Sequence[Compared]) -> list[str]:
    """Rounding that costs more than training gave."""
    effects = [row.effect for row in compared if row.effect is not None]
    if not effects or max(row.logit_difference for row in compared) < max(effects):
        return []
    return [
        f"the number format moves the logits by as much as training did ({max(effects):.2g}): try a finer one, or "
        "train longer"
    ]


def _mean(rows: Sequence[Compared], name: str) -> float:
    return sum(float(getattr(row, name)) for row in rows) / len(rows)
