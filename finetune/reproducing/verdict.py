"""What two runs have in common -> how equal they must be, and whether they are. Reads facts of the runs; compares no
weights itself."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune import __version__
from finetune.compare import Change, compare
from finetune.continuing import AFTER, WRITTEN_ELSEWHERE
from finetune.machine import Machine
from finetune.plan import STAGES, Plan
from finetune.reproducing.comparing import Figure, Weights
from finetune.rundir import RunDir

EXACT = "bit-equal"
CLOSE = "close"
TOLERANCES = {"learning_rate": 1e-9, "num_input_tokens_seen": 0.0, "grad_norm": 0.25}
"""Largest relative difference of a figure where runs need only be close; `OTHERS` for every other."""
OTHERS = 0.02
COUNTED = ("loss", "eval_loss", "train_loss", "grad_norm", "learning_rate", "num_input_tokens_seen")
"""Figures that a verdict hangs on where runs need only be close: those that answers give (scores) jump."""
WEIGHTS = 0.1
ALLOWED = (
    f"losses {OTHERS:g}, grad_norm {TOLERANCES['grad_norm']:g}, learning rate {TOLERANCES['learning_rate']:g}, tokens "
    f"seen 0; weights {WEIGHTS:g} of their norm; other figures are not judged"
)
COMMIT = re.compile(r"@[0-9a-f]{40}/")
OF_PLACE = WRITTEN_ELSEWHERE | {
    "output_dir",
    "logging_dir",
    "run_name",
    "folder",
    "processes",
    "revision",
    "base_revision",
}
"""Arguments that say where things lie and what is written down; commits are held by the lock."""
VERSIONS = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "tokenizers", "datasets", "unsloth")
TRAINING = tuple(stage for stage in STAGES if stage not in AFTER)


@dataclass(frozen=True)
class Terms:
    """`kind`: EXACT or CLOSE; `why`: what is another in the second run, each a few words; none where all is the
    same."""

    kind: str
    why: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """In words: what is asked for, why, and what may differ."""
        if self.kind == EXACT:
            return "bit-equal, since machine, threads, versions and calls are the same"
        return f"close, because of {'; '.join(self.why)}\nclose is, relative: {ALLOWED}"

    def tolerance(self, name: str) -> float:
        return 0.0 if self.kind == EXACT else TOLERANCES.get(name, OTHERS)

    @property
    def of_weights(self) -> float:
        return 0.0 if self.kind == EXACT else WEIGHTS


def terms(one: RunDir, other: RunDir, changes: Sequence[Change]) -> Terms:
    """Bit-equal is asked for where machine, threads, versions and calls are the same: on CPUs, and on a GPU whose sums
    have a fixed order."""
    machines = [run.read("machine.json") for run in (one, other)]
    facts = [run.read("run.json") for run in (one, other)]
    why = [*_machines(machines, _in_fixed_order(one)), *_cores(*facts), *_versions(*machines)]
    why += [f"{change.target}({change.argument})" for change in changes]
    return Terms(CLOSE, tuple(why)) if why else Terms(EXACT)


def foreseen(one: RunDir, machine: Machine) -> list[str]:
    """What is another on this machine than on the run's, as far as it is known before anything is loaded."""
    machines = one.read("machine.json"), {"finetune": __version__, **machine.as_json()}
    return [*_machines(machines, _in_fixed_order(one)), *_versions(*machines)]


def _in_fixed_order(run: RunDir) -> bool:
    return Plan.from_json(run.read("plan.json")).fixed_order


def _machines(machines: Sequence[Any], fixed: bool) -> Iterator[str]:
    gpus = [[gpu["name"] for gpu in machine.get("gpus") or ()] for machine in machines]
    if any(gpus):
        named = [", ".join(dict.fromkeys(names)) or "no GPU" for names in gpus]
        if named[0] != named[1]:
            yield f"{named[0]} → {named[1]}"
        elif not fixed:
            yield f"GPU ({named[0]}) without full_determinism: true"
    counts = [machine.get("processes") for machine in machines]
    if counts[0] != counts[1]:
        yield f"processes: {counts[0]} → {counts[1]}"
    if machines[0].get("processes", 1) != 1:
        yield f"{machines[0]['processes']} processes"


def _cores(*facts: Any) -> Iterator[str]:
    for name in ("threads", "cpu"):
        values = [fact.get(name) for fact in facts]
        if values[0] != values[1]:
            yield f"{name}: {values[0] or 'not known'} → {values[1] or 'not known'}"


def _versions(*machines: Any) -> Iterator[str]:
    named = [{**machine["packages"], "finetune": machine["finetune"]} for machine in machines]
    for name in (*VERSIONS, "finetune"):
        if named[0].get(name) != named[1].get(name):
            yield f"{name} {named[0].get(name)} → {named[1].get(name)}"


def other_calls(one: RunDir, now: Plan, places: Mapping[str, str]) -> list[Change]:
    """Calls of training that are not those of the run's plan, but for paths and for what trackers and saving set."""
    changes = compare(
        Plan.from_json(_placed(one.read("plan.json"), places)), Plan.from_json(_placed(now.as_json(), {}))
    )
    return [change for change in changes if change.stage in TRAINING and change.argument.split(".")[-1] not in OF_PLACE]


def _placed(value: Any, places: Mapping[str, str]) -> Any:
    """The plan with paths as the second run has them, and addresses without their commits, which the lock holds."""
    if isinstance(value, dict):
        return {key: _placed(one, places) for key, one in value.items()}
    if isinstance(value, list):
        return [_placed(one, places) for one in value]
    return COMMIT.sub("/", places.get(value, value)) if isinstance(value, str) else value


@dataclass(frozen=True)
class Verdict:
    """`word`: bit-equal, close or different. `lines`: name, what was compared, how far apart, the tolerance, whether
    that is within it."""

    word: str
    lines: tuple[tuple[str, str, str, str, str], ...]

    @property
    def holds(self) -> bool:
        return self.word != "different"


def verdict(terms: Terms, figures: Sequence[Figure], weights: Weights | None) -> Verdict:
    lines, fine = [], True
    for figure in figures:
        counts = terms.kind == EXACT or figure.name in COUNTED
        within = not figure.missing and figure.apart <= terms.tolerance(figure.name)
        fine = fine and (within or not counts)
        compared = f"{figure.equal} of {figure.compared} equal"
        compared += f", {figure.missing} missing" if figure.missing else ""
        lines.append((figure.name, compared, _apart(figure), *_limit(terms.tolerance(figure.name), within, counts)))
    if weights is not None:
        limit = terms.of_weights
        within = not weights.missing and (weights.is_equal if terms.kind == EXACT else weights.apart <= limit)
        fine = fine and within
        compared = f"{weights.equal} of {weights.tensors} tensors equal"
        compared += f", {weights.missing} missing" if weights.missing else ""
        lines.append(("weights", compared, f"{weights.apart:.2g}", *_limit(limit, within, True)))
    same = all(figure.is_equal for figure in figures) and (weights is None or weights.is_equal)
    empty = not any(figure.compared for figure in figures)
    word = "different" if not fine or empty else EXACT if same else CLOSE
    return Verdict(word, tuple(lines))


def _limit(limit: float, within: bool, counts: bool) -> tuple[str, str]:
    if not counts:
        return "", "not judged"
    return f"{limit:g}", "within" if within else "DIFFERENT"


def _apart(figure: Figure) -> str:
    if figure.apart == 0:
        return "0"
    return f"{figure.apart:.2g} at step {figure.step} ({_short(figure.one)} → {_short(figure.other)})"


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
