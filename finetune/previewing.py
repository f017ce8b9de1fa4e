"""A checked recipe -> what its model would be trained on. Makes the plan's own data calls, with the tokenizer alone: no
model is loaded and no GPU is needed."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from finetune import stages
from finetune.backends.loaded import load_tokenizer, tokenizer_part
from finetune.data.entries import Entry
from finetune.data.opening import is_address
from finetune.data.prepare import Watch
from finetune.data.prepared import Prepared
from finetune.data.sources import Source
from finetune.data.warned import dated, warnings_of
from finetune.errors import DataError
from finetune.plan import Plan
from finetune.preview.looks import SourceFigures
from finetune.preview.report import Report, gather
from finetune.rendering.examples import Counted
from finetune.rendering.lengths import refuse_losses


@dataclass(frozen=True)
class Looked:
    """What the trainer would get, before packing, and with which tokenizer. `notes`: what was said about sources;
    `forms`: path -> the form that was detected, and why."""

    data: Prepared
    tokenizer: Any
    notes: list[str]
    fill: float | None
    forms: dict[str, str]


def prepare(plan: Plan, watch: Watch | None = None) -> Looked:
    """DataError or ModelError for what would stop a run before its model is loaded."""
    sources = stages.open_sources(plan)
    tokenizer, _ = load_tokenizer(tokenizer_part(plan.stage("load")))
    data = stages.prepare(plan, sources, tokenizer, watch)
    share = stages.one(plan, "Place.prepare").arguments["lengths"]["max_dropped_share"]
    notes, said = [*data.notes, *dated(tokenizer)], set[str]()
    for counted in (data.counted[purpose] for purpose in data.purposes):
        notes += [*warnings_of(counted, said), *_losses(counted, share)]
        said.update(counted.sources)
    packed = stages.packing(plan, data, "train")
    return Looked(data, tokenizer, notes, packed.fill if packed else None, dict(_forms(sources)))


def _forms(sources: list[Entry]) -> Iterator[tuple[str, str]]:
    """The forms that no recipe names, why they are those, and what to write."""
    for entry in sources:
        found = None if entry.form else entry.found_form()
        if found:
            yield entry.path, f"`type: {found[0].removeprefix(f'{entry.fields.kind}:')}`, detected: {found[1]}"


def tokenizer_alone(plan: Plan) -> None:
    """Let transformers be imported without torch, which no tokenizer of its own needs: it takes seconds and hundreds of
    megabytes. For a command that then ends."""
    call = tokenizer_part(plan.stage("load"))[0]
    if "torch" not in sys.modules and not call.arguments["trust_remote_code"] and not _reads_hub(plan):
        sys.modules["torch"] = None  # type: ignore[assignment]  # the import system's word for: there is none
    os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def _reads_hub(plan: Plan) -> bool:
    """Whether rows come through the datasets library, which wants torch where it is installed."""
    calls = [call.arguments for call in plan.stage("format") if call.target.endswith(".open_source")]
    sources = [Source(one["path"], one["source"]["hub"], one["source"]["files"]) for one in calls]
    return any(not is_address(source.path) and source.listed() is None for source in sources)


def _losses(counted: Counted, share: float) -> list[str]:
    """Looking costs no GPU: what would stop a run for its losses is shown, and said."""
    try:
        refuse_losses(counted.sources, share)
    except DataError as error:
        return [f"a run would stop here: {fault}" for fault in error.faults]
    return []


def report_of(plan: Plan, recipe: str, shown: int, judge: Callable[[Looked], object] = bool) -> Report:
    """Everything there is to see of the recipe's data; `shown`: rows of each source that are shown in full. `judge`
    looks first, and may refuse."""
    looked = prepare(plan)
    judge(looked)
    purposes = {}
    for purpose in looked.data.purposes:
        gathered = gather(looked.data.rows(purpose), looked.tokenizer, shown)
        for source, lost in looked.data.counted[purpose].sources.items():
            figure = gathered.figures.setdefault(source, SourceFigures())
            figure.dropped, figure.cut, figure.unlearned = lost.dropped, lost.truncated, lost.unlearned
        purposes["training" if purpose == "train" else purpose] = gathered
    template = hashlib.sha256(str(looked.tokenizer.chat_template or "").encode()).hexdigest()
    return Report(recipe, purposes, _facts(plan, looked), template, looked.fill)


def _facts(plan: Plan, looked: Looked) -> dict[str, str]:
    tokenizer = looked.tokenizer
    template = plan.one("format", "set_template")
    stops = (repr(tokenizer.convert_ids_to_tokens(stop)) for stop in looked.data.stop_ids)
    facts = {
        "tokenizer": str(tokenizer.name_or_path),
        "template": str(template.arguments["name"]) if template else "none",
        "generation stops at": ", ".join(stops),
    }
    facts |= {f"form of {path}": form for path, form in looked.forms.items()}
    if looked.fill is not None:
        facts["packing"] = f"rows of sequence_len are {looked.fill:.1%} full"
    if looked.data.skipped:
        facts["bad rows left out"] = f"{len(looked.data.skipped):,}"
    for number, note in enumerate(looked.notes, 1):
        facts[f"note {number}"] = note
    return facts
