"""Row -> Segments, or a question and an answer as turns, for a prompt format that the recipe itself writes down
(`type:` as a mapping). Knows the mapping's defaults, which are Axolotl's; knows no tokenizer."""

from collections.abc import Mapping
from typing import Any

from finetune.formats.instruct import Parts, Wording, asked, fill
from finetune.formats.meaning import Conversation, Fields, Message, Segments, optional_text, text_in

COLUMNS = "the columns that the mapping under `type` names"
DEFAULTS: Mapping[str, Any] = {
    "field_instruction": "instruction",
    "field_input": "input",
    "field_output": "output",
    "field_system": "system",
    "format": "{instruction} {input} ",
    "no_input_format": "{instruction} ",
    "system_prompt": "",
    "system_format": "{system}",
    "as_turns": False,
}


def matches(row: Mapping[str, Any]) -> bool:
    del row  # only a recipe can say that
    return False


def read(row: Mapping[str, Any], fields: Fields) -> Segments | Conversation:
    """BadRow for a missing column or one that is not text. A row without a system column gets `system_prompt`."""
    how = dict(DEFAULTS) | {key: value for key, value in (fields.prompt or {}).items() if value is not None}
    always = how["system_prompt"] if how["field_system"] not in row else ""
    wording = Wording(how["format"], how["no_input_format"], how["system_format"], always, always)
    parts = Parts(
        text_in(row, how["field_instruction"]),
        text_in(row, how["field_output"]),
        optional_text(row, how["field_input"]),
        optional_text(row, how["field_system"]),
    )
    return _turns(wording, parts) if how["as_turns"] else asked(wording, parts)


def _turns(wording: Wording, parts: Parts) -> Conversation:
    """The prompt as a user's turn and the answer as an assistant's, for the chat template to write."""
    said = parts.system or wording.system
    opening = (Message("system", fill(wording.around, system=said).text),) if said and wording.around else ()
    prompt = fill(wording.turn if parts.extra else wording.bare, instruction=parts.instruction, input=parts.extra)
    return Conversation((*opening, Message("user", prompt.text), Message("assistant", parts.answer)))
