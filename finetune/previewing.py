"""A checked recipe -> what its model would be trained on. Makes the plan's own data calls, with the tokenizer alone: no
model is loaded and no GPU is needed."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from finetune.backends.loaded import load_tokenizer, tokenizer_part
from finetune.data.bad_rows import BadOne
from finetune.errors import DataError
from finetune.plan import Plan, perform
from finetune.preview.report import Report, gather
from finetune.rendering.examples import Example, Tokenized
from finetune.rendering.lengths import refuse_losses


@dataclass(frozen=True)
class Prepared:
    """Examples of each purpose as the trainer would get them, before packing. `notes`: what was said about sources."""

    made: dict[str, Tokenized]
    tokenizer: Any
    notes: list[str]
    skipped: list[BadOne]

    def examples(self, purpose: str) -> list[Example]:
        return self.made[purpose].examples if purpose in self.made else []


def prepare(plan: Plan) -> Prepared:
    """DataError or ModelError for what would stop a run before its model is loaded."""
    from finetune.stages import read_data

    read = read_data(plan)
    tokenizer, _ = load_tokenizer(tokenizer_part(plan.stage("load")))
    template, tokenize = plan.one("format", "set_template"), plan.one("format", "tokenize_rows")
    assert template is not None and tokenize is not None
    perform(template, tokenizer=tokenizer)
    made: dict[str, Tokenized] = {}
    # Looking costs no GPU: what would stop a run for its losses is shown, and said.
    lengths = tokenize.arguments["lengths"]
    patient = replace(tokenize, arguments={**tokenize.arguments, "lengths": {**lengths, "max_dropped_share": 1.0}})
    notes = list(read.notes)
    for purpose, rows in (("train", read.training), ("validation", read.validation)):
        if rows:
            made[purpose] = perform(patient, rows=rows, tokenizer=tokenizer)
            notes += _losses(made[purpose], lengths["max_dropped_share"])
    skipped = [*read.skipped, *(bad for tokenized in made.values() for bad in tokenized.skipped)]
    return Prepared(made, tokenizer, notes, skipped)


def _losses(tokenized: Tokenized, share: float) -> list[str]:
    try:
        refuse_losses(tokenized.counted.sources, share)
    except DataError as error:
        return [f"a run would stop here: {fault}" for fault in error.faults]
    return []


def report_of(plan: Plan, recipe: str, shown: int) -> Report:
    """Everything there is to see of the recipe's data; `shown`: rows of each source that are shown in full."""
    prepared = prepare(plan)
    purposes = {}
    for purpose, tokenized in prepared.made.items():
        rows = ((one.source, one.row, one.input_ids, one.labels) for one in tokenized.examples)
        gathered = gather(rows, prepared.tokenizer, shown)
        for source, lost in tokenized.counted.sources.items():
            if source in gathered.figures:
                gathered.figures[source].dropped, gathered.figures[source].cut = lost.dropped, lost.truncated
        purposes["training" if purpose == "train" else purpose] = gathered
    template = str(prepared.tokenizer.chat_template or "")
    fill = _fill(plan, prepared.examples("train"))
    return Report(recipe, purposes, _facts(plan, prepared, fill), hashlib.sha256(template.encode()).hexdigest(), fill)


def _facts(plan: Plan, prepared: Prepared, fill: float | None) -> dict[str, str]:
    tokenizer = prepared.tokenizer
    stops = sorted({stop for tokenized in prepared.made.values() for stop in tokenized.stop_ids})
    template = plan.one("format", "set_template")
    facts = {
        "tokenizer": str(tokenizer.name_or_path),
        "template": str(template.arguments["name"]) if template else "none",
        "generation stops at": ", ".join(repr(tokenizer.convert_ids_to_tokens(stop)) for stop in stops),
    }
    if fill is not None:
        facts["packing"] = f"rows of sequence_len are {fill:.1%} full"
    if prepared.skipped:
        facts["bad rows left out"] = f"{len(prepared.skipped):,}"
    for number, note in enumerate(prepared.notes, 1):
        facts[f"note {number}"] = note
    return facts


def _fill(plan: Plan, examples: list[Example]) -> float | None:
    """Share of the packed rows that holds tokens; None where nothing is packed."""
    calls = [call for call in plan.stage("format") if call.target.endswith(".pack_examples")]
    call = next((call for call in calls if call.arguments["purpose"] == "train"), None)
    if call is None or not examples:
        return None
    packed = perform(call, examples=examples)
    tokens = sum(len(one.input_ids) for one in examples)
    return float(tokens / (len(packed) * call.arguments["sequence_len"]))
