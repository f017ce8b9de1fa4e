"""What a row of a script's data is, how it becomes text, what of it is learned, and which rows are measured."""

from typing import Any

from finetune.importing.draft import CHANGED, IDLE, LOST, OUTDATED, TO_DO, UNREAD, Draft, Line, origin
from finetune.importing.folding import Function
from finetune.importing.formatting import Form, form_of
from finetune.importing.found import Object, Setting, known, unread_in
from finetune.importing.rules import apply
from finetune.importing.script_data import LOADINGS, Read, Rows, entries_of, leftover, rows_of
from finetune.importing.script_state import State
from finetune.importing.script_steps import read_steps
from finetune.importing.unsloth_arguments import RESPONSES, TEMPLATE
from finetune.recipe.template_names import SPELLINGS, refusal

COMPARED = ("dpo", "orpo", "cpo", "kto", "reward", "grpo", "rloo")
ANSWERS_ONLY = ("DataCollatorForCompletionOnlyLM",)


ROLES = ("user", "assistant", "system")


def read_rows(read: Read, draft: Draft) -> None:
    given = read.trainer.setting("train_dataset", 2) if read.trainer is not None else None
    rows = rows_of(given.value if given is not None else None) or _shown(read)
    made = entries_of(rows, draft)
    if given is not None and not made:
        part = unread_in(given.value)
        why = f": {part.why}" if part is not None else ""
        draft.tell(UNREAD, given, f"which rows these are is not read{why}", "name them under datasets")
    column = read.settings.get("dataset_text_field")
    if not made and column is not None:
        draft.tell(IDLE, column, "a column of data that were not understood")
    forms: list[Form | None] = []
    for number, (entry, one) in enumerate(made):
        if one.root is not None:
            read.seen.add(one.root)
        form = read_steps(one.steps, State(entry, read, draft, held=number > 0 and "val_set_size" in draft.lines))
        read_form(entry, form, read, draft)
        forms.append(form)
    first = made[0][0] if made else None
    read_templates(first, read, draft)
    read_learned(first, forms[0] if forms else None, read, draft)
    read_measured(first, read, draft)
    leftover(read, draft)


def _shown(read: Read) -> list[Rows]:
    """A text shows pieces; the first data set that is loaded in it is meant."""
    loads = read.named(*LOADINGS)
    if read.trainer is not None or not loads:
        return []
    used = [rows for call in read.calls if call.name == "map" for rows in rows_of(call) if rows.root is loads[0]]
    return used[-1:] or rows_of(loads[0])


def read_form(entry: dict[str, Line], form: Form | None, read: Read, draft: Draft) -> None:
    """`type` and columns of the entry."""
    given = read.trainer.setting("formatting_func") if read.trainer is not None else None
    if given is not None and isinstance(given.value, Function):
        found = form_of(given.value, read.folder(draft))
        if found is None:
            draft.tell(TO_DO, given, "what the function makes of a row is not plain to see", "say it with `type`")
        else:
            draft.tell("carried", given, f"the form of a row: {found.kind}")
        form = form or found
    elif given is not None:
        draft.tell(IDLE, given, "asks for nothing") if given.value is None else draft.unread(given)
    column = read.settings.get("dataset_text_field")
    if form is not None and read.method in COMPARED:
        message = "what the script does to compared answers; here their template is put around them as they are read"
        draft.say(CHANGED, entry["path"].where.line if entry["path"].where else 0, "map(…)", message)
    elif form is not None:
        _form_lines(entry, form)
    if column is not None and form is not None:
        draft.tell(IDLE, column, "the column that the script writes; here a row is rendered as it is read")
    elif column is not None and known(column.value) and column.value and read.method == "sft":
        if not any(step.kind == TO_DO and step.shown.startswith("map(") for step in draft.told):
            entry["type"] = Line("completion", "a column of plain text")
            entry["field"] = Line(column.value, origin(column), column.where)
        draft.tell("carried", column, f"`field: {column.value}`")
    elif column is not None:
        draft.tell(IDLE, column, "asks for nothing")


def _form_lines(entry: dict[str, Line], form: Form) -> None:
    if form.kind == "chat":
        entry["type"] = Line("chat_template", "the script renders messages with the chat template")
        if form.column not in ("messages",):
            entry["field_messages"] = Line(form.column, f"the column that it renders: {form.column}")
    else:
        entry["type"] = Line(dict(form.mapping), "the wording that the script writes around its columns")


def read_templates(entry: dict[str, Line] | None, read: Read, draft: Draft) -> None:
    named = [
        call for call in read.named("get_chat_template") if call.call.startswith("unsloth") or "." not in call.call
    ]
    for call in [call for call in named if call.call.startswith("unsloth") or call.setting("chat_template", 1)][:1]:
        apply(call.arguments.values(), TEMPLATE, draft)
        name, mapping = call.setting("chat_template", 1), call.setting("mapping", 2)
        if name is None:
            draft.assume("chat_template", "chatml", "not written; Unsloth's default")
        elif isinstance(name.value, str) and (why := refusal(name.value)):
            draft.tell(LOST, name, f"{name.value!r} {why}")
        elif isinstance(name.value, str):
            draft.put("chat_template", SPELLINGS.get(name.value, name.value), name)
        else:
            draft.unread(name)
        if mapping is not None and isinstance(mapping.value, dict) and known(mapping.value):
            _mapping(mapping, entry, draft)
        elif mapping is not None:
            draft.unread(mapping)
    for call in read.named("setup_chat_format", "clone_chat_template"):
        draft.say(
            OUTDATED,
            call.line,
            f"{call.name}(…)",
            "a template by its name, here chatml; its marks must be the tokenizer's own, or be added with `tokens`",
        )
        if call.name == "setup_chat_format":
            draft.assume("chat_template", "chatml", f"line {call.line}: setup_chat_format")


def _mapping(mapping: Setting, entry: dict[str, Line] | None, draft: Draft) -> None:
    given = dict(mapping.value)
    if entry is not None:
        names = {"role": given.get("role", "role"), "content": given.get("content", "content")}
        entry["message_property_mappings"] = Line(names, origin(mapping), mapping.where)
        known_names = {"user": ("user", "human"), "assistant": ("assistant", "gpt"), "system": ("system",)}
        roles = {role: [given[role]] for role in ROLES if given.get(role) and given[role] not in known_names[role]}
        if roles:
            entry["roles"] = Line(roles, origin(mapping), mapping.where)
    draft.tell("carried", mapping, "`message_property_mappings` and `roles`")


def read_learned(entry: dict[str, Line] | None, form: Form | None, read: Read, draft: Draft) -> None:
    for call in read.named("train_on_responses_only")[:1]:
        apply(call.arguments.values(), RESPONSES, draft)
        draft.lines["train_on_inputs"] = Line(False, f"line {call.line}: train_on_responses_only", call.where)
        last = call.setting("last_response_only")
        if last is not None and last.value is True:
            draft.put("multiturn", "last", last)
        elif last is not None:
            draft.tell(IDLE, last, "asks for nothing")
    collator = read.trainer.setting("data_collator") if read.trainer is not None else None
    if collator is not None and isinstance(collator.value, Object) and collator.value.name in ANSWERS_ONLY:
        draft.lines["train_on_inputs"] = Line(False, origin(collator), collator.where)
        draft.tell("carried", collator, "`train_on_inputs: false`")
        for setting in (*collator.value.arguments.values(), *collator.value.positional):
            draft.tell(IDLE, setting, "where answers begin is found by rendering, not by their marks")
    elif collator is not None:
        draft.tell(IDLE, collator, "how a batch is put together")
    kinds = (
        {entry["type"].value}
        if entry is not None and "type" in entry and isinstance(entry["type"].value, str)
        else set()
    )
    if read.method == "sft" and "completion" not in kinds and form is not None and form.kind != "chat":
        draft.assume("train_on_inputs", True, "not written: the script learns every token of the text")
    if kinds == {"completion"}:
        draft.assume("text_chunks", "whole", "longer texts are cut there, not continued in another row")


def read_measured(entry: dict[str, Line] | None, read: Read, draft: Draft) -> None:
    given = read.trainer.setting("eval_dataset") if read.trainer is not None else None
    if given is None or given.value is None:
        if given is not None:
            draft.tell(IDLE, given, "nothing is measured")
        return
    rows = rows_of(given.value)
    if isinstance(given.value, dict):
        rows = [one for value in given.value.values() for one in rows_of(value)]
    split = any(step.name == "train_test_split" for one in rows for step in one.steps)
    if split or "val_set_size" in draft.lines:
        _held_rows(rows, read, draft)
        draft.tell("carried", given, "`val_set_size`")
        return
    before = len(draft.datasets)
    made = entries_of(rows, draft)
    tests = draft.datasets[before:]
    del draft.datasets[before:]
    if not made:
        draft.unread(given)
        return
    for test, one in made:
        _measured_entry(test, one, entry, read, draft)
    trained = [_place(one) for one in draft.datasets]
    if any(_place(test) in trained for test in tests):
        message = "which part of the rows is measured is not read"
        draft.tell(UNREAD, given, message, "write val_set_size, or test_datasets with their split")
        return
    draft.test_datasets += tests
    draft.tell("carried", given, "`test_datasets`")


def _measured_entry(test: dict[str, Line], one: Rows, entry: dict[str, Line] | None, read: Read, draft: Draft) -> None:
    """What is done to measured rows; what they are is as with those that are trained on, where nothing says it."""
    if one.root is not None:
        read.seen.add(one.root)
    form = read_steps(one.steps, State(test, read, draft, trained=False))
    for key in ("type", "field", "field_messages", "message_property_mappings", "roles"):
        if entry is not None and key in entry and form is None:
            test.setdefault(key, Line(entry[key].value, "as datasets"))
    if form is not None:
        _form_lines(test, form)
        if entry is not None and "message_property_mappings" in entry:
            test.setdefault("message_property_mappings", Line(entry["message_property_mappings"].value, "as datasets"))


def _place(entry: dict[str, Line]) -> tuple[Any, ...]:
    """Which rows an entry takes."""
    return tuple(
        str(entry[key].value) if key in entry else {"split": "train"}.get(key)
        for key in ("path", "name", "data_files", "split", "filter", "max_rows")
    )


def _held_rows(rows: list[Rows], read: Read, draft: Draft) -> None:
    """The side of a split that is measured: only what happens to it after the split is of interest."""
    for one in rows:
        names = [step.name for step in one.steps]
        at = names.index("train_test_split") if "train_test_split" in names else len(names)
        state = State({}, read, draft, trained=False, held="val_set_size" in draft.lines)
        after = [step for step in one.steps[at if not state.held else at + 1 :] if step not in read.seen]
        read.seen.update(one.steps[: at + 1])
        read_steps(after, state)
