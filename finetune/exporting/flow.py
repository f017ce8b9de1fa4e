"""From a finished run to a proven folder of merged weights: the order of the steps, and what happens to a folder whose
proof fails."""

import gc
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from finetune import __version__
from finetune.errors import ProofError
from finetune.exporting.finished import Finished, adapter_config, attention_of, refuse_unmergeable
from finetune.exporting.merging import Parts, load_folder, load_parts, load_tokenizer, merge, widen
from finetune.exporting.places import Place
from finetune.exporting.probes import probes, training_answers
from finetune.exporting.proof import BOUNDS, Bound, Proof, compare, judge
from finetune.exporting.readers import Logits, Measured, Reader, TransformersReader, measure, stop_ids_of
from finetune.exporting.saving import Inventory, copy_whole, save_merged
from finetune.generation import Prompt
from finetune.outcome import now
from finetune.screen import Screen
from finetune.stages import without_adapter

LARGE = 2**28
"""Bytes of weights from which their memory is freed at once."""


@dataclass(frozen=True)
class Wish:
    """What was asked for on the command line. `base`: a copy of the base model, or its 16-bit sibling; `prompts`: how
    many the proof puts."""

    run: Finished
    output: Path
    overwrite: bool
    base: str | None
    prompts: int


@dataclass(frozen=True)
class Reference:
    """What the trained model makes of the prompts; `base`: the logits of the model before training, on the same
    tokens."""

    prompts: Sequence[Prompt]
    measured: Sequence[Measured]
    base: Sequence[Logits] | None
    facts: dict[str, Any]
    exact: bool


def quiet() -> None:
    """What the libraries log and show stays off the terminal."""
    from finetune.noise import quiet_libraries
    from finetune.ready import use_one_gpu

    use_one_gpu()
    quiet_libraries(bars=False)


def merge_into(wish: Wish, folder: Path, screen: Screen) -> tuple[Reference, Inventory, str]:
    """Merged weights in a folder: (what the trained model says, what the files hold, their number type)."""
    refuse_unmergeable(wish.run)
    with screen.stage("loading the base model and the adapter"):
        parts = load_parts(wish.run, wish.base)
    with screen.stage(f"asking the trained model {wish.prompts} questions"):
        reference = refer(wish, parts)
    with screen.stage("merging and writing"):
        inventory = _write(wish.run, parts, folder)
    numbers = [str(kind).removeprefix("torch.") for kind in parts.kept.values()]
    del parts
    if inventory.size > LARGE:
        gc.collect()  # the model and its adapter refer to each other, and the next one needs the memory
    return reference, inventory, max(set(numbers), key=numbers.count)


def refer(wish: Wish, parts: Parts) -> Reference:
    run = wish.run
    prompts = probes(run, parts.tokenizer, wish.prompts)
    reader = TransformersReader(parts.model, parts.tokenizer, run.stop_ids, official=False)
    measured = measure(reader, prompts, run.answer_tokens)
    before = None
    if run.plan.has_adapter:
        with without_adapter(parts.model):
            before = [reader.logits([*one.ids, *_path(one)], len(one.logits)) for one in measured]
    trained = training_answers(run)
    same = [
        one.text == trained[prompt.question]
        for prompt, one in zip(prompts, measured, strict=True)
        if prompt.question in trained
    ]
    facts = {
        "reference": _reference_name(run, parts),
        "base_model": parts.name,
        "base_revision": parts.revision,
        "numbers_of_the_comparison": "float32" if parts.exact else str(parts.model.dtype).removeprefix("torch."),
        "answers_as_at_the_end_of_training": f"{sum(same)} of {len(same)}",
        "stop_tokens": {int(i): parts.tokenizer.convert_ids_to_tokens(int(i)) for i in run.stop_ids},
    }
    return Reference(prompts, measured, before, facts, parts.exact)


def _path(one: Measured) -> list[int]:
    return one.answer[: len(one.logits) - 1]


def _reference_name(run: Finished, parts: Parts) -> str:
    if not run.plan.has_adapter:
        return f"the model of {run.folder.path.name}"
    kind = str(adapter_config(run).get("peft_type", "adapter"))
    pinned = f"@{parts.revision[:12]}" if parts.revision not in ("", "main") else ""
    return f"{Path(parts.name).name if Path(parts.name).exists() else parts.name}{pinned} + {kind} adapter"


def _write(run: Finished, parts: Parts, folder: Path) -> Inventory:
    if not run.plan.has_adapter:
        return copy_whole(run, folder)
    return save_merged(run, merge(parts.model), parts.tokenizer, parts.kept, folder)


def bound_of(numbers: str, reference: Reference) -> Bound:
    """Where the trained model itself had to be computed in 16 bits, that rounding counts as well."""
    bound = BOUNDS[numbers]
    least = BOUNDS["bfloat16"]
    if reference.exact:
        return bound
    return replace(bound, logit=max(bound.logit, least.logit), kl=max(bound.kl, least.kl))


def prove(wish: Wish, reader: Reader, reference: Reference, numbers: str, facts: dict[str, Any]) -> Proof:
    measured = measure(reader, reference.prompts, wish.run.answer_tokens, reference.measured)
    compared = compare(reference.prompts, reference.measured, measured, reference.base)
    told = {
        "artefact": facts.pop("artefact"),
        **reference.facts,
        "read_by": reader.by,
        "numbers": numbers,
        **facts,
        "run": str(wish.run.folder.path),
        "finetune": __version__,
        "at": now(),
    }
    return judge(told, bound_of(numbers, reference), compared, writes=not wish.run.scores)


def prove_folder(wish: Wish, folder: Path, reference: Reference, inventory: Inventory, numbers: str) -> Proof:
    """Of merged weights, read as any program reads them."""
    model = load_folder(folder, wish.run.scores, attention_of(wish.run))
    if reference.exact:
        widen(model)
    reader = TransformersReader(model, load_tokenizer(folder), stop_ids_of(folder), official=True)
    facts = {"artefact": f"the merged weights in {numbers}", "files": asdict(inventory)}
    return prove(wish, reader, reference, numbers, facts)


def settle(proof: Proof, place: Place, screen: Screen) -> None:
    """Give the artefact its place if it is proven. ProofError if it is not: it is kept under another name."""
    proof.write(place.partial)
    for line in proof.lines():
        screen.say(line)
    if proof.passed:
        place.publish()
        return
    place.keep_failed()
    raise ProofError(
        f"what was made is not what was trained: {'; '.join(proof.failures)}. It is kept as {place.failed}, with "
        "proof.json; do not use it"
    )


def merge_run(wish: Wish, place: Place, screen: Screen) -> None:
    reference, inventory, numbers = merge_into(wish, place.partial, screen)
    with screen.stage("proving what was written"):
        proof = prove_folder(wish, place.partial, reference, inventory, numbers)
    settle(proof, place, screen)
