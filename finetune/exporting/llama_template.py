"""The chat template that goes into a GGUF file: it writes what it wrote in training, whatever llama.cpp's server tells
a template of its own accord. Knows no file and no tokenizer."""

import re
from collections.abc import Mapping
from typing import Any

GIVEN: Mapping[str, Any] = {
    "enable_thinking": True,
    "preserve_thinking": True,
    "clear_thinking": False,
    "truncate_history_thinking": False,
    "drop_thinking": False,
    "date_string": "01 Jan 2001",
    "datetime": "Jan 01 2001",
}
"""What llama-server sets where nobody asked for it; the date is that of the day."""
_BLOCK = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
_ASKED = {"role": "user", "content": "a"}
_SAID = {"role": "assistant", "content": "<think>\nb\n</think>\n\nc"}
_TOOL = {"type": "function", "function": {"name": "d", "description": "e", "parameters": {"type": "object"}}}
_TALKS: tuple[tuple[list[dict[str, Any]], Any], ...] = (
    ([_ASKED], None),
    ([{"role": "system", "content": "f"}, _ASKED], None),
    ([_ASKED, _SAID, _ASKED], None),
    ([_ASKED, {"role": "assistant", "content": "g", "reasoning_content": "h"}, _ASKED, _SAID, _ASKED], None),
    ([_ASKED], [_TOOL]),
)


def as_trained(template: str, specials: Mapping[str, str]) -> str:
    """A variable that would change the text gets another name, so that it is as unset as it was in training; whoever
    wants it can still set it, by that name. `specials`: bos_token and the like."""
    plain = _texts(template, specials)
    for name, value in GIVEN.items():
        if name in template and _texts(template, {**specials, name: value}) != plain:
            template = _renamed(template, name)
    return template


def _renamed(template: str, name: str) -> str:
    """Where it is a variable, and neither a text nor a part of something else."""
    variable = re.compile(rf"(?<![\w.'\"]){name}(?![\w'\"])")
    return _BLOCK.sub(lambda block: variable.sub(f"trained_{name}", block[0]), template)


def _texts(template: str, names: Mapping[str, Any]) -> list[str | None]:
    """What the template makes of each talk; None where it refuses one."""
    from transformers.utils.chat_template_utils import _compile_jinja_template

    compiled = _compile_jinja_template(template)
    found: list[str | None] = []
    for messages, tools in _TALKS:
        try:
            found.append(str(compiled.render(messages=messages, tools=tools, add_generation_prompt=True, **names)))
        except Exception:  # noqa: BLE001 - a template is code: it may raise anything
            found.append(None)
    return found
