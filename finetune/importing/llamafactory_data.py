"""LLaMA-Factory's data and templates -> entries of datasets and a chat template.

dataset_info.json is read where it lies; nothing is fetched. Its rows become turns of the template in any form."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.importing.draft import CHANGED, IDLE, LOST, TO_DO, UNREAD, Draft, Line, origin
from finetune.importing.found import Setting
from finetune.recipe.template_names import SPELLINGS

TURNS = {"format": "{instruction}\n{input}", "no_input_format": "{instruction}", "as_turns": True}
"""How an instruction and its input become a question there."""
OWN = "tokenizer_default"
TEMPLATES = {
    **{name: name for name in "chatml gemma gemma3 gemma3n gemma4 llama2 llama3 llama4 alpaca vicuna zephyr".split()},
    "gemma2": "gemma",
    "llama3.1": "llama3_1",
    "qwen": "qwen_25",
    "qwen3": "qwen3",
    "qwen3_5": "qwen3_5",
    "mistral": "mistral_v1",
    "ministral": "mistral_v3_tekken",
    "mistral_small": "mistral_v7_tekken",
    "phi": "phi_35",
    "phi_small": "phi_35",
    "phi4": "phi_4",
    "phi4_mini": OWN,
    "cohere": "cohere",
    "deepseek3": "deepseek_v3",
    "exaone": "exaone",
    "falcon_h1": "falcon_h1",
    "qwen3_nothink": "chatml",
    "qwen3_5_nothink": OWN,
    "smollm2": OWN,
    "smollm": OWN,
    "glm4": OWN,
    "gpt_oss": OWN,
    "granite3": OWN,
    "granite4": OWN,
    "lfm2": OWN,
    "yi": OWN,
    "intern2": OWN,
    "olmo": OWN,
    "deepseek": OWN,
    "deepseekr1": OWN,
    "baichuan2": OWN,
}
"""Their name -> ours; OWN where the model's own is the same layout."""
REASONING = ("qwen3", "qwen3_5", "deepseekr1", "glm4_moe", "gemma4")
PICTURES = ("images", "videos", "audios")


def read_data(settings: Mapping[str, Setting], stage: str, folder: Path, draft: Draft) -> None:
    info, told = _info(settings, folder)
    place = settings.get("dataset_dir")
    if place is not None:
        draft.tell(IDLE, place, told)
    names = settings.get("dataset")
    if names is None:
        return
    for key, list_name in (("dataset", "datasets"), ("eval_dataset", "test_datasets")):
        setting = settings.get(key)
        if setting is None or not setting.value:
            continue
        given = setting.value if isinstance(setting.value, list) else str(setting.value).split(",")
        for name in (str(one).strip() for one in given):
            entry = _entry(name, info, setting, stage, draft)
            entries: list[dict[str, Line]] = getattr(draft, list_name)
            entries.append(entry)
        draft.tell("carried", setting, f"`{list_name}`: {', '.join(str(one).strip() for one in given)}")
    _most(settings.get("max_samples"), draft)


def _info(settings: Mapping[str, Setting], folder: Path) -> tuple[Mapping[str, Any] | None, str]:
    """(dataset_info.json, what to say of it); None where it lies nowhere near."""
    setting = settings.get("dataset_dir")
    where = setting.value if setting is not None else "data"
    if isinstance(where, Mapping):
        return where, "read as dataset_info.json"
    if where == "ONLINE":
        return {}, "every name is the hub's"
    for base in (Path(), folder, *list(folder.absolute().parents)[:4]):
        for path in (base / str(where) / "dataset_info.json", base / "dataset_info.json"):
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(found, dict):
                return {"": str(path.parent), **found}, f"read: {path}"
    return None, "no dataset_info.json was found there"


def _entry(name: str, info: Mapping[str, Any] | None, names: Setting, stage: str, draft: Draft) -> dict[str, Line]:
    made = info.get(name) if info is not None else None
    if not isinstance(made, Mapping):
        if info == {}:
            return {"path": Line(name, origin(names), names.where)}
        why = "there is no dataset_info.json near the file" if info is None else "dataset_info.json does not have it"
        message = f"what the data set {name!r} is cannot be known: {why}"
        draft.say(TO_DO, names.where.line, f"dataset={name}", message, "write its path, and `type` if it is not found")
        return {"path": Line(name, f"TO DO: {why}; write the file's path or its hub id", names.where)}
    entry = _place(name, made, str((info or {}).get("", "data")), names, draft)
    for ours, theirs in (("name", "subset"), ("split", "split")):
        if made.get(theirs) and made[theirs] != "train":
            entry[ours] = Line(made[theirs], f"dataset_info.json: {theirs}")
    if made.get("num_samples"):
        entry["max_rows"] = Line(made["num_samples"], "dataset_info.json: num_samples; drawn by content here")
    if made.get("folder"):
        entry["data_files"] = Line(f"{made['folder']}/**", "dataset_info.json: folder")
    columns, tags = _mapping(made.get("columns")), _mapping(made.get("tags"))
    for part in PICTURES:
        if columns.get(part):
            message = f"the data set {name!r} has {part}; rows here are text"
            draft.say(LOST, names.where.line, f"{name}.columns.{part}", message)
    if made.get("formatting", "alpaca") in ("sharegpt", "openai"):
        _turns(entry, made, columns, tags)
    else:
        _instructions(entry, (name, names.where.line), columns, stage, draft)
    _answers(entry, columns, stage)
    return entry


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _place(name: str, made: Mapping[str, Any], folder: str, names: Setting, draft: Draft) -> dict[str, Line]:
    where = names.where
    if made.get("hf_hub_url"):
        return {"path": Line(made["hf_hub_url"], f"{name}: hf_hub_url", where)}
    if made.get("file_name"):
        return {"path": Line(f"{folder}/{made['file_name']}", f"{name}: file_name", where)}
    if made.get("cloud_file_name"):
        return {"path": Line(made["cloud_file_name"], f"{name}: cloud_file_name", where)}
    kind = next((key for key in ("script_url", "ms_hub_url", "om_hub_url") if made.get(key)), "")
    message = f"the data set {name!r} is a {kind or 'source'} that is not read here"
    draft.say(TO_DO, where.line, f"dataset={name}", message, "write a file's path or a hub id")
    return {"path": Line(str(made.get(kind) or name), "TO DO: write a file's path or a hub id", where)}


def _turns(
    entry: dict[str, Line], made: Mapping[str, Any], columns: Mapping[str, Any], tags: Mapping[str, Any]
) -> None:
    entry["type"] = Line("chat_template", f"dataset_info.json: {made['formatting']}")
    messages = columns.get("messages")
    if "columns" not in made:
        messages = "conversations"
    if messages:
        entry["field_messages"] = Line(messages, "dataset_info.json: columns")
    openai = made["formatting"] == "openai" and not tags
    role, content = (tags.get("role_tag") or "from", tags.get("content_tag") or "value")
    if openai:
        role, content = "role", "content"
    entry["message_property_mappings"] = Line({"role": role, "content": content}, "dataset_info.json: tags")
    roles = {
        ours: [tags[theirs]]
        for ours, theirs in (
            ("user", "user_tag"),
            ("assistant", "assistant_tag"),
            ("system", "system_tag"),
            ("tool", "observation_tag"),
        )
        if tags.get(theirs)
        and tags[theirs] not in ("human", "user", "gpt", "assistant", "system", "observation", "tool")
    }
    if roles:
        entry["roles"] = Line(roles, "dataset_info.json: tags")
    if columns.get("system"):
        entry["field_system"] = Line(columns["system"], "dataset_info.json: columns")
    if columns.get("tools") and columns["tools"] != "tools":
        entry["field_tools"] = Line(columns["tools"], "dataset_info.json: columns")


def _instructions(
    entry: dict[str, Line], named: tuple[str, int], columns: Mapping[str, Any], stage: str, draft: Draft
) -> None:
    """Alpaca's columns, which become turns of the template there. `named`: the data set and the line that names it."""
    name, line = named
    question, extra = columns.get("prompt", "instruction"), columns.get("query", None if columns else "input")
    answer = columns.get("response", "output")
    if stage == "pt":
        entry["type"] = Line("completion", "stage: pt")
        entry["field"] = Line(columns.get("prompt", "instruction"), "dataset_info.json: columns.prompt")
        return
    if columns.get("history"):
        message = f"the column {columns['history']!r} of {name!r} holds earlier turns; they are left out"
        draft.say(LOST, line, f"{name}.columns.history", message, "write the rows as messages")
    if stage != "sft":
        entry["type"] = Line("chat_template", "dataset_info.json: alpaca")
        entry["field_prompt"] = Line(question, "dataset_info.json: columns.prompt")
        if extra:
            message = f"the column {extra!r} of {name!r} belongs to the question there, and is left out"
            draft.say(LOST, line, f"{name}.columns.query", message, "join the two columns in the file")
        if stage == "kto":
            entry["field_completion"] = Line(answer, "dataset_info.json: columns.response")
        return
    how: dict[str, Any] = {"field_instruction": question, "field_input": extra or "", "field_output": answer}
    if columns.get("system"):
        how["field_system"] = columns["system"]
    entry["type"] = Line({**how, **TURNS}, "dataset_info.json: alpaca's columns, as turns of the chat template")


def _answers(entry: dict[str, Line], columns: Mapping[str, Any], stage: str) -> None:
    if stage in ("dpo", "rm"):
        for part in ("chosen", "rejected"):
            if columns.get(part, part) != part:
                entry[f"field_{part}"] = Line(columns[part], "dataset_info.json: columns")
    if stage == "kto" and columns.get("kto_tag") not in (None, "kto_tag", "label"):
        entry["field_label"] = Line(columns["kto_tag"], "dataset_info.json: columns")


def _most(setting: Setting | None, draft: Draft) -> None:
    if setting is None:
        return
    if not isinstance(setting.value, int) or isinstance(setting.value, bool):
        draft.tell(IDLE if setting.value is None else UNREAD, setting, "how many rows of each source are taken")
        return
    for entry in (*draft.datasets, *draft.test_datasets):
        name = entry["split"].value if "split" in entry else "train"
        if "[" not in str(name):
            entry["split"] = Line(f"{name}[:{setting.value}]", origin(setting), setting.where)
    draft.tell("carried", setting, f"`split: train[:{setting.value}]` of every source")


def read_template(settings: Mapping[str, Setting], stage: str, draft: Draft) -> None:
    setting, packing = settings.get("template"), settings.get("packing")
    _packing(packing, settings.get("neat_packing"), stage, draft)
    if setting is not None and stage == "pt":
        draft.tell(IDLE, setting, "plain text has no template")
    elif setting is not None:
        _named(setting, draft)
    thinking = settings.get("enable_thinking")
    if thinking is None:
        return
    if setting is not None and setting.value in REASONING and thinking.value is False:
        draft.put("chat_template_kwargs", {"enable_thinking": False}, thinking)
    else:
        draft.tell(IDLE, thinking, "answers are learned as the template writes them")


def _named(setting: Setting, draft: Draft) -> None:
    name = str(setting.value)
    ours = TEMPLATES.get(name) or (name if name in SPELLINGS.values() else None)
    if setting.value is None or name == "default":
        message = (
            "there `default` writes Human: and Assistant:, which no model was made with; here it is the model's own"
        )
        draft.put("chat_template", OWN, setting, message)
    elif ours == OWN:
        draft.put("chat_template", OWN, setting, "the model's own layout, which this name stands for")
    elif ours:
        draft.put("chat_template", ours, setting)
    elif name in ("empty", "fewshot"):
        draft.tell(
            LOST, setting, "rows without any layout are `type: completion` or prompt_completion", "see docs/data.md"
        )
    else:
        advice = "compare `finetune preview` with what LLaMA-Factory prints of its first row"
        draft.put("chat_template", OWN, setting, f"{name!r} is not kept here; the model's own is taken")
        draft.say(CHANGED, setting.where.line, f"template={name}", "the two layouts were not compared", advice)


def _packing(packing: Setting | None, neat: Setting | None, stage: str, draft: Draft) -> None:
    on = packing.value if packing is not None and packing.value is not None else None
    tidy = neat is not None and neat.value is True
    if stage == "pt":
        joined = on is not False
        where = packing if packing is not None and packing.value is not None else None
        value = "joined" if joined else "whole"
        if where is not None:
            draft.put("text_chunks", value, where)
        draft.assume("text_chunks", value, "not written; LLaMA-Factory joins texts in pretraining")
        draft.assume("excess_length_strategy", "truncate", "longer texts are cut there")
    elif tidy or on is True:
        chosen = neat if tidy else packing
        assert chosen is not None
        note = "" if tidy else "there packed rows see each other; here they never do"
        draft.put("sample_packing", True, chosen, note)
        draft.assume("excess_length_strategy", "drop", "longer rows are left out there when rows are packed")
    else:
        draft.assume(
            "excess_length_strategy", "truncate", "longer rows are cut there: question and answer in proportion"
        )
    for setting in (packing, neat):
        if setting is not None and (setting.name, setting.where) not in draft.accounted:
            draft.tell(IDLE, setting, "asks for nothing" if not setting.value else "neat_packing says it")
