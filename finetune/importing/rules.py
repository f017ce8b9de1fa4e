"""What a setting of another tool can mean here, as entries of tables, and how one is applied. Knows no tool.

Each table maps a setting's name to one Rule, so that nothing that is read is passed over in silence."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from finetune.importing.draft import IDLE, LOST, Convert, Draft, NotCarriedError
from finetune.importing.found import Object, Setting, Symbol, Unread, known, unread_in, value_text


@dataclass(frozen=True)
class Carry:
    """The recipe has it under `key`. `note`: how it differs here, if it does. `convert`: its value as ours."""

    key: str
    convert: Convert | None = None
    note: str = ""
    off: tuple[Any, ...] = (None,)
    """Values that ask for nothing, there and here."""


@dataclass(frozen=True)
class Idle:
    """It changes nothing of what is learned."""

    why: str


@dataclass(frozen=True)
class Only:
    """Values that ask for what happens here anyway; any other has no counterpart."""

    values: tuple[Any, ...]
    why: str
    advice: str = ""


@dataclass(frozen=True)
class Lost:
    """No counterpart. `off`: values that ask for nothing."""

    why: str
    advice: str = ""
    off: tuple[Any, ...] = (None, False, "", 0)


@dataclass(frozen=True)
class Read:
    """Read together with others by the tool's own code. `says`: how, for the page of the tables."""

    says: str


Rule = Carry | Idle | Only | Lost | Read
Table = Mapping[str, Rule]


def apply(settings: Iterable[Setting], table: Table, draft: Draft, taken: Set[str] = frozenset()) -> None:
    """Every setting by its rule. `taken`: names that the tool's own code has dealt with."""
    for setting in settings:
        if setting.key in taken:
            continue
        rule = table.get(setting.key)
        if rule is None:
            unknown(setting, draft, table)
        elif not isinstance(rule, Read):
            apply_one(setting, rule, draft)


def apply_one(setting: Setting, rule: Rule, draft: Draft) -> None:
    value = setting.value
    if isinstance(rule, Idle):
        draft.tell(IDLE, setting, rule.why)
    elif isinstance(rule, Lost) and isinstance(value, Unread | Object):
        draft.tell(LOST, setting, rule.why, rule.advice)
    elif isinstance(rule, Read):
        raise AssertionError(f"{setting.key} is read by code of its own")
    elif isinstance(value, Unread | Object) or (unread_in(value) and not isinstance(value, Symbol)):
        draft.unread(setting)
    elif isinstance(rule, Carry):
        _carry(setting, rule, draft)
    elif isinstance(rule, Only):
        if is_in(value, rule.values):
            draft.tell(IDLE, setting, rule.why)
        else:
            draft.tell(LOST, setting, f"here: {rule.why}", rule.advice)
    elif is_in(value, rule.off):
        draft.tell(IDLE, setting, "asks for nothing")
    else:
        draft.tell(LOST, setting, rule.why, rule.advice)


def converted(setting: Setting, convert: Convert, draft: Draft) -> Any:
    """Its value as the recipe's key holds it; None where it cannot be that, which is told."""
    if not known(setting.value):
        draft.unread(setting)
        return None
    try:
        return convert(setting.value)
    except NotCarriedError as error:
        draft.tell(LOST, setting, str(error))
        return None


def _carry(setting: Setting, rule: Carry, draft: Draft) -> None:
    if is_in(setting.value, rule.off):
        draft.tell(IDLE, setting, "asks for nothing, as when it is not written")
        return
    try:
        value = rule.convert(setting.value) if rule.convert else setting.value
    except NotCarriedError as error:
        if isinstance(setting.value, Symbol):
            draft.unread(setting, Unread(setting.value.text, "its value is not known here"))
            return
        draft.tell(LOST, setting, str(error), f"see `{rule.key}` in docs/keys.md")
        return
    if isinstance(value, Symbol) or not known(value):
        draft.unread(setting, Unread(value_text(setting.value), "its value is not known here"))
        return
    draft.put(rule.key, value, setting, rule.note)


def unknown(setting: Setting, draft: Draft, table: Table) -> None:
    """A name that the table does not have: a typo, or newer or older than the table."""
    from difflib import get_close_matches

    near = next(iter(get_close_matches(setting.key, table, n=1, cutoff=0.85)), None)
    meant = f"; is `{near}` meant?" if near else ""
    message = f"{draft.tool} as known here has no `{setting.key}`{meant}"
    draft.tell(LOST, setting, message, "look it up in docs/keys.md, or leave it out")


def is_in(value: Any, values: Iterable[Any]) -> bool:
    """Whether a value is one of them; true is not 1, and 0.0 is 0."""
    for one in values:
        if isinstance(value, bool) or isinstance(one, bool) or value is None or one is None:
            if value is one:
                return True
        elif value == one:
            return True
    return False
