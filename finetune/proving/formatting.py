"""The first check of a proof: rows become tokens and labels through the run's own stage, and what is learned of them is
what they say. Trains nothing."""

from finetune import stages
from finetune.backends.loaded import load_tokenizer, tokenizer_part
from finetune.data.sources import meanings, rows_of
from finetune.formats.meaning import Row
from finetune.plan import Plan, perform
from finetune.proving import values
from finetune.proving.case import Case
from finetune.proving.learned import Learned, Wish, looked_at


def format(case: Case) -> None:
    """Rows become tokens and labels, and what is learned is what the rows say."""
    case.over = True
    checked, plan = case.bench.planned("whole", case.plot.whole)
    with case.bench.quiet():
        sources = stages.open_sources(plan)
        tokenizer, _ = load_tokenizer(tokenizer_part(plan.stage("load")))
        prepared = stages.prepare(plan, sources, tokenizer)
        case.stop_ids = prepared.stop_ids
        if checked.recipe.sample_packing:
            lengths = [len(ids) for _, _, ids, _ in prepared.rows("train")]
            length = values.packed_length(lengths, checked.recipe.sequence_len)
            case.plot.whole["sequence_len"] = length
        stages.format_rows(plan, prepared)
        case.documents = [(ids, labels) for _, _, ids, labels in prepared.rows("train")]
        wish = Wish(bool(case.recipe.train_on_inputs), case.recipe.multiturn == "last")
        found = looked_at(prepared, tokenizer, _rows(plan), wish)
    case.over = False
    end = ", ".join(sorted(tokenizer.convert_ids_to_tokens(list(prepared.stop_ids))))
    _of_labels(case, found, end)


def _of_labels(case: Case, found: Learned, end: str) -> None:
    report = case.report
    if case.plot.kind == "prompt":
        report.add("format", found.documents > 0, f"{found.documents} questions, {found.tokens:,} tokens")
        report.skip("labels", f"rl: {case.plot.method} learns from answers that the model writes itself")
        report.add("stop token", bool(case.stop_ids), f"answers end at {end}")
        return
    report.add("format", found.documents > 0, f"{found.documents} rows, {found.tokens:,} tokens")
    said = f"{found.learned:,} of {found.tokens:,} tokens are learned"
    if found.wanted:
        said += f"; the words of {found.found} of {found.wanted} answers, of {found.leaked} of {found.asked} questions"
    elif found.documents and case.plot.kind == "rows":
        said += "; the rows tell no answers from questions"
    parts = ((found.several, "more than one document"), (found.none, "none"))
    said += "".join(f"; rows that make {what}: {count}" for count, what in parts if count)
    lost = found.found < found.wanted and not case.recipe.roles_to_train and not _cuts(case)
    wrong = found.learned == 0 or (found.leaked > 0 and not case.recipe.roles_to_train) or lost
    report.add("labels", not wrong, said + (f"; not learned: {found.missing!r}" if lost else ""))
    if case.plot.method == "reward":
        report.skip("stop token", "a reward model scores answers and writes none")
        return
    report.add(
        "stop token", found.ended == found.documents, f"{end} is learned in {found.ended} of {found.documents} rows"
    )


def _cuts(case: Case) -> bool:
    """Whether rows may lose words."""
    return case.recipe.excess_length_strategy not in ("drop", "error", "split")


def _rows(plan: Plan) -> list[Row]:
    """All that are taken, each with its meaning; bad ones left out."""
    entries = [perform(call) for call in plan.stage("format") if call.target.endswith(".open_source")]
    found = (row for entry in entries for row in meanings(rows_of(entry.source), entry.reading()))
    return [row for row in found if isinstance(row, Row)]
