"""A recipe in the making: its lines, each with where it came from, and what there is to tell of every setting read.

Decides that a key has one value and that a second one is told; knows no tool."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from finetune.errors import Where
from finetune.importing.found import Elsewhere, LineElsewhere, Setting, Unread, known, line_of, unread_in, value_text

CARRIED = "carried"
"""The recipe says the same."""
IDLE = "idle"
"""It changes nothing of what is learned, there or here."""
CHANGED = "changed"
"""The recipe has it, but it is not quite the same."""
LOST = "no counterpart"
CONFLICT = "conflict"
"""Two places of the file, or the file and its tool, contradict each other."""
UNREAD = "not read"
"""Only running the file would tell."""
OUTDATED = "outdated"
"""Today's libraries would refuse it; the recipe has what it meant."""
TO_DO = "to do"
"""The recipe needs it and the file does not say it."""
KINDS = (TO_DO, UNREAD, CONFLICT, LOST, CHANGED, OUTDATED, IDLE, CARRIED)


@dataclass(frozen=True)
class Told:
    """What became of one setting. `advice`: what to do about it, if anything."""

    kind: str
    where: Where
    shown: str
    message: str
    advice: str = ""


@dataclass
class Line:
    """One key of the recipe: its value and why it is so."""

    value: Any
    why: str
    where: Where | None = None
    assumed: bool = False
    """No setting of the file gave it; `spelled.own_up` says of which there is one that could not be read."""


@dataclass
class Draft:
    file: str
    tool: str = ""
    lines: dict[str, Line] = field(default_factory=dict)
    datasets: list[dict[str, Line]] = field(default_factory=list)
    test_datasets: list[dict[str, Line]] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    accounted: set[tuple[str, Where]] = field(default_factory=set)
    """Settings of which something was told."""
    missed: dict[str, Where] = field(default_factory=dict)
    """Names of settings that are written and could not be read."""
    otherwise: dict[str, Any] = field(default_factory=dict)
    """What the script takes in their place where its own settings have none."""

    def tell(self, kind: str, setting: Setting, message: str, advice: str = "") -> None:
        self.accounted.add((setting.name, setting.where))
        self._once(Told(kind, setting.where, setting.shown, message, advice))

    def _once(self, told: Told) -> None:
        """A function that is looked into twice says the same twice."""
        if told not in self.told:
            self.told.append(told)

    def account_for(self, settings: Iterable[Setting]) -> None:
        """Nothing that was read is passed over: what no rule spoke of is told as lost."""
        for setting in settings:
            if (setting.name, setting.where) not in self.accounted:
                self.tell(LOST, setting, "it was not understood beside the rest of the file", "see docs/keys.md")

    def say(self, kind: str, line: int, shown: str, message: str, advice: str = "") -> None:
        """The same of something that is no setting; line 0 for the file as a whole."""
        file = line.file if isinstance(line, LineElsewhere) else self.file
        place = Where(Elsewhere(file) if file != self.file else file, int(line), 1 if line else 0)
        self._once(Told(kind, place, shown, message, advice))

    def switch(self, setting: Setting | None, key: str, value: Any, note: str = "") -> None:
        """A line from a switch that is on; off, it asks for nothing; not written, nothing is told."""
        if setting is not None and setting.value is True:
            self.put(key, value, setting, note)
        elif setting is not None:
            self.tell(IDLE, setting, "asks for nothing")

    def put(self, key: str, value: Any, setting: Setting, note: str = "") -> None:
        """A line from a setting. A key that has another value already keeps it, and both places are told."""
        if not known(value):
            self.unread(setting, value)
            return
        if value is None or (value == "" and key in NAMES):
            self.tell(IDLE, setting, "asks for nothing")
            return
        old = self.lines.get(key)
        if old is not None and not same(old.value, value):
            place = f" (line {line_of(old.where)})" if old.where and old.where.line else ""
            message = f"`{key}` is {value_text(old.value)} already{place}; that one is kept"
            self.tell(CONFLICT, setting, message, f"if this one is meant, write `{key}: {value_text(value)}`")
            return
        if old is None:
            self.lines[key] = Line(value, origin(setting), setting.where)
        shown = f"`{key}: {value_text(value)}`"
        self.tell(CHANGED if note else CARRIED, setting, f"{shown}{'; ' if note else ''}{note}")

    def assume(self, key: str, value: Any, why: str) -> None:
        """A line that no setting of the file gave, or one that could not be read."""
        if key not in self.lines:
            self.lines[key] = Line(value, why, assumed=True)

    def unread(self, setting: Setting, value: Any = None) -> None:
        part = unread_in(setting.value if value is None else value) or Unread(value_text(setting.value))
        self.missed.setdefault(setting.key, setting.where)
        if part.otherwise is not None:
            self.otherwise.setdefault(setting.key, part.otherwise)
        message = f"{value_text(part)!r} cannot be read: {part.why}"  # a source may hold a secret
        self.tell(UNREAD, setting, message, "write its value into the recipe")

    def value(self, key: str, default: Any = None) -> Any:
        line = self.lines.get(key)
        return default if line is None else line.value

    def entry(self, setting: Setting | None, path: str, why: str = "") -> dict[str, Line]:
        """A new entry of datasets."""
        place = setting.where if setting else None
        made = {"path": Line(path, why or (origin(setting) if setting else ""), place)}
        self.datasets.append(made)
        return made

    def leave_out(self, place: tuple[str | int, ...], why: str) -> bool:
        """Take a line out that would not stand in a recipe, and tell it; False where there is no such line."""
        key = place[0]
        if len(place) == 3 and isinstance(place[1], int):
            entries = self.datasets if key == "datasets" else self.test_datasets
            line = entries[place[1]].pop(str(place[2]), None) if place[2] != "path" else None
            shown = str(place[2])
        else:
            line, shown = self.lines.pop(str(key), None) if key not in NEEDED else None, str(key)
        if line is None:
            return False
        where = line.where or Where(self.file)
        self.told.append(Told(LOST, where, f"{shown}: {value_text(line.value)}", f"it would not stand here: {why}"))
        return True


NAMES = ("base_model", "output_dir", "chat_template", "wandb_project", "wandb_name")
NEEDED = ("base_model", "output_dir", "rl", "reward_model", "adapter", "trl.reward_funcs")
"""Without these it would be another training."""


def same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def origin(setting: Setting) -> str:
    place = f"line {line_of(setting.where)}: " if setting.where.line else ""
    return f"{place}{setting.shown}"


Convert = Callable[[Any], Any]


class NotCarriedError(Exception):
    """A value that the recipe's key cannot hold; the message says why and what is near."""
