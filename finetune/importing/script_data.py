"""Where a script's rows come from: a loading, several that are joined, a table of pandas, rows of its own -> entries of
datasets, each with the steps that follow. What a step does is decided in script_steps.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.importing.draft import IDLE, LOST, TO_DO, UNREAD, Draft, Line, origin
from finetune.importing.folding import Folder
from finetune.importing.found import Object, Setting, known, value_text

KINDS = ("json", "csv", "parquet", "text", "arrow")
ENDINGS = {"json": "jsonl", "text": "txt"}
PLACED = {"split": "split", "name": "name", "revision": "revision", "config_name": "name"}
FETCHED = frozenset(
    """
    num_proc cache_dir download_mode verification_mode keep_in_memory trust_remote_code token use_auth_token
    ignore_verifications
    """.split()
)
JOINS = ("concatenate_datasets", "interleave_datasets", "concat")
FILES = {
    **dict.fromkeys(("read_csv", "from_csv", "read_table"), "csv"),
    **dict.fromkeys(("read_json", "from_json", "read_jsonl"), "json"),
    **dict.fromkeys(("read_parquet", "from_parquet"), "parquet"),
    "from_text": "text",
}
MADE = ("from_generator", "from_list", "from_dict", "from_pandas", "DataFrame", "load", "read_excel")
LOADINGS = ("load_dataset", "load_from_disk", *FILES)
NO_ROWS = ("len", "range", "from_pretrained", "zip", "enumerate", "open")
STEPS = ("map", "filter", "select", "take", "skip", "shuffle", "train_test_split", "shard", *JOINS)


@dataclass(frozen=True)
class Read:
    calls: Sequence[Object]
    values: Mapping[str, Any]
    trainer: Object | None
    settings: Mapping[str, Setting]
    method: str
    seen: set[Object] = field(default_factory=set)
    """Loadings and steps that have been read."""

    def named(self, *names: str) -> list[Object]:
        return [call for call in self.calls if call.name in names]

    def folder(self, draft: Draft) -> Folder:
        return Folder(draft.file, 0, dict(self.values))


@dataclass
class Rows:
    """Rows with one root: None where it is none that is known. `steps`: what is done to them, in order."""

    root: Object | None
    steps: list[Object]


def rows_of(value: Any, deep: int = 0) -> list[Rows]:
    """The rows that a value stands for, one for each of its sources."""
    if isinstance(value, list) and deep < 8:
        return [rows for part in value if isinstance(part, Object) for rows in rows_of(part, deep + 1)]
    steps: list[Object] = []
    for _ in range(60):
        if not isinstance(value, Object):
            break
        if value.name in JOINS and deep < 8:
            joined = rows_of(value.get("dsets") or value.get("datasets") or value.get("objs", 0), deep + 1)
            joined = joined or rows_of(value.get("datasets", 0), deep + 1)
            return [Rows(rows.root, [*rows.steps, value, *steps[::-1]]) for rows in joined]
        if value.name in LOADINGS or (value.name == "load" and "MsDataset" in value.call):
            return [Rows(value, steps[::-1])]
        inner = _before(value, steps)
        if inner is None and value.name in MADE:
            return [Rows(value, steps[::-1])]
        steps.append(value)
        value = inner
    return [Rows(None, steps[::-1])] if steps else []


def _before(value: Object, steps: list[Object]) -> Any:
    """What a step was done to."""
    parts = value.get("dataset_dict", 0)
    if value.name in ("DatasetDict", "IterableDatasetDict") and isinstance(parts, dict):
        name = steps[-1].positional[0].value if steps and steps[-1].name == "[]" else None
        steps[-1:] = [] if name in parts else steps[-1:]
        return parts.get(name, next(iter(parts.values()), None))
    if isinstance(value.base, Object):
        return value.base
    if value.name in NO_ROWS:
        return None
    first = value.get("dataset", 0)
    return first if isinstance(first, Object) else value.get("df") or value.get("mapping")


def entries_of(rows: Sequence[Rows], draft: Draft) -> list[tuple[dict[str, Line], Rows]]:
    """An entry for each source; one with a task where only the script knows the rows."""
    made = []
    for one in rows:
        if one.root is None and not any(step.name in STEPS for step in one.steps):
            continue
        entry = source_of(one.root, draft) if one.root is not None else None
        made.append((entry if entry is not None else _unknown(one, draft), one))
    return made


def _unknown(rows: Rows, draft: Draft) -> dict[str, Line]:
    first = rows.root or rows.steps[0]
    advice = "write the rows into a file and name it here, or write the hub id they come from"
    shown = f"{first.name}(…)" if first.name != "[]" else value_text(first.base)
    draft.say(TO_DO, first.line, shown, "which rows the script begins with is not read", advice)
    entry = {"path": Line("your_data.jsonl", f"TO DO: the rows of line {first.line}", first.where)}
    draft.datasets.append(entry)
    return entry


def source_of(root: Object, draft: Draft) -> dict[str, Line] | None:
    """An entry for a loading; None where its rows are made by the script."""
    if root.name in FILES:
        return _file(root, draft)
    hub = root.name == "load" and "MsDataset" in root.call
    if root.name not in ("load_dataset", "load_from_disk") and not hub:
        return None
    first = root.setting("path", 0) or root.setting("dataset_path", 0) or root.setting("dataset_name", 0)
    files = root.setting("data_files", 3)
    if first is None or not isinstance(first.value, str) or not first.value:
        if first is not None and first.value:
            draft.unread(first)
        return None
    entry = _place(first, files, draft)
    if hub:
        message = "it is loaded from ModelScope; here the name is looked up on the Hugging Face hub"
        draft.say(TO_DO, root.line, f"MsDataset.load({first.value!r})", message, "check the name, or name a file")
    _placed(root, (first, files), entry, draft)
    draft.datasets.append(entry)
    return entry


def _placed(root: Object, done: tuple[Any, ...], entry: dict[str, Line], draft: Draft) -> None:
    """Which part of a source is loaded."""
    name = root.setting("name", 1) or root.setting("subset_name")
    for setting in (*root.arguments.values(), *((name,) if name is not None and name.key.isdigit() else ())):
        if setting in done:
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


def _place(first: Setting, files: Setting | None, draft: Draft) -> dict[str, Line]:
    path, value = str(first.value), files.value if files is not None else None
    value = value.get("train", next(iter(value.values()), None)) if isinstance(value, dict) else value
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if files is not None and not known(value):
        draft.unread(files, value)
        value = None
    elif files is not None:
        draft.tell("carried", files, f"`datasets`: {value_text(value)}")
    draft.tell("carried", first, f"`datasets.path: {path}`")
    if path in KINDS and isinstance(value, str) and value:
        return {"path": Line(value, origin(files or first), first.where)}
    if path in KINDS and not value:
        draft.say(
            TO_DO, first.where.line, f"load_dataset({path!r})", "the file it reads is not known", "write its path"
        )
        name = f"your_data.{ENDINGS.get(path, path)}"
        return {"path": Line(name, "TO DO: the file that is loaded", first.where)}
    entry = {"path": Line(path, origin(first), first.where)}
    if value is not None:
        entry["data_files"] = Line(value, origin(files or first), first.where)
    return entry


def _file(root: Object, draft: Draft) -> dict[str, Line]:
    """A table that pandas reads, or a file that is read line by line."""
    kind = FILES[root.name]
    first = next((one for name in ("path_or_buf", "filepath_or_buffer", "path", "path_or_paths")
                  if (one := root.setting(name, 0))), None)  # fmt: skip
    if first is not None and isinstance(first.value, str) and first.value:
        entry = {"path": Line(first.value, origin(first), first.where)}
        draft.tell("carried", first, f"`datasets.path: {first.value}`")
    else:
        draft.say(TO_DO, root.line, f"{root.name}(…)", "the file it reads is not known", "write its path")
        name = f"your_data.{ENDINGS.get(kind, kind)}"
        entry = {"path": Line(name, "TO DO: the file that is read", root.where)}
    for setting in root.arguments.values():
        if setting is first:
            continue
        if setting.key in ("lines", "encoding", "orient", "engine", "index_col", "low_memory", "header"):
            draft.tell(IDLE, setting, "how the file is read")
        elif setting.key == "nrows" and isinstance(setting.value, int):
            entry["split"] = Line(f"train[:{setting.value}]", origin(setting), setting.where)
            draft.tell("carried", setting, f"`split: train[:{setting.value}]`")
        else:
            draft.tell(LOST, setting, "the file's own columns and kind are taken", "see docs/data.md")
    draft.datasets.append(entry)
    return entry


def leftover(read: Read, draft: Draft) -> None:
    """What a script does to rows of which it was not seen that they are trained on."""
    told = {(call.where, call.name) for call in read.seen}
    for call in read.calls:
        of_rows = call.name in STEPS and (call.base is not None or call.name in JOINS or "." in call.call)
        if not (of_rows or call.name in ("load_dataset", "load_from_disk")) or (call.where, call.name) in told:
            continue
        if call.call.startswith(("random.", "numpy.", "np.", "torch.")):
            continue
        told.add((call.where, call.name))
        first = next((one.value for one in call.positional), None)
        shown = f"{call.name}({value_text(first) if first is not None else '…'})"
        message = "it was not seen to lead to the rows that are trained on"
        draft.say(UNREAD, call.line, shown, message, "if it does, say it in datasets")
        for setting in call.arguments.values():
            draft.accounted.add((setting.name, setting.where))
