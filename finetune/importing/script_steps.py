"""What a script does to rows between loading and training, step by step -> keys of an entry: split, max_rows, filter,
shards, val_set_size, and what a row is. A step that is not known is told, never taken for nothing."""

from finetune.importing.draft import CHANGED, IDLE, LOST, TO_DO, UNREAD, Line
from finetune.importing.filters import expression_of
from finetune.importing.folding import Function
from finetune.importing.formatting import Form, form_of, renamed
from finetune.importing.found import Object, Setting, Symbol, Unread, known
from finetune.importing.script_data import JOINS
from finetune.importing.script_state import WHERE, State
from finetune.importing.taken_rows import SELECTED

_HELD = """
    with_format set_format reset_format cast cast_column flatten_indices reset_index to_iterable_dataset to_list to_dict
    to_pandas copy with_indices batch to from_pandas from_list from_dict from_polars values load open Path DataFrame
    prepare_model prepare read splitlines DatasetDict
"""
NOTHING = {
    **dict.fromkeys(
        ("standardize_sharegpt", "standardize_data_formats"), "messages are read whatever their fields are called"
    ),
    **dict.fromkeys(("remove_columns", "select_columns", "drop"), "what remains in a row is not learned from"),
    **dict.fromkeys(_HELD.split(), "how the rows are held"),
    **dict.fromkeys(("sort", "sort_values"), "rows are drawn in random order by `seed`"),
}


def read_steps(steps: list[Object], state: State) -> Form | None:
    """What is done to the rows before training; what one of them is, where that is plain to see."""
    for step in steps:
        state.read.seen.add(step)
        how = STEPS.get(step.name)
        if how is not None:
            how(step, state)
        elif step.name in NOTHING:
            state.idle(step, NOTHING[step.name])
        elif step.name in JOINS:
            _joined(step, state)
        else:
            state.unread(step, "what this does to the rows is not read", "say it in datasets, if it matters")
    if state.form is not None and state.renames:
        state.form = renamed(state.form, state.renames)
    return state.form


def _joined(step: Object, state: State) -> None:
    state.draft.say("carried", step.line, f"{step.name}(…)", "an entry of datasets for each source")
    for name, setting in step.arguments.items():
        if name == "probabilities":
            state.draft.tell(LOST, setting, "sources are joined whole", "an entry's `weight`")
        elif name not in ("datasets", "dsets", "objs"):
            state.draft.tell(IDLE, setting, "rows of all sources are mixed by `seed`")


def _named(step: Object, state: State) -> None:
    name = step.positional[0].value if step.positional else None
    entry, draft = state.entry, state.draft
    if state.held or (isinstance(name, list) and all(isinstance(one, str) for one in name)):
        if name == "test" and state.trained and state.held:
            draft.say(CHANGED, step.line, "['test']", "the smaller part is trained on there; here the larger is")
        return
    if isinstance(name, str):
        if "split" not in entry and (name != "train" or not state.trained):
            entry["split"] = Line(name, f"line {step.line}: [{name!r}]", step.where)
    elif isinstance(name, Unread | Object | Symbol):
        text = name.text if isinstance(name, Unread | Symbol) else f"{name.name}(…)"
        draft.say(UNREAD, step.line, f"[{text}]", "which rows these are is not read", WHERE)


def held_out(step: Object, state: State) -> None:
    """train_test_split, of datasets or of scikit-learn."""
    draft = state.draft
    by_place = isinstance(step.base, Object)
    size = step.setting("test_size", 0 if by_place else None)
    share = step.setting("train_size", 1 if by_place else None)
    if state.held and state.trained:
        state.unread(step, "the rows are split a second time", "val_set_size and max_rows say how many are left")
        return
    state.held = True
    if size is not None:
        draft.put("val_set_size", size.value, Setting("train_test_split.test_size", size.value, size.where))
    elif share is not None and isinstance(share.value, float):
        draft.put("val_set_size", round(1 - share.value, 6), share)
    elif share is not None:
        draft.tell(TO_DO, share, "how many rows are held out is not known", "write val_set_size")
    else:
        draft.assume("val_set_size", 0.25, f"line {step.line}: train_test_split without a size")
    for name, setting in step.arguments.items():
        if name not in ("test_size", "train_size"):
            draft.tell(IDLE, setting, "which rows are held out goes by their content")


def _function_of(step: Object, state: State) -> object:
    """What each row goes through; how it goes is said to change nothing."""
    for name, setting in step.arguments.items():
        if name != "function":
            state.draft.tell(IDLE, setting, "how the rows are gone through")
    given = step.setting("function", 0)
    return given.value if given is not None else None


def _mapped(step: Object, state: State) -> None:
    draft, function = state.draft, _function_of(step, state)
    if isinstance(function, Symbol) and function.text.endswith(("standardize_sharegpt", "standardize_data_formats")):
        return
    form = form_of(function, state.read.folder(draft)) if isinstance(function, Function) else None
    shown = function.text if isinstance(function, Function | Symbol) else "a function"
    if form is not None and form.kind == "chat" and state.form is not None and state.form.kind == "turns":
        draft.say("carried", step.line, f"map({shown})", "the messages of the step before, in the chat template")
        return
    before, state.mapped = state.mapped, True
    if form is None:
        advice = "say what a row is with `type` and its columns; finetune preview shows what becomes of it"
        draft.say(TO_DO, step.line, f"map({shown})", "what the function makes of a row is not plain to see", advice)
        return
    if before and state.form is None:
        message = "columns that a step before it makes are not in the file"
        draft.say(TO_DO, step.line, f"map({shown})", message, "name the file's own columns in `type`")
    state.form = form
    draft.say("carried", step.line, f"map({shown})", f"the form of a row: {form.kind}")
    for note in form.notes:
        draft.say(CHANGED, step.line, f"map({shown})", note)


def _filtered(step: Object, state: State) -> None:
    draft, function = state.draft, _function_of(step, state)
    found = None
    if isinstance(function, Function) and not state.mapped and not state.renames and step.get("batched") is not True:
        found = expression_of(function.node, state.read.folder(draft))
    if found is None:
        advice = "an entry's `filter` is an expression over a row of the file: filter: '{{ row.score > 3 }}'"
        draft.say(LOST, step.line, "filter(…)", "which rows the function keeps is not read", advice)
        return
    old = state.entry.get("filter")
    text = f"({old.value[3:-3]}) and ({found})" if old is not None else found
    state.entry["filter"] = Line(f"{{{{ {text} }}}}", f"line {step.line}: filter", step.where)
    draft.say("carried", step.line, "filter(…)", f"`filter: {text}`")


def _renamed(step: Object, state: State) -> None:
    pair = [step.get("original_column_name", 0), step.get("new_column_name", 1)]
    mapping = step.get("column_mapping", 0) or step.get("columns")
    given = mapping if isinstance(mapping, dict) else dict([pair]) if all(isinstance(one, str) for one in pair) else {}
    for setting in step.arguments.values():
        state.draft.accounted.add((setting.name, setting.where))
    if not given or not known(given):
        state.unread(step, "which columns get another name is not read", "see docs/data.md")
        return
    for old, new in given.items():
        state.renames[new] = state.renames.pop(old, old)
    shown = ", ".join(f"{old} becomes {new}" for old, new in given.items())
    message = f"{shown}; here columns have the file's own names"
    state.draft.say(CHANGED, step.line, f"{step.name}(…)", message, "field_… keys of an entry name them")


def _to_sharegpt(step: Object, state: State) -> None:
    message = "its columns and wording are not read"
    state.draft.say(TO_DO, step.line, "to_sharegpt(…)", message, "write `type` as a mapping with as_turns: true")
    for setting in step.arguments.values():
        state.draft.accounted.add((setting.name, setting.where))


STEPS = {
    "[]": _named,
    **SELECTED,
    "train_test_split": held_out,
    "map": _mapped,
    "filter": _filtered,
    "rename_column": _renamed,
    "rename_columns": _renamed,
    "rename": _renamed,
    "to_sharegpt": _to_sharegpt,
}
