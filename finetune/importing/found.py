"""One setting of another tool's file: its name, value and line. Knows no tool and no recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.errors import Where
from finetune.recipe.secrets import KEYS, SHAPES

SHOWN = 70
"""Characters of a value that are shown."""


class Elsewhere(str):
    """The path of another file of the project than the one that is imported."""


class LineElsewhere(int):
    """A line of such a file, which says so in every text: `12 of data.py`."""

    file = ""

    def __str__(self) -> str:
        return f"{int(self)} of {Path(self.file).name}"

    def __format__(self, spec: str) -> str:
        return str(self)


def line_of(where: Where) -> int:
    """The line of a place, as it is named in texts."""
    if not isinstance(where.file, Elsewhere):
        return where.line
    made = LineElsewhere(where.line)
    made.file = where.file
    return made


@dataclass(frozen=True)
class Unread:
    """A value that only running the file would give. `text`: its source; `why`: what it hangs on."""

    text: str
    why: str = "it is only known when the file runs"
    otherwise: Any = None
    """What the script itself takes where its settings have no such value: `settings.get("lr", 2e-4)`."""


@dataclass(frozen=True)
class Symbol:
    """A name of a library that stands for a value: `torch.bfloat16`, `tokenizer.eos_token`."""

    text: str


@dataclass(frozen=True)
class Object:
    """What a call in a script gives: `call` its full name (`trl.SFTConfig`), `base` what a method was called on."""

    call: str
    arguments: Mapping[str, "Setting"] = field(default_factory=dict)
    positional: tuple["Setting", ...] = ()
    line: int = 0
    base: Any = None
    where: Where | None = None

    def __post_init__(self) -> None:
        if self.where is not None:
            object.__setattr__(self, "line", line_of(self.where))

    @property
    def name(self) -> str:
        return self.call.rsplit(".", 1)[-1]

    def get(self, name: str, position: int | None = None) -> Any:
        """The value of an argument by its name or place; None where it is not written."""
        setting = self.setting(name, position)
        return setting.value if setting is not None else None

    def setting(self, name: str, position: int | None = None) -> "Setting | None":
        if name in self.arguments:
            return self.arguments[name]
        if position is not None and position < len(self.positional):
            return self.positional[position]
        return None

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


@dataclass(frozen=True)
class Setting:
    """`name`: as reported (`SFTConfig.learning_rate`). `key`: under which the tables know it."""

    name: str
    value: Any
    where: Where

    @property
    def key(self) -> str:
        return self.name.rsplit(".", 1)[-1]

    @property
    def shown(self) -> str:
        """`lora_alpha=16`, never a secret; an argument without a name as `load_dataset('org/name')`."""
        if self.key.isdigit() and "." in self.name:
            return f"{self.name.rsplit('.', 1)[0]}({value_text(self.value)})"
        if KEYS.search(self.key) and self.value not in (None, "", False, True):
            return f"{self.key}=…"
        return f"{self.key}={value_text(self.value)}"


OWN_TRAINER = "a trainer of the script's own"
GUESS = "one of two"
"""Name of a note among the calls: which of two values holds hangs on what only running would tell."""


def value_text(value: Any) -> str:
    """A value on one short line, as Python would write it; secrets by their shape alone."""
    text = " ".join(_plain_text(value).split())
    if SHAPES.search(text):
        return "…"
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _plain_text(value: Any) -> str:
    if isinstance(value, Unread | Symbol) or hasattr(value, "text"):
        return str(value.text)
    if isinstance(value, Object) and value.name == "[]":
        return f"{_plain_text(value.base)}[{', '.join(_plain_text(one.value) for one in value.positional)}]"
    if isinstance(value, Object) and value.name in ("int", "float", "str", "bool") and len(value.positional) == 1:
        return f"{value.name}({_plain_text(value.positional[0].value)})"
    if isinstance(value, Object) and value.name == "get" and isinstance(value.base, Object) and value.positional:
        return f"{_plain_text(value.base)}[{_plain_text(value.positional[0].value)}]"
    if isinstance(value, Object):
        return f"{value.name}(…)"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_plain_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return "[" + ", ".join(map(_plain_text, value)) + "]"
    return repr(value) if isinstance(value, str | int | float | bytes | None) else f"{type(value).__name__}(…)"


def known(value: Any) -> bool:
    """Whether a value, and all inside it, is plain: text, numbers, flags, lists and mappings."""
    if isinstance(value, Unread | Symbol | Object):
        return False
    if isinstance(value, Mapping):
        return all(known(item) for item in value.values())
    if isinstance(value, list | tuple | set):
        return all(map(known, value))
    return value is None or isinstance(value, str | int | float | bool)


def unread_in(value: Any) -> Unread | None:
    """The first part of a value that only running would give."""
    if isinstance(value, Unread):
        return value
    if isinstance(value, Object):
        return Unread(value_text(value))
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return next((found for part in parts if (found := unread_in(part))), None)


def with_first(call: Object, name: str) -> dict[str, Setting]:
    """A call's arguments, with the first one by its name."""
    settings = dict(call.arguments)
    if name not in settings and call.positional:
        one = call.positional[0]
        settings[name] = Setting(f"{one.name.rsplit('.', 1)[0]}.{name}", one.value, one.where)
    return settings


def is_plain(value: Any) -> bool:
    """A value that stands for itself: plain, or a constant of a library."""
    return known(value) or isinstance(value, Symbol)


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, Symbol) and isinstance(other, Symbol):
        return one.text == other.text
    return one is other or (known(one) and known(other) and type(one) is type(other) and bool(one == other))
