"""Which chat template a tokenizer gets: its own, one kept by name, one that TRL ships, or the recipe's. Knows no
message."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.errors import ModelError, RecipeError
from finetune.recipe.anchor import TEMPLATE_ENDINGS
from finetune.rendering.layouts import LAYOUTS, SHIPPED

TEMPLATES = {name: layout.jinja for name, layout in LAYOUTS.items()}
MARKS = {name: layout.marks for name, layout in LAYOUTS.items()}
FALLBACK = "tokenizer_default_fallback_"
TRL = "trl/"


def set_template(
    *,
    name: str,
    jinja: str | None,
    tokenizer: Any,
    defaults: Mapping[str, Any] | None = None,
    system: str | None = None,
) -> None:
    """Give the tokenizer the recipe's chat template, or leave it its own; `defaults` are what it is given by name, and
    `system` is put before conversations without a system message.

    RecipeError if the recipe's template is not jinja or not there; ModelError if a token the template writes is not one
    token of this tokenizer: the model would read its markers as ordinary text."""
    text = _text(name, jinja, tokenizer)
    # Part of the template, so that whoever loads the saved tokenizer renders as in training.
    tokenizer.chat_template = _given(defaults or {}, system) + text if text else text


def templates_of_entries(
    *,
    entries: Sequence[Mapping[str, str | None] | None],
    defaults: Mapping[str, Any],
    system: str | None,
    tokenizer: Any,
) -> list[str | None]:
    """The text of the template that an entry of the data has for itself, by its name and jinja; None where it has none.
    `tokenizer` has its own template still. Errors as of set_template."""
    given = _given(defaults, system)
    found = [_text(str(entry["name"]), entry["jinja"], tokenizer) if entry else None for entry in entries]
    return [given + text if text else text for text in found]


def _text(name: str, jinja: str | None, tokenizer: Any) -> str | None:
    """A template, or the tokenizer's own, which may be none."""
    if name.startswith(FALLBACK):
        name = "tokenizer_default" if tokenizer.chat_template else name.removeprefix(FALLBACK)
    if name == "jinja":
        return _own(str(jinja))
    if name == "tokenizer_default":
        own: str | None = tokenizer.chat_template
        return own
    text, marks = _named(name)
    vocabulary = tokenizer.get_vocab()
    missing = [mark for mark in marks if mark not in vocabulary]
    if missing:
        raise ModelError(
            f"chat_template: {name} writes {', '.join(missing)}, which this tokenizer does not know as one token. "
            "Choose the model's own template (chat_template: tokenizer_default), or another model"
        )
    return text


def _named(name: str) -> tuple[str, tuple[str, ...]]:
    if name in LAYOUTS:
        return LAYOUTS[name].jinja, LAYOUTS[name].marks
    if name in SHIPPED:
        return _shipped(SHIPPED[name][0]), SHIPPED[name][1]
    return _shipped(name.removeprefix(TRL)), ()


def _shipped(name: str) -> str:
    from importlib.util import find_spec

    spec = find_spec("trl")
    folder = Path(str(spec.origin)).parent / "chat_templates" if spec else Path("chat_templates")
    file = folder / f"{name}.jinja"
    if not file.is_file():
        import difflib

        there = sorted(path.stem for path in folder.glob("*.jinja"))
        near = difflib.get_close_matches(name, there, n=5, cutoff=0.3) or there
        raise RecipeError(f"the installed trl ships no chat template {name!r}; near it: {', '.join(near)}")
    return file.read_text("utf-8")


def _own(jinja: str) -> str:
    """The recipe's template, which may be a file's name."""
    if is_file(jinja):
        try:
            jinja = Path(jinja).expanduser().read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"chat_template_jinja: {jinja} cannot be read: {error}") from None
    _compiled(jinja)
    return jinja


def is_file(jinja: str) -> bool:
    return jinja.endswith(TEMPLATE_ENDINGS) and "{" not in jinja and "\n" not in jinja


def _given(defaults: Mapping[str, Any], system: str | None) -> str:
    """Jinja that sets what was not given; whoever gives a value when rendering is heard."""
    lines = [
        f"{{% if {name} is not defined %}}{{% set {name} = {literal(value)} %}}{{% endif %}}"
        for name, value in sorted(defaults.items())
    ]
    if system is not None:
        message = f"{{'role': 'system', 'content': {literal(system)}}}"
        first = "messages and messages[0]['role'] != 'system'"
        lines.append(f"{{% if {first} %}}{{% set messages = [{message}] + messages %}}{{% endif %}}")
    return "".join(lines)


ESCAPES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r"}
"""What stands otherwise in a text between quotes. jinja2 knows more escapes, llama.cpp's jinja does not."""


def literal(value: Any) -> str:
    """A value as every jinja reads it. A brace ends its piece of a text, so that none begins or ends a block."""
    if isinstance(value, str):
        pieces = re.split(r"(?<={)|(?=})", value)
        return " ~ ".join(f"'{''.join(ESCAPES.get(letter, letter) for letter in piece)}'" for piece in pieces)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{literal(key)}: {literal(one)}' for key, one in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    return {True: "true", False: "false", None: "none"}[value] if isinstance(value, bool | None) else repr(value)


def _compiled(text: str) -> None:
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        ).from_string(text)
    except TemplateSyntaxError as error:
        if "generation" in str(error.message):
            return  # the `generation` blocks of TRL and transformers are no fault
        raise RecipeError(f"chat_template_jinja, line {error.lineno}: {error.message}") from None
