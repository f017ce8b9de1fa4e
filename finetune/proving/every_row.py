"""The check that looks at all rows which are on this machine, and not at the first ones alone: each is readable and
becomes tokens, none too many are lost, and what a person should hear of them. Trains nothing."""

import itertools
from collections.abc import Sequence
from typing import Any

from finetune import stages
from finetune.backends.loaded import load_tokenizer, tokenizer_part
from finetune.data.entries import Entry
from finetune.data.prepared import Prepared
from finetune.data.warned import warnings_of
from finetune.plan import Plan
from finetune.proving.case import Case
from finetune.proving.rows import Taken, is_local
from finetune.recipe.recipe import Recipe
from finetune.rendering.lengths import IGNORED, loss_text, refuse_losses
from finetune.resolve import resolve

MOST = 32 * 2**20
"""Bytes of data that are looked at within a few seconds."""
OWN = "the model's own"
FEWEST, ANSWERS = 8, 1000
"""Rows at least and at most by which it is told whether all answers are one."""
UNCUT = 2**20
"""A length that no row has, where the real tokenizer is not here to count by."""


def every_row(case: Case) -> None:
    """All local rows go through the run's own stage, with the recipe's own lengths."""
    local = [entry for entry, one in zip(case.recipe.datasets, case.taken, strict=True) if one.real and is_local(entry)]
    if not local:
        return  # the report says that its rows are made up
    if case.recipe.streaming:
        case.report.skip("every row", "the data is a stream")
        return
    plan = _plan(case, local)
    with case.bench.quiet():
        sources = stages.open_sources(plan)
        sizes = [source.bytes() for source in sources]
        size = sum(one or 0 for one in sizes)
        if None in sizes or size > MOST:
            case.report.skip(
                "every row", f"{size / 2**20:,.0f} MiB take a while: `finetune preview` looks at all of it"
            )
            return
        tokenizer, _ = load_tokenizer(tokenizer_part(plan.stage("load")))
        prepared = stages.prepare(plan, sources, tokenizer)
    for counted in prepared.counted.values():
        refuse_losses(counted.sources, case.recipe.max_dropped_share)
    case.report.add("every row", True, _said(prepared, sources, case.taken))
    for note in (*_notes(prepared), *_alike(case, prepared)):
        case.report.warn("every row", case.reword(note.removeprefix("warning: ")))


def _plan(case: Case, local: Sequence[Any]) -> Plan:
    recipe, folder = case.recipe, case.bench.folder
    measured = [entry for entry in recipe.test_datasets or () if is_local(entry)]
    changes: dict[str, Any] = {
        "base_model": str(folder / "base"),
        "tokenizer_config": None,
        "revision_of_model": None,
        "datasets": local,
        "test_datasets": measured or None,
        "dataset_prepared_path": str(folder / "all rows"),
        "dataset_num_proc": 1,
    }
    if case.report.facts["tokenizer"] != OWN:
        changes |= {"sequence_len": UNCUT, "max_prompt_len": None}
    return resolve(_changed(recipe, changes), case.bench.machine)


def _changed(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    return recipe.model_copy(update={key: value for key, value in changes.items() if key in Recipe.model_fields})


def _said(prepared: Prepared, sources: Sequence[Entry], taken: Sequence[Taken]) -> str:
    counted = prepared.counted
    rows = {purpose: one.rows for purpose, one in counted.items()}
    said = f"{rows['train']:,} to learn from"
    said += f" and {rows['validation']:,} to measure by" if rows.get("validation") else ""
    lost = [(source, one) for each in counted.values() for source, one in each.sources.items() if one.changed]
    said += "".join(f"; {source}: {loss_text(one)}" for source, one in lost[:4])
    away = len(taken) - sum(entry.purpose == "train" for entry in sources)
    return said + (f"; of {away} sources nothing is here" if away else "")


def _notes(prepared: Prepared) -> list[str]:
    said: set[str] = set()
    notes = [note for note in prepared.notes if note.startswith("warning: ")]
    for counted in prepared.counted.values():
        notes += warnings_of(counted, said)
        said.update(counted.sources)
    return notes


def _alike(case: Case, prepared: Prepared) -> list[str]:
    """That all answers are one, where there are enough to tell."""
    if case.plot.kind != "rows":
        return []
    rows = itertools.islice(prepared.rows("train"), ANSWERS)
    answers = [
        [token for token, label in zip(ids, labels, strict=True) if label != IGNORED] for *_, ids, labels in rows
    ]
    if len(answers) < FEWEST or any(answer != answers[0] for answer in answers):
        return []
    return [f"what is learned of the first {len(answers):,} rows is the same in all of them: is the right column read?"]
