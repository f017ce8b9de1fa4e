"""Old and foreign spellings -> today's keys, each with a note that shows today's. Judges no value itself."""

from collections.abc import Callable
from typing import Any

from finetune.errors import Fault
from finetune.recipe.source import Path_, Source

RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "lr_scheduler_type": "lr_scheduler",
    "optim": "optimizer",
    "use_rslora": "peft_use_rslora",
}
ATTENTION = {
    "flash_attention": "flash_attention_2",
    "sdp_attention": "sdpa",
    "eager_attention": "eager",
}
FILE_TYPES = frozenset({"json", "jsonl", "csv", "parquet", "text", "arrow"})
Note = Callable[[Path_, str], None]


def today(source: Source) -> tuple[Source, list[Fault], list[Fault]]:
    """The source in today's spelling, notes on what was rewritten, and faults where old and new contradict."""
    notes: list[Fault] = []
    faults: list[Fault] = []
    lines = dict(source.lines)

    def move(path: Path_, new: Path_) -> None:
        if path in lines:
            lines[new] = lines[path]

    def note(path: Path_, message: str) -> None:
        notes.append(Fault(message, source.where(path), "note"))

    data: dict[str, Any] = {}
    for key, value in source.data.items():
        if key in ATTENTION and not isinstance(value, bool | None):
            faults.append(Fault(f"`{key}: {value}` should be true or false", source.where((key,))))
            continue
        new, new_value = _top(key, value)
        if new is None:
            continue
        if new != key:
            if new in source.data and source.data[new] is not None and value is not None:
                faults.append(Fault(f"`{key}` and `{new}` say the same thing; keep `{new}`", source.where((key,))))
                continue
            if value is None:
                continue
            move((key,), (new,))
            note((key,), f"`{key}: {_show(value)}` is written `{new}: {_show(new_value)}` today")
        data[new] = new_value
    for key in ("datasets", "test_datasets"):
        if isinstance(data.get(key), dict):
            data[key] = [data[key]]
            lines |= {(key, 0, *path[1:]): where for path, where in lines.items() if path[:1] == (key,) and path[1:]}
        if isinstance(data.get(key), list):
            data[key] = [
                _entry(item, (key, number), note) if isinstance(item, dict) else item
                for number, item in enumerate(data[key])
            ]
    return Source(source.name, data, lines), notes, faults


def _show(value: Any) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _top(key: str, value: Any) -> tuple[str | None, Any]:
    if key in RENAMED:
        return RENAMED[key], value
    if key in ATTENTION:
        return ("attn_implementation", ATTENTION[key]) if value else (None, None)
    return key, value


def _entry(entry: dict[str, Any], path: Path_, note: Note) -> dict[str, Any]:
    """One dataset entry in today's spelling."""
    new = dict(entry)
    kind = new.get("type")
    if isinstance(kind, str) and kind in FILE_TYPES:
        new.pop("type")
        note((*path, "type"), f"`type: {kind}` names a file type; the form of the rows is detected from their columns")
    elif isinstance(kind, str) and kind.startswith("sharegpt"):
        new["type"] = "chat_template"
        new.setdefault("field_messages", "conversations")
        new.setdefault("message_property_mappings", {"role": "from", "content": "value"})
        note((*path, "type"), f"`type: {kind}` is written `type: chat_template` with message_property_mappings today")
    if isinstance(new.get("ds_type"), str):
        kind = new.pop("ds_type")
        note((*path, "ds_type"), f"`ds_type: {kind}` is not needed; the file's name says it")
    properties = {
        ours: new.pop(theirs)
        for ours, theirs in (("role", "message_field_role"), ("content", "message_field_content"))
        if theirs in new
    }
    today_properties = new.get("message_property_mappings")
    if any(properties.values()) and isinstance(today_properties, dict | None):
        new["message_property_mappings"] = properties | (today_properties or {})
        note(path, "message_field_role/content are written `message_property_mappings: {role, content}` today")
    return new
