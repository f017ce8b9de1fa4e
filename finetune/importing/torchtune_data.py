"""torchtune's data sets -> entries of datasets, and what is learned of their rows."""

from collections.abc import Mapping
from typing import Any

from finetune.importing.draft import CHANGED, IDLE, LOST, TO_DO, UNREAD, Draft, Line, origin
from finetune.importing.found import Setting
from finetune.importing.rules import Carry, Lost, apply_one
from finetune.importing.torchtune_arguments import DATASET, DATASETS, Data, named
from finetune.recipe.source import Source

Settings = Mapping[str, Setting]
PLACED = {"split": "split", "name": "name", "subset": "name", "data_files": "data_files"}


def read_data(source: Source, top: Settings, tokenizer: Settings, draft: Draft) -> None:
    for key, list_name in (("dataset", "datasets"), ("dataset_val", "test_datasets")):
        given = source.data.get(key)
        if given is None:
            continue
        draft.accounted.add((top[key].name, top[key].where))
        parts = given if isinstance(given, list) else [given]
        for number, part in enumerate(parts):
            if not isinstance(part, Mapping):
                draft.unread(top[key])
                continue
            prefix = (key, number) if isinstance(given, list) else (key,)
            settings = _inside(source, prefix, part)
            kept = list_name == "test_datasets"
            entry = _entry(settings, top[key], draft, kept)
            getattr(draft, list_name).append(entry)
    length = tokenizer.get("max_seq_len")
    if length is not None and length.value is not None:
        draft.put("sequence_len", length.value, length)
    elif length is not None:
        draft.tell(CHANGED, length, "rows of any length are trained on there", "set sequence_len to the longest row")


def _inside(source: Source, prefix: tuple[str | int, ...], part: Mapping[str, Any]) -> dict[str, Setting]:
    places = {name: (*prefix, name) for name in part}
    return {name: Setting(".".join(map(str, at)), part[name], source.where(at)) for name, at in places.items()}


def _entry(settings: Settings, top: Setting, draft: Draft, test: bool) -> dict[str, Line]:
    component = settings.get("_component_")
    name = named(str(component.value)) if component is not None else ""
    known = DATASETS.get(name)
    place = component or top
    if known is None:
        message = f"the data set {name or 'here'} is none that is known"
        draft.say(TO_DO, place.where.line, f"_component_={name}", message, "write its path and what its rows are")
        known = Data()
    source = settings.get("source")
    path = str(source.value) if source is not None else known.source
    why = origin(source) if source is not None else f"line {place.where.line}: {name}"
    entry = {"path": Line(path or "your_data.jsonl", why if path else "TO DO: the file names no source", place.where)}
    for setting in (component, source):
        if setting is not None:
            draft.tell("carried", setting, f"`datasets.path: {path}`")
    for key, value in known.entry.items():
        entry[key] = Line(dict(value) if isinstance(value, Mapping) else value, f"{name} reads rows so")
    if known.note:
        draft.say(CHANGED, place.where.line, name, known.note, "write the wording as a mapping under `type`")
    packed = settings.get("packed")
    for setting in settings.values():
        _one(setting, entry, draft)
    _columns(settings.get("column_map"), name, entry, draft)
    _conversations(settings, entry, draft)
    if not test:
        _learned(settings, known, draft)
        if packed is not None and packed.value is True:
            draft.put("sample_packing", True, packed)
    elif packed is not None and packed.value is not None:
        draft.tell(IDLE, packed, "validation rows are packed as the others")
    if packed is not None and (packed.name, packed.where) not in draft.accounted:
        draft.tell(IDLE, packed, "rows are not packed, as when it is not written")
    return entry


def _one(setting: Setting, entry: dict[str, Line], draft: Draft) -> None:
    rule = DATASET.get(setting.key)
    if setting.key in PLACED:
        if setting.value in (None, "train"):
            draft.tell(IDLE, setting, "as when it is not written")
        else:
            entry[PLACED[setting.key]] = Line(setting.value, origin(setting), setting.where)
            draft.tell("carried", setting, f"`datasets.{PLACED[setting.key]}`")
    elif setting.key == "column":
        entry["field"] = Line(setting.value, origin(setting), setting.where)
        draft.tell("carried", setting, "`datasets.field`")
    elif setting.key == "max_seq_len" and setting.value is not None:
        draft.put("sequence_len", setting.value, setting)
    elif isinstance(rule, Carry | Lost) or setting.key in ("add_eos", "split_across_pack"):
        assert rule is not None
        apply_one(setting, rule, draft)
    elif rule is None and setting.key != "_component_":
        draft.tell(LOST, setting, "an entry of datasets has no such key", "see docs/sources.md")


def _columns(setting: Setting | None, name: str, entry: dict[str, Line], draft: Draft) -> None:
    if setting is None:
        return
    given = setting.value
    if not isinstance(given, Mapping):
        draft.tell(IDLE if given is None else UNREAD, setting, "which columns are read")
        return
    form = entry["type"].value if "type" in entry else None
    names = {"instruction": "field_instruction", "input": "field_input", "output": "field_output"}
    if isinstance(form, dict):
        if name in ("instruct_dataset", "grammar_dataset"):
            names = {"input": "field_instruction", "output": "field_output"}
        for theirs, ours in names.items():
            if theirs in given:
                form[ours] = given[theirs]
    else:
        pairs = {"prompt": "field_prompt", "chosen": "field_chosen", "rejected": "field_rejected"}
        chat = {"conversations": "field_messages", "messages": "field_messages", "text": "field"}
        for theirs, ours in {**pairs, **chat}.items():
            if theirs in given:
                entry[ours] = Line(given[theirs], origin(setting), setting.where)
    draft.tell("carried", setting, "the columns of the entry")


def _conversations(settings: Settings, entry: dict[str, Line], draft: Draft) -> None:
    column, style = settings.get("conversation_column"), settings.get("conversation_style")
    if column is not None:
        entry["field_messages"] = Line(column.value, origin(column), column.where)
        draft.tell("carried", column, f"`field_messages: {column.value}`")
    if style is not None:
        names = (
            {"role": "from", "content": "value"}
            if style.value == "sharegpt"
            else {"role": "role", "content": "content"}
        )
        entry["message_property_mappings"] = Line(names, origin(style), style.where)
        draft.tell("carried", style, "`message_property_mappings`")


def _learned(settings: Settings, known: Data, draft: Draft) -> None:
    if draft.value("rl"):
        for key in ("train_on_input", "masking_strategy"):
            if key in settings:
                draft.tell(IDLE, settings[key], "of pairs only the answers count")
        return
    written, how = settings.get("train_on_input"), settings.get("masking_strategy")
    if how is not None:
        draft.put("train_on_inputs", how.value == "train_on_all", how)
    if written is not None:
        draft.put("train_on_inputs", written.value, written)
    if known.entry.get("type") == "completion":
        return
    if "train_on_inputs" not in draft.lines:
        draft.assume("train_on_inputs", known.inputs, "not written; that is what its data set does")
        if known.inputs:
            advice = "train_on_inputs: false learns the answers alone, which is usually meant"
            draft.say(CHANGED, 0, "train_on_input", "it is on there unless this says otherwise", advice)
