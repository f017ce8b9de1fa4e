"""What a script does to rows between loading and training, step by step -> keys of an entry: split, max_rows, filter,
shards, val_set_size, and what a row is. A step that is not known is told, never taken for nothing."""

from dataclasses import dataclass, field
from typing import Any

from finetune.importing.draft import CHANGED, IDLE, LOST, TO_DO, UNREAD, Draft, Line
from finetune.importing.filters import expression_of
from finetune.importing.folding import Function
from finetune.importing.formatting import Form, form_of, renamed
from finetune.importing.found import Object, Setting, Symbol, Unread, known
from finetune.importing.script_data import JOINS, WRAPPED, Read

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
WHERE = "an entry's `split`: train[:1000], or max_rows"


@dataclass
class State:
    """What has been done to an entry's rows until now."""

    entry: dict[str, Line]
    read: Read
    draft: Draft
    trained: bool = True
    """Whether these are the rows that are trained on; else those that are measured."""
    form: Form | None = None
    mixed: bool = False
    held: bool = False
    """Validation rows have been taken out."""
    mapped: bool = False
    renames: dict[str, str] = field(default_factory=dict)

    def idle(self, step: Object, message: str) -> None:
        self.draft.say(IDLE, step.line, f"{step.name}(…)", message)
        for setting in step.arguments.values():
            self.draft.tell(IDLE, setting, message)

    def unread(self, step: Object, message: str, advice: str = WHERE) -> None:
        shown = f"{step.name}(…)" if step.name != "[]" else "[…]"
        self.draft.say(UNREAD, step.line, shown, message, advice)
        for setting in step.arguments.values():
            self.draft.accounted.add((setting.name, setting.where))


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


def count_of(step: Object) -> tuple[int, int] | None:
    """(first, one after the last) of rows that are taken by their place; None where that is not plain to see."""
    one = step.positional[0].value if step.positional else step.get("indices", 0) or step.get("n")
    if isinstance(one, Object) and one.name == "range":
        numbers = [_least(part.value) for part in one.positional]
    else:
        numbers = [_least(one)]
        if isinstance(one, list) and one and one == list(range(len(one))):
            numbers = [len(one)]
    if not 1 <= len(numbers) <= 2 or not all(isinstance(part, int) for part in numbers):
        return None
    return (0, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])  # type: ignore[return-value]


def _least(value: Any) -> int | None:
    """A number, or the number in min(number, len(rows))."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, Object) and value.name == "min":
        given = [one.value for one in value.positional]
        rest = [one for one in given if not isinstance(one, int)]
        if len(rest) == 1 and ((isinstance(rest[0], Object) and rest[0].name == "len") or isinstance(rest[0], Unread)):
            return next((one for one in given if isinstance(one, int)), None)
    return None


def _taken(step: Object, state: State) -> None:
    found = count_of(step)
    if found is None or found[1] <= found[0]:
        state.unread(step, "which rows are taken is not read")
        return
    for setting in step.arguments.values():
        state.draft.accounted.add((setting.name, setting.where))
    if state.held:
        _of_a_part(step, found[1] - found[0], state)
        return
    _slice(step, found, state)


def _slice(step: Object, found: tuple[int, int | None], state: State) -> None:
    """Rows by their place in the source: `split: train[a:b]`, or max_rows where they were shuffled before."""
    entry, (first, last) = state.entry, found
    name = str(entry["split"].value) if "split" in entry else "train"
    if state.mixed:
        if last is None or (first, "max_rows" in entry) != (0, False):
            state.unread(step, "these are other rows of a drawing than its first")
            return
        entry["max_rows"] = Line(last, f"line {step.line}: of shuffled rows; drawn by content here", step.where)
        state.draft.say(
            "carried", step.line, f"{step.name}(…)", f"`max_rows: {last}`; which rows, goes by their content"
        )
        return
    split = _within(name, first, last)
    if split is None:
        state.unread(step, f"it takes a part of {name}, which is a part already")
        return
    entry["split"] = Line(split, f"line {step.line}: {step.name}", step.where)
    state.draft.say("carried", step.line, f"{step.name}(…)", f"`split: {split}`")


def _within(name: str, first: int, last: int | None) -> str | None:
    """`train[10:20]` and its rows from 2 to 5 -> `train[12:15]`; None for a part that is no plain range."""
    base, bracket, inside = name.partition("[")
    start, end = 0, None
    if bracket:
        low, colon, high = inside.rstrip("]").partition(":")
        if not colon or not (low + high).isdigit():
            return None
        start, end = int(low or 0), int(high) if high else None
    last = end if last is None else start + last if end is None else min(start + last, end)
    first += start
    return f"{base}[{first or ''}:{'' if last is None else last}]"


def _of_a_part(step: Object, count: int, state: State) -> None:
    """So many rows of one side of train_test_split, which has shuffled them."""
    draft = state.draft
    size = draft.value("val_set_size")
    if not state.trained:
        rest = draft.lines.pop("val_set_size", None)
        why = f"line {step.line}: {step.name}, of the rows that are held out"
        draft.lines["val_set_size"] = Line(count, why, step.where)
        for entry in draft.datasets:
            if "max_rows" in entry and rest is not None and isinstance(rest.value, int | float):
                kept = entry["max_rows"].value - _out(entry["max_rows"].value, rest.value)
                entry["max_rows"] = Line(kept + count, entry["max_rows"].why, entry["max_rows"].where)
        message = f"`val_set_size: {count}`; rows that are held out and not measured there are trained on here"
        draft.say(CHANGED, step.line, f"{step.name}(…)", message)
        return
    if not isinstance(size, int | float) or len(draft.datasets) != 1:
        state.unread(step, "so many rows of what is left after the split cannot be said here", "max_rows of an entry")
        return
    total = count + int(size) if size >= 1 else round(count / (1 - size))
    why = f"line {step.line}: {step.name}, {count} of them for training and the rest for validation"
    state.entry["max_rows"] = Line(total, why, step.where)
    message = f"`max_rows: {total}`, of which {count} are trained on; there the validation rows are of all rows"
    draft.say(CHANGED, step.line, f"{step.name}(…)", message)


def _out(rows: int, size: float) -> int:
    return int(size) if size >= 1 else round(rows * size)


def _skipped(step: Object, state: State) -> None:
    one = step.get("n", 0)
    if isinstance(one, int) and not state.held:
        _slice(step, (one, None), state)
    else:
        state.unread(step, "which rows are left out is not read")


def _sharded(step: Object, state: State) -> None:
    count, index = step.get("num_shards", 0), step.get("index", 1)
    if not isinstance(count, int) or not isinstance(index, int) or step.get("contiguous") is not False:
        state.unread(step, "which part of the rows this is is not read", "an entry's `split`: train[:10%]")
        return
    state.entry["shards"] = Line(count, f"line {step.line}: shard", step.where)
    state.entry["shards_idx"] = Line(index, f"line {step.line}: shard", step.where)
    state.draft.say("carried", step.line, "shard(…)", f"`shards: {count}`")


def _shuffled(step: Object, state: State) -> None:
    state.mixed = True
    state.idle(step, "rows are drawn in random order by `seed`")


def _sampled(step: Object, state: State) -> None:
    """pandas: so many rows, drawn by chance; all of them only shuffle."""
    count = step.get("n", 0)
    state.mixed = True
    if isinstance(count, int) and "max_rows" not in state.entry:
        _slice(step, (0, count), state)
    elif step.get("frac") in (1, 1.0):
        state.idle(step, "rows are drawn in random order by `seed`")
    else:
        state.unread(step, "how many rows are drawn is not read")


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


def _mapped(step: Object, state: State) -> None:
    draft, given = state.draft, step.setting("function", 0)
    for name, setting in step.arguments.items():
        if name != "function":
            draft.tell(IDLE, setting, "how the rows are gone through")
    function = given.value if given is not None else None
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
    draft, given = state.draft, step.setting("function", 0)
    for name, setting in step.arguments.items():
        if name != "function":
            draft.tell(IDLE, setting, "how the rows are gone through")
    function = given.value if given is not None else None
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
    "select": _taken,
    "take": _taken,
    "head": _taken,
    "skip": _skipped,
    "shard": _sharded,
    "shuffle": _shuffled,
    "sample": _sampled,
    "train_test_split": held_out,
    "map": _mapped,
    "filter": _filtered,
    "rename_column": _renamed,
    "rename_columns": _renamed,
    "rename": _renamed,
    "to_sharegpt": _to_sharegpt,
}
__all__ = ["WRAPPED", "State", "held_out", "read_steps"]
