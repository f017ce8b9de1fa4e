"""Which of a source's rows a script takes -> `split`, `max_rows` and `shards` of its entry, and val_set_size where both
sides of a split are cut down."""

from typing import Any

from finetune.importing.draft import CHANGED, Line
from finetune.importing.found import Object, Unread
from finetune.importing.script_state import State


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


def taken(step: Object, state: State) -> None:
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


def skipped(step: Object, state: State) -> None:
    one = step.get("n", 0)
    if isinstance(one, int) and not state.held:
        _slice(step, (one, None), state)
    else:
        state.unread(step, "which rows are left out is not read")


def sharded(step: Object, state: State) -> None:
    count, index = step.get("num_shards", 0), step.get("index", 1)
    if not isinstance(count, int) or not isinstance(index, int) or step.get("contiguous") is not False:
        state.unread(step, "which part of the rows this is is not read", "an entry's `split`: train[:10%]")
        return
    state.entry["shards"] = Line(count, f"line {step.line}: shard", step.where)
    state.entry["shards_idx"] = Line(index, f"line {step.line}: shard", step.where)
    state.draft.say("carried", step.line, "shard(…)", f"`shards: {count}`")


def shuffled(step: Object, state: State) -> None:
    state.mixed = True
    state.idle(step, "rows are drawn in random order by `seed`")


def sampled(step: Object, state: State) -> None:
    """pandas: so many rows, drawn by chance; all of them only shuffle."""
    count = step.get("n", 0)
    state.mixed = True
    if isinstance(count, int) and "max_rows" not in state.entry:
        _slice(step, (0, count), state)
    elif step.get("frac") in (1, 1.0):
        state.idle(step, "rows are drawn in random order by `seed`")
    else:
        state.unread(step, "how many rows are drawn is not read")


SELECTED = {
    "select": taken,
    "take": taken,
    "head": taken,
    "skip": skipped,
    "shard": sharded,
    "shuffle": shuffled,
    "sample": sampled,
}
