"""The checks of a proof, in their order. Each makes what it needs (a run, a merge), compares, and adds a line with its
figure; one that does not apply says why."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from finetune.errors import ModelError, ProofError
from finetune.exporting.finished import finished_run, refuse_unmergeable
from finetune.exporting.flow import Wish, merge_run
from finetune.exporting.places import written
from finetune.proving import values
from finetune.proving.case import Case
from finetune.proving.ending import endings
from finetune.proving.every_row import every_row
from finetune.proving.formatting import format
from finetune.proving.runs import Made
from finetune.screen import Screen

FALLEN = 0.9
"""Share of its beginning that the loss is below at the end."""
WILD = 2.0
"""Times its beginning that no step's loss is above."""
BY_HAND = 2e-3
SPLIT_LOSS, SPLIT_GRADIENT = 1e-4, 2e-3
"""How far two splits may be apart: their losses, and their gradients against the size of one."""
_OF_ADAPTER = re.compile("lora_|ia3_l|prompt_encoder|modules_to_save|trainable_tokens|score")
"""Names of what an adapter trains."""
ROUGH = 5e-2
"""The same for gradients through 8-bit weights, whose outlying columns hang on the whole batch."""
PROMPTS = 4
_IMITATES = "TRL averages the words of the chosen answers within a pass, so its loss hangs on how rows are grouped"
WITHIN_A_PASS = {
    "kto": "rl: kto compares the answers within a pass, so its loss hangs on how rows are grouped, by design",
    **{method: f"rl: {method}: {_IMITATES}" for method in ("orpo", "cpo", "simpo")},
}
"""Methods whose loss of a step is not the same in other passes, and why."""


def training(case: Case) -> None:
    """The whole run: it falls, and what is to be trained is what moves."""
    case.over = True
    made = case.bench.made("whole", case.plot.whole)
    case.whole, case.over = made, False
    _fell(case, made)
    saw = made.witness
    share = saw["weights"] / saw["of"]
    if not saw["moved"] and _rewarded_alike(made):
        case.report.skip("what is trained", "all answers were rewarded alike, so nothing could be learned from them")
        return
    said = f"{saw['moved']} of {saw['trained']} trained tensors moved ({share:.1%} of the weights)"
    said += f", {saw['frozen']} frozen ones stayed" if saw["frozen"] else ""
    still = [name for name in saw["still"] if not _may_rest(name)]
    if still:
        said += f"; unmoved: {still[0]}"
    strange = [name for name in saw["names"] if case.recipe.adapter and not _OF_ADAPTER.search(name)]
    if strange:
        said += f"; trained although it is the base model's: {strange[0]}"
    if saw["frozen_moved"]:
        said += f"; frozen, and moved: {saw['frozen_moved'][0]}"
    alive = saw["moved"] > 0 and not still and not saw["frozen_moved"] and not strange
    case.report.add("what is trained", alive, said)


def _may_rest(name: str) -> bool:
    """Of experts, those that no token was sent to learn nothing."""
    return "expert" in name and "shared_expert" not in name


def _rewarded_alike(made: Made) -> bool:
    spreads = [line["reward_std"] for line in made.metrics if "reward_std" in line]
    return bool(spreads) and not any(spreads)


def _fell(case: Case, made: Made) -> None:
    losses = made.losses
    if case.plot.kind == "prompt":
        rewards = [line["reward"] for line in made.metrics if "reward" in line and line["step"]]
        said = f"{len(losses)} steps on answers of its own, mean reward {rewards[0]:.3g} -> {rewards[-1]:.3g}"
        case.report.add("training", bool(losses), said)
        case.report.skip("loss falls", f"the loss of rl: {case.plot.method} is no measure of what is learned")
        return
    epoch = max(1, min(len(losses) // 3, -(-len(case.documents) // _rows_of_step(case))))
    first, last = sum(losses[:epoch]) / epoch, sum(losses[-epoch:]) / epoch
    peak = max(losses)
    # The losses of few pairs jump: they begin at log 2 and may be gone a step later.
    # Where an epoch has many steps, its first one may be far above their mean, and no fault.
    wild = case.plot.kind == "rows" and peak > WILD * max(first, losses[0]) > 0
    said = f"{first:.4g} -> {last:.4g} in {len(losses)} steps" + (f", up to {peak:.4g} between" if wild else "")
    fell = last < first * FALLEN or (first < 0 and last < first)
    case.report.add("loss falls", fell and not wild, said)


def _rows_of_step(case: Case) -> int:
    return int(case.plot.whole["micro_batch_size"] * case.plot.whole["gradient_accumulation_steps"])


def resume(case: Case) -> None:
    """The run from its checkpoint on comes to the same bits."""
    import torch

    assert case.whole is not None
    made = case.bench.made("resumed", values.gone_on(case.plot, case.whole.folder))
    one, other = case.whole.tensors(), made.tensors()
    different = sorted(name for name in one if name not in other or not torch.equal(one[name], other[name]))
    apart = [float((one[name].float() - other[name].float()).abs().max()) for name in one if name in other]
    same = len(one) - len(different)
    said = f"from step {case.plot.halfway} on: {same} of {len(one)} tensors are the same to the bit"
    if different:
        said += f"; {different[0]} is up to {max(apart, default=0):.2g} apart"
    # Only a run that begins at its first step sees the batches of it.
    anew = "batches" in made.witness
    said += "; it began anew, not at its checkpoint" if anew else ""
    case.report.add("resume", not anew and not different and len(one) == len(other), said)


def accumulation(case: Case) -> None:
    """The same rows in one pass and in several give the same loss and gradient; and the loss is what it is by hand."""
    why = _not_split(case)
    if why:
        case.report.skip("accumulation", why)
        return
    runs = [
        case.bench.made(f"split-{micro}x{passes}", values.split(case.plot, micro, passes))
        for micro, passes in values.SPLITS
    ]
    losses = [run.losses[0] for run in runs]
    norms = [float(next(line["grad_norm"] for line in run.metrics if "grad_norm" in line)) for run in runs]
    one, other = (run.tensors() for run in runs)
    apart = math.sqrt(sum(float((one[name].double() - other[name].double()).square().sum()) for name in one))
    clip = case.recipe.max_grad_norm or math.inf
    gradient = apart / max(min(norms[0], clip), 1e-12)
    gap = abs(losses[0] - losses[1]) / max(abs(losses[0]), 1e-12)
    bound = ROUGH if case.recipe.load_in_8bit else SPLIT_GRADIENT
    shapes = " and ".join(f"{micro}x{passes}" for micro, passes in values.SPLITS)
    # Clipped to one length, gradients of different sizes look alike in the weights.
    sizes = abs(norms[0] - norms[1]) / max(*norms, 1e-12)
    said = f"{shapes} rows: losses {losses[0]:.6g} and {losses[1]:.6g}, gradients {max(gradient, sizes):.1e} apart"
    near = gap <= (ROUGH if case.recipe.load_in_8bit else SPLIT_LOSS) and max(gradient, sizes) <= bound
    passed = near and norms[0] > 0
    case.report.add("accumulation", passed, said)
    _by_hand(case, runs)


def _not_split(case: Case) -> str:
    if case.plot.kind == "prompt":
        return f"rl: {case.plot.method} writes other answers in other batches"
    return WITHIN_A_PASS.get(case.plot.method, "")


def _by_hand(case: Case, runs: Sequence[Made]) -> None:
    for run in runs:
        saw = run.witness
        if "loss" not in saw:
            case.report.skip("loss by hand", f"there is no simpler way to compute the loss of {case.plot.method}")
            return
    saw = runs[-1].witness
    seen = {(tuple(one["ids"]), tuple(one["labels"])) for one in saw["documents"]}
    prepared = {(tuple(ids), tuple(labels)) for ids, labels in case.documents}
    strange = len([one for one in seen if one not in prepared and not _first_hidden(one, prepared)])
    case.report.add(
        "labels in the trainer",
        not strange and saw["learned"] > 0,
        f"{len(seen) - strange} of {len(seen)} rows of the first step as they were prepared, {saw['learned']} learned "
        "tokens",
    )
    gaps = [abs(run.losses[0] - run.witness["loss"]) / max(run.witness["loss"], 1e-12) for run in runs]
    bound = ROUGH if case.recipe.load_in_8bit else BY_HAND
    worst = runs[gaps.index(max(gaps))]
    said = f"{worst.losses[0]:.6g} in the trainer, {worst.witness['loss']:.6g} row by row"
    case.report.add("loss by hand", max(gaps) <= bound, said)


def _first_hidden(one: Any, prepared: set[Any]) -> bool:
    """Whether a row is a prepared one but for its first label, which nothing predicts, or filler."""
    ids, labels = one
    if all(label == -100 for label in labels):
        return True
    return any(ids == other and labels[1:] == theirs[1:] for other, theirs in prepared)


def merge(case: Case) -> None:
    """Merged weights, read again from their files, answer as the trained model does."""
    assert case.whole is not None
    name = "merge" if case.recipe.adapter else "saved model"
    run = finished_run(case.whole.folder)
    try:
        refuse_unmergeable(run)
    except ModelError as error:
        case.report.skip(name, error.faults[0].message.split(". Use it")[0])
        return
    output = case.bench.folder / "merged"
    failed = ""
    with case.bench.quiet(), written(output, False) as place:
        try:
            merge_run(Wish(run, output, False, None, PROMPTS), place, Screen())
        except ProofError as error:
            failed = error.faults[0].message.split("It is kept")[0]
    import json

    folder = output if output.is_dir() else output.with_name("merged.failed")
    figures = json.loads((folder / "proof.json").read_text("utf-8"))["figures"]
    said = f"logits {figures['max_logit_difference']:.2g} apart of {figures['greatest_logit']:.3g}"
    if figures["max_change_by_training"] is not None:
        said += f"; training moved them by {figures['max_change_by_training']:.2g}"
    if not figures["greatest_logit"]:
        failed = failed or "the trained model says the same of every token"
    case.report.add(name, not failed, said + (f": {failed}" if failed else ""))
    case.output = folder


def generation(case: Case) -> None:
    """Answers end: the end token grew likely after an answer, and generation stops at it."""
    assert case.whole is not None
    if case.plot.method == "reward":
        case.report.skip("generation stops", "a reward model scores answers and writes none")
        return
    with case.bench.quiet():
        found = endings(finished_run(case.whole.folder), case.output, case.documents, case.stop_ids)
    said = f"{found.stopped} of {found.asked} answers end at the stop token"
    passed = found.asked > 0 and found.stopped == found.asked
    if found.after is not None and found.before is not None and case.plot.method == "sft":
        said += f"; its probability after an answer: {found.before:.2g} -> {found.after:.2g}"
        passed = passed and found.after > found.before
    case.report.add("generation stops", passed, said)


ORDER: Sequence[Callable[[Case], None]] = (format, every_row, training, resume, accumulation, merge, generation)
