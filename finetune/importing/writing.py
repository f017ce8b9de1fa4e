"""A draft -> the text of a recipe: every line with where it came from, and at the end what has no counterpart.

Decides order and wording alone; which lines there are is the draft's."""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from finetune.importing.draft import CARRIED, CHANGED, CONFLICT, IDLE, LOST, OUTDATED, TO_DO, UNREAD, Draft, Line, Told
from finetune.importing.found import line_of
from finetune.recipe.recipe import SECTIONS
from finetune.starting.text import scalar

COLUMN = 46
WIDTH = 118
Place = tuple[str | int, ...]
TITLES = {
    TO_DO: "To do",
    UNREAD: "Not read, since only running the file would tell",
    CONFLICT: "Contradictions",
    LOST: "Without a counterpart",
    CHANGED: "Not quite the same here",
    OUTDATED: "Gone from today's libraries; the recipe has what it meant",
    IDLE: "Left out, since it changes nothing",
}


@dataclass(frozen=True)
class Written:
    """`places`: line of the text, from 1 -> the key that stands there (`datasets`, 0, `type` inside an entry)."""

    text: str
    places: Mapping[int, Place]


def recipe_text(draft: Draft, title: str, schema: str | None = None) -> Written:
    """The whole recipe."""
    rows: list[tuple[str, Place]] = [(line, ()) for line in _head(draft, title, schema)]
    for section in SECTIONS.values():
        block = [row for key in fields_of(section) for row in _of_key(draft, key)]
        if block:
            rows += [("", ()), *block]
    rows += [(line, ()) for line in _tail(draft)]
    text = "\n".join(line for line, _ in rows) + "\n"
    return Written(text, {number: place for number, (_, place) in enumerate(rows, 1) if place})


def fields_of(section: Any) -> list[str]:
    return list(section.model_fields)


def _head(draft: Draft, title: str, schema: str | None) -> list[str]:
    lines = [f"# yaml-language-server: $schema={schema}", "#"] if schema else []
    lines += _comment(
        f"Imported from {draft.file} ({draft.tool}) by `finetune import`. Behind each line stands what it "
        "came from; at the end, what has no counterpart here."
    )
    return [*lines, *_comment(f"Read it, then: finetune validate {title}")]


def _of_key(draft: Draft, key: str) -> Iterator[tuple[str, Place]]:
    if key in ("datasets", "test_datasets"):
        entries = getattr(draft, key)
        if entries:
            yield f"{key}:", (key,)
        for number, entry in enumerate(entries):
            yield from _entry(entry, (key, number))
    elif key in draft.lines:
        yield from _line(key, draft.lines[key], "", (key,))
    else:
        inside = {name: line for name, line in draft.lines.items() if name.startswith(f"{key}.")}
        if inside:
            yield from _nested(key, inside)


def _nested(key: str, inside: Mapping[str, Line]) -> Iterator[tuple[str, Place]]:
    yield f"{key}:", (key,)
    opened = ""
    for name, line in sorted(inside.items(), key=lambda item: item[0].count(".")):
        middle, _, last = name[len(key) + 1 :].rpartition(".")
        if middle and middle != opened:
            yield f"  {middle}:", (name,)
            opened = middle
        yield from _line(last, line, "    " if middle else "  ", (name,))


def _entry(entry: Mapping[str, Line], place: Place) -> Iterator[tuple[str, Place]]:
    mark = "  - "
    for key in ["path", *(key for key in entry if key != "path")]:
        line = entry[key]
        if isinstance(line.value, Mapping):
            yield from ((text, (*place, key)) for text in _comment(line.why, "    "))
            yield f"{mark}{key}:", (*place, key)
            for name, value in line.value.items():
                yield f"      {scalar(name)}: {as_yaml(value)}", (*place, key)
        else:
            yield from _line(key, line, mark, (*place, key))
        mark = "    "


def _line(key: str, line: Line, indent: str, place: Place) -> Iterator[tuple[str, Place]]:
    text = f"{indent}{key}: {as_yaml(line.value)}"
    why = _clean(line.why)
    if why and max(len(text) + 2, COLUMN) + len(why) + 2 > WIDTH:
        yield from ((comment, ()) for comment in _comment(why, " " * len(indent)))
        yield text, place
    else:
        yield (f"{text:<{COLUMN}}# {why}" if len(text) < COLUMN else f"{text}  # {why}") if why else text, place


def as_yaml(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, float):
        return re.sub(r"e([+-])0*(\d)", r"e\1\2", repr(value)).replace("e+", "e")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(str(key))}: {as_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(as_yaml(item) for item in value) + "]"
    return scalar(value) if isinstance(value, str) else json.dumps(value)


def _comment(text: str, indent: str = "") -> list[str]:
    found = textwrap.wrap(_clean(text), WIDTH - len(indent) - 2, break_long_words=False, break_on_hyphens=False)
    return [f"{indent}# {line}" for line in found]


def _clean(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def _tail(draft: Draft) -> list[str]:
    lines: list[str] = []
    for kind, title in TITLES.items():
        told = [one for one in draft.told if one.kind == kind]
        if told:
            lines += ["", f"# {title}:"]
            for one in told:
                first, *rest = _comment(sentence(one)) or ["#"]
                lines += [f"#   {first[2:]}", *(f"#     {line[2:]}" for line in rest)]
    return lines


def sentence(told: Told) -> str:
    """`line 3: fsdp=True: ...; what to do`."""
    place = f"line {line_of(told.where)}: " if told.where.line else ""
    message = f"{told.shown}: {told.message}" if told.message else told.shown
    stop = " " if message.endswith("?") else ". "
    return f"{place}{message}{stop + _capital(told.advice) if told.advice else ''}"


def _capital(text: str) -> str:
    # A key or a command keeps its letters.
    word = text.split(" ")[0]
    return text[:1].upper() + text[1:] if word.isalpha() and word.islower() and word != "finetune" else text


def important(draft: Draft) -> list[Told]:
    """What somebody has to read, the most pressing first."""
    order = [TO_DO, UNREAD, CONFLICT, LOST, CHANGED, OUTDATED]
    return sorted((one for one in draft.told if one.kind in order), key=lambda one: (order.index(one.kind), one.where))


def counted(draft: Draft) -> dict[str, int]:
    kinds = [CARRIED, IDLE, CHANGED, OUTDATED, LOST, CONFLICT, UNREAD, TO_DO]
    return {kind: found for kind in kinds if (found := sum(one.kind == kind for one in draft.told))}
