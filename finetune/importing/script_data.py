"""A script's data -> entries of datasets: where rows come from, which are taken, what one is and what is learned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.importing.draft import CHANGED, IDLE, LOST, TO_DO, UNREAD, Draft, Line, origin
from finetune.importing.folding import Folder, Function
from finetune.importing.formatting import Form, form_of
from finetune.importing.found import Object, Setting, Symbol, Unread, known, value_text

KINDS = ("json", "csv", "parquet", "text", "arrow")
PLACED = {"split": "split", "name": "name", "revision": "revision", "config_name": "name"}
FETCHED = frozenset(
    """
    num_proc cache_dir download_mode verification_mode keep_in_memory trust_remote_code token use_auth_token
    ignore_verifications
    """.split()
)
LOADINGS = frozenset(
    """
    load_dataset load_from_disk concatenate_datasets interleave_datasets from_generator from_list from_dict from_pandas
    from_json from_csv
    """.split()
)


@dataclass(frozen=True)
class Read:
    calls: Sequence[Object]
    values: Mapping[str, Any]
    trainer: Object | None
    settings: Mapping[str, Setting]
    method: str

    def named(self, *names: str) -> list[Object]:
        return [call for call in self.calls if call.name in names]

    def folder(self, draft: Draft) -> Folder:
        return Folder(draft.file, 0, dict(self.values))


def chain(value: Any) -> tuple[Object | None, list[Object]]:
    """(the loading, what was done to its rows in order)."""
    steps: list[Object] = []
    for _ in range(40):
        if not isinstance(value, Object):
            return None, steps[::-1]
        if value.name in LOADINGS:
            return value, steps[::-1]
        steps.append(value)
        inner = value.base if isinstance(value.base, Object) else value.get("dataset", 0)
        value = inner
    return None, steps[::-1]


def source_of(root: Object, draft: Draft) -> dict[str, Line] | None:
    """An entry for a loading; None where its rows are made by the script."""
    if root.name not in ("load_dataset", "load_from_disk"):
        advice = "write the rows into a file, or list the sources under datasets"
        draft.say(TO_DO, root.line, f"{root.name}(…)", "rows that the script makes or joins are not read", advice)
        return None
    first = root.setting("path", 0) or root.setting("dataset_path", 0)
    files = root.setting("data_files", 3)
    if first is None or not isinstance(first.value, str):
        if first is not None:
            draft.unread(first)
        return None
    entry = _place(first, files, draft)
    name = root.setting("name", 1)
    for setting in (*root.arguments.values(), *((name,) if name is not None else ())):
        if setting in (first, files):
            continue
        key = "name" if setting is name else PLACED.get(setting.key, "")
        if setting.value is None or setting.key in FETCHED:
            draft.tell(IDLE, setting, "how the rows are fetched")
        elif key and isinstance(setting.value, str):
            if key == "split" and "+" in setting.value:
                draft.tell(LOST, setting, "one entry takes one split", "write an entry for each")
            else:
                entry[key] = Line(setting.value, origin(setting), setting.where)
                draft.tell("carried", setting, f"`datasets.{key}: {setting.value}`")
        elif setting.key == "streaming":
            draft.put("streaming", setting.value, setting)
        elif known(setting.value):
            draft.tell(LOST, setting, "an entry of datasets has no such key", "data_files or split may say it")
        else:
            draft.unread(setting)
    draft.datasets.append(entry)
    return entry


def _place(first: Setting, files: Setting | None, draft: Draft) -> dict[str, Line]:
    path, value = str(first.value), files.value if files is not None else None
    value = value.get("train", next(iter(value.values()), None)) if isinstance(value, dict) else value
    if files is not None and not known(files.value):
        draft.unread(files)
        value = None
    elif files is not None:
        draft.tell("carried", files, f"`datasets`: {value_text(value)}")
    draft.tell("carried", first, f"`datasets.path: {path}`")
    if path in KINDS and isinstance(value, str):
        return {"path": Line(value, origin(files or first), first.where)}
    if path in KINDS and value is None:
        draft.say(
            TO_DO, first.where.line, f"load_dataset({path!r})", "the file it reads is not known", "write its path"
        )
        return {"path": Line("your_data." + path, "TO DO: the file that is loaded", first.where)}
    entry = {"path": Line(path, origin(first), first.where)}
    if value is not None:
        entry["data_files"] = Line(value, origin(files or first), first.where)
    return entry


def read_steps(entry: dict[str, Line], steps: list[Object], read: Read, draft: Draft) -> Form | None:
    """What is done to the rows before training."""
    form: Form | None = None
    mixed = False
    for step in steps:
        if step.name == "[]":
            _split(entry, step, draft)
        elif step.name in ("select", "take"):
            taken_rows(entry, step, mixed, draft)
        elif step.name == "shuffle":
            mixed = True
            _idle(step, "rows are drawn in random order by `seed`", draft)
        elif step.name == "train_test_split":
            held_out(step, draft)
        elif step.name == "map":
            form = _mapped(step, read, draft) or form
        elif step.name in ("filter",):
            advice = "an entry's `filter` is an expression over a row: filter: row.score > 3"
            draft.say(LOST, step.line, "filter(…)", "which rows the function keeps is not read", advice)
        elif step.name in ("standardize_sharegpt", "standardize_data_formats"):
            _idle(step, "messages are read whatever their fields are called", draft)
        elif step.name in ("rename_column", "rename_columns"):
            draft.say(
                CHANGED, step.line, f"{step.name}(…)", "columns have the file's own names here", "see docs/data.md"
            )
        elif step.name == "to_sharegpt":
            draft.say(
                TO_DO,
                step.line,
                "to_sharegpt(…)",
                "its columns and wording are not read",
                "write `type` as a mapping with as_turns: true",
            )
        else:
            _idle(step, "what remains in a row is not learned from", draft)
    return form


def _idle(step: Object, message: str, draft: Draft) -> None:
    draft.say(IDLE, step.line, f"{step.name}(…)", message)
    for setting in step.arguments.values():
        draft.tell(IDLE, setting, message)


def _split(entry: dict[str, Line], step: Object, draft: Draft) -> None:
    name = step.positional[0].value if step.positional else None
    if isinstance(name, str) and "split" not in entry and name not in ("test",) and "val_set_size" not in draft.lines:
        if name != "train":
            entry["split"] = Line(name, f"line {step.line}: [{name!r}]", step.where)
    elif isinstance(name, Unread):
        draft.say(
            LOST, step.line, f"[{name.text}]", "which rows these are is not read", "an entry's `split`: train[:1000]"
        )


def taken_rows(entry: dict[str, Line], step: Object, mixed: bool, draft: Draft) -> None:
    one = step.positional[0].value if step.positional else step.get("indices") or step.get("n")
    numbers = [part.value for part in one.positional] if isinstance(one, Object) and one.name == "range" else [one]
    if not all(isinstance(part, int) for part in numbers) or not numbers or len(numbers) > 2:
        draft.say(
            UNREAD,
            step.line,
            f"{step.name}(…)",
            "which rows are taken is not read",
            "`split: train[:1000]` or max_rows",
        )
        return
    first, last = (0, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])
    name = str(entry["split"].value) if "split" in entry else "train"
    if mixed and first == 0:
        entry["max_rows"] = Line(last, f"line {step.line}: of shuffled rows; drawn by content here", step.where)
    elif "[" not in name:
        entry["split"] = Line(f"{name}[{first or ''}:{last}]", f"line {step.line}: {step.name}", step.where)
    draft.say("carried", step.line, f"{step.name}(…)", "`split` or `max_rows` of the entry")


def held_out(step: Object, draft: Draft) -> None:
    size, share = step.setting("test_size", 0), step.setting("train_size", 1)
    if size is not None:
        draft.put(
            "val_set_size",
            size.value,
            Setting(
                f"train_test_split.{size.key}" if not size.key.isdigit() else "train_test_split.test_size",
                size.value,
                size.where,
            ),
        )
    elif share is not None and isinstance(share.value, float):
        draft.put("val_set_size", round(1 - share.value, 6), share)
    elif share is not None:
        draft.tell(TO_DO, share, "how many rows are held out is not known", "write val_set_size")
    else:
        draft.assume("val_set_size", 0.25, f"line {step.line}: train_test_split without a size")
    for name, setting in step.arguments.items():
        if name not in ("test_size", "train_size"):
            draft.tell(IDLE, setting, "which rows are held out goes by their content")


def _mapped(step: Object, read: Read, draft: Draft) -> Form | None:
    given = step.setting("function", 0)
    for name, setting in step.arguments.items():
        if name != "function":
            draft.tell(IDLE, setting, "how the rows are gone through")
    function = given.value if given is not None else None
    if isinstance(function, Symbol) and function.text.endswith(("standardize_sharegpt", "standardize_data_formats")):
        return None
    form = form_of(function, read.folder(draft)) if isinstance(function, Function) else None
    shown = function.text if isinstance(function, Function | Symbol) else "a function"
    if form is None:
        advice = "say what a row is with `type` and its columns; finetune preview shows what becomes of it"
        draft.say(TO_DO, step.line, f"map({shown})", "what the function makes of a row is not plain to see", advice)
        return None
    draft.say("carried", step.line, f"map({shown})", f"the form of a row: {form.kind}")
    for note in form.notes:
        draft.say(CHANGED, step.line, f"map({shown})", note)
    return form
