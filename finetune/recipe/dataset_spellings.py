"""Old and foreign spellings inside one entry of `datasets` -> today's. Judges no value itself."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from finetune.errors import Fault
from finetune.recipe.rewrite import Found, Rewrite
from finetune.recipe.rows import Form
from finetune.recipe.source import Path_

FILE_TYPES = frozenset({"json", "jsonl", "csv", "parquet", "text", "arrow"})
CONVERSATIONS = {
    "chatml": "chatml",
    "llama3": "llama3",
    "llama-3": "llama3",
    "phi_3": "phi_3",
    "phi-3": "phi_3",
    "llama-2": "llama2",
    "vicuna_v1.1": "vicuna",
    "zephyr": "zephyr",
    "gemma": "gemma",
}
"""FastChat's names of templates, as `conversation:` had them, that are templates here."""
GREETED, GREETING = ("chatml", "llama3"), "You are a helpful assistant."
"""What Axolotl's layouts of 2023 and 2024 wrote where a row had no system turn."""
BY_TEMPLATE = ("chat_template", "prompt_completion", "question_answer", "summarization", "translation")
"""Types whose rows a template writes."""
PROPERTIES = {"message_field_role": "role", "message_field_content": "content"}
OTHER_KINDS = {"jsonl": "json", "txt": "text", "tsv": "csv"}
"""Endings of files that people write as ds_type."""
RENAMED = {"train_on_split": "split", "field_text": "field", "data_path": "path"}


def rewrites_of_entry(entry: Mapping[str, Any], path: Path_, data: Mapping[str, Any]) -> Found:
    yield from _type(entry, path, data)
    yield from _conversation(entry, path, data)
    yield from _template(entry, path, data)
    yield from _data_files(entry, path)
    kind = entry.get("ds_type")
    if isinstance(kind, str) and kind in OTHER_KINDS:
        new = OTHER_KINDS[kind]
        yield Rewrite((*path, "ds_type"), {(*path, "ds_type"): new}, f"`ds_type: {kind}` is written `ds_type: {new}`")
    for old, new in RENAMED.items():
        if old in entry:
            value = entry[old]
            if value is not None and entry.get(new) not in (None, value):
                yield Fault(f"`{old}` and `{new}` say the same thing; keep `{new}`", code=_place(*path, old))
            else:
                note = f"`{old}: {value}` is written `{new}: {value}` today" if value is not None else ""
                yield Rewrite((*path, old), {(*path, new): value} if value is not None else {}, note)
    yield from _properties(entry, path)


def _place(*path: str | int) -> str:
    """The line to point at, as the code of a fault whose place is not known yet."""
    return ".".join(map(str, path))


def _type(entry: Mapping[str, Any], path: Path_, data: Mapping[str, Any]) -> Iterator[Rewrite]:
    kind, where = entry.get("type"), (*path, "type")
    if not isinstance(kind, str):
        return
    if kind in FILE_TYPES:
        note = f"`type: {kind}` names a file type; the form of the rows is detected from their columns"
        yield Rewrite(where, {}, note)
    elif kind.endswith(".load") and kind.removesuffix(".load") in get_args(Form):
        short = kind.removesuffix(".load")
        yield Rewrite(where, {where: short}, f"`type: {kind}` is written `type: {short}` today")
    elif kind == "chat_template.default":
        yield Rewrite(where, {where: "chat_template"}, f"`type: {kind}` is written `type: chat_template` today")
    elif kind.split(".")[0].split(":")[0].split("_")[0] == "sharegpt":
        new: dict[Path_, Any] = {where: "chat_template"}
        if "field_messages" not in entry:
            new[*path, "field_messages"] = "conversations"
        if not entry.get("message_property_mappings") and not any(entry.get(old) for old in PROPERTIES):
            new[*path, "message_property_mappings"] = {"role": "from", "content": "value"}
        note = f"`type: {kind}` is written `type: chat_template` with message_property_mappings today"
        if not any(given.get(key) for key in ("conversation", "chat_template") for given in (entry, data)):
            note += ". It named no template: Axolotl wrote such rows in Vicuna's (chat_template: vicuna), and here "
            note += "base_model's own is taken"
        yield Rewrite(where, new, note)


def _conversation(entry: Mapping[str, Any], path: Path_, data: Mapping[str, Any]) -> Found:
    if "conversation" not in entry:
        return
    style, where = entry["conversation"], (*path, "conversation")
    template = CONVERSATIONS.get(str(style))
    others = {other["conversation"] for other in _entries(data) if isinstance(other.get("conversation"), str)}
    kind = str(entry.get("type"))
    if style is None:
        yield Rewrite(where, {})
    elif kind in get_args(Form) and kind not in BY_TEMPLATE:
        also = f", such as `type: alpaca:{style}`" if style in ("chatml", "phi") and kind.startswith("alpaca") else ""
        message = f"`conversation` counts only with messages; the rows of `type: {kind}` are worded by their type{also}"
        yield Fault(f"{message}. Remove the line", code=_place(*where))
    elif template is None:
        message = f"`conversation: {style}` names a template that is not known here: remove it and write chat_template"
        yield Fault(message, code=_place(*where))
    elif len({CONVERSATIONS.get(other) for other in others}) > 1:
        yield Fault("`conversation` names several templates, and one holds for all datasets", code=_place(*where))
    elif data.get("chat_template") not in (None, template):
        yield Fault("`conversation` and `chat_template` say the same thing; keep `chat_template`", code=_place(*where))
    else:
        note = f"`conversation: {style}` is written `chat_template: {template}`, for all datasets, today"
        if template in GREETED and not data.get("default_system_message"):
            note += (
                f". It also began rows that have no system turn with `{GREETING}`, which default_system_message says"
            )
        yield Rewrite(where, {("chat_template",): template}, note)


def _entries(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for key in ("datasets", "test_datasets"):
        entries = data.get(key)
        yield from (entry for entry in (entries if isinstance(entries, list) else ()) if isinstance(entry, dict))


def _template(entry: Mapping[str, Any], path: Path_, data: Mapping[str, Any]) -> Iterator[Rewrite]:
    """A template that every source of messages names is the recipe's. Any other is left for the reader to refuse."""
    template = entry.get("chat_template")
    if not isinstance(template, str) or template == "jinja":
        return
    plain = ("alpaca", "completion")
    named = [other.get("chat_template") for other in _entries(data) if other.get("type") not in plain]
    top = data.get("chat_template")
    if entry.get("type") not in plain and all(other == template for other in named) and top in (None, template):
        note = f"`chat_template: {template}` of a dataset is written at the top level today"
        yield Rewrite((*path, "chat_template"), {("chat_template",): template}, note)


def _data_files(entry: Mapping[str, Any], path: Path_) -> Iterator[Rewrite]:
    """`path: json` with one file of `data_files` is how the datasets library spells a local file."""
    files = entry.get("data_files")
    file = files[0] if isinstance(files, list) and len(files) == 1 else files
    if str(entry.get("path")) in FILE_TYPES and isinstance(file, str) and file:
        note = f"`path: {entry['path']}` with `data_files: {file}` is written `path: {file}` today"
        yield Rewrite((*path, "data_files"), {(*path, "path"): file}, note)


def _properties(entry: Mapping[str, Any], path: Path_) -> Found:
    mapping = (*path, "message_property_mappings")
    for old, new in PROPERTIES.items():
        if old not in entry:
            continue
        inner = entry.get("message_property_mappings")
        if entry[old] is None:
            yield Rewrite((*path, old), {})
        elif isinstance(inner, dict | None):
            value = entry[old]
            if (inner or {}).get(new) not in (None, value):
                message = f"`{old}` and `message_property_mappings.{new}` say the same thing; keep the second"
                yield Fault(message, code=_place(*path, old))
                continue
            note = f"`{old}: {entry[old]}` is written `message_property_mappings: {{{new}: {value}}}` today"
            yield Rewrite((*path, old), {(*mapping, new): value}, note)
