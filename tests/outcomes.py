"""What became of a mutated recipe: caught, noticed, harmless, another legal recipe, or missed. Judges the program from
outside: whether a recipe is legal is asked of legal_values and of a YAML reader that is not ours."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from finetune.commands.checking import resolved
from finetune.errors import Fault, RecipeError
from finetune.judge import judgements
from finetune.recipe.load import load_recipe
from tests.covering import MACHINES
from tests.legal_values import NOTHING, is_legal
from tests.mutations import Mutation, Path_

CAUGHT, NOTICED, HARMLESS, UNSET, OTHER, REFUSED, MISSED = (
    "an error on the line",
    "a warning or note on the line",
    "the plan is the same",
    "legal: the key is left empty",
    "legal: another value",
    "legal, and refused as wrong",
    "missed",
)
PROVEN = (CAUGHT, NOTICED, HARMLESS)


@dataclass(frozen=True)
class Answer:
    """What `validate` says about a text, and the Plans as JSON where there are any."""

    errors: tuple[Fault, ...]
    said: tuple[Fault, ...]
    plans: str
    seconds: float


def answer(path: Path, text: str) -> Answer:
    """As `validate` asks: read, resolve for a machine with a GPU and one without, judge."""
    path.write_text(text, encoding="utf-8")
    start = time.perf_counter()
    try:
        checked = load_recipe(path)
        plans = [resolved(checked, machine).as_json() for machine in MACHINES]
        said = tuple(judgements(checked, MACHINES))
    except RecipeError as error:
        return Answer(error.faults, (), "", time.perf_counter() - start)
    seconds = time.perf_counter() - start
    return Answer((), said, json.dumps(plans, sort_keys=True), seconds)


def outcome(path: Path, before: str, was: Answer, mutation: Mutation) -> tuple[str, Answer]:
    now = answer(path, mutation.text)
    legal = legal_difference(before, mutation.text)
    if legal and any(fault.code in ("FT002", "FT003") for fault in now.errors):
        return REFUSED, now
    if any(_is_there(fault, path, mutation) for fault in now.errors):
        return CAUGHT, now
    old = Counter((fault.code, fault.message) for fault in was.said)
    new = Counter((fault.code, fault.message) for fault in now.said) - old
    if any(_is_there(fault, path, mutation) for fault in now.said if (fault.code, fault.message) in new):
        return NOTICED, now
    if now.plans and now.plans == was.plans:
        return HARMLESS, now
    return legal or MISSED, now


def _is_there(fault: Fault, path: Path, mutation: Mutation) -> bool:
    if fault.where is None or fault.where.file != str(path):
        return False
    lines = {*mutation.lines, *mutation.near}
    if "not YAML" in fault.message:
        lines.add(mutation.following)
    if "is still open here" in fault.message and any(f"of line {line} is" in fault.message for line in lines):
        return True
    if "written twice (first on line" in fault.message:
        return any(f"first on line {line})" in fault.message for line in lines) or fault.where.line in lines
    return fault.where.line in lines


class CoreLoader(yaml.CSafeLoader):
    """PyYAML with the scalars of YAML 1.2's core schema, as its section 10.3.2 lists them: a reader that is not
    ours."""


def _core_int(loader: Any, node: Any) -> int:
    base = {"0o": 8, "0x": 16}.get(node.value[:2], 10)
    return int(node.value, base)


CORE = (
    ("null", r"|~|null|Null|NULL"),
    ("bool", r"true|True|TRUE|false|False|FALSE"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
)
CoreLoader.yaml_implicit_resolvers = {
    None: [(f"tag:yaml.org,2002:{tag}", re.compile(rf"(?:{pattern})\Z")) for tag, pattern in CORE]
}
CoreLoader.add_constructor("tag:yaml.org,2002:int", _core_int)


def read(text: str) -> Any:
    """The values of a YAML 1.2 text; None where it is no mapping."""
    try:
        data = yaml.load(text, Loader=CoreLoader)  # plain values only
    except (yaml.YAMLError, ValueError, OverflowError):
        return None
    return data if isinstance(data, dict) else None


def legal_difference(before: str, after: str) -> str:
    """UNSET or OTHER where one key was given another legal value, or was renamed to another legal key; else empty."""
    one, other = read(before), read(after)
    if one is None or other is None:
        return ""
    changed = list(_changed(one, other, ()))
    gone = [path for path, value in changed if value is _GONE]
    new = [(path, value) for path, value in changed if value is not _GONE]
    if len(gone) > 1 or len(new) > 1 or not new or set(NEEDED) & set(gone):
        return ""
    try:
        if not all(is_legal(path, value) for path, value in new):
            return ""
    except KeyError:
        return ""
    return UNSET if not gone and any(new[0][1] is one_ or new[0][1] == one_ for one_ in NOTHING) else OTHER


_GONE = object()
NEEDED = (("base_model",), ("output_dir",), ("datasets",))
"""The paths without which no recipe is legal, wherever else the key went."""


def _changed(one: Mapping[str, Any], other: Mapping[str, Any], path: Path_) -> Iterator[tuple[Path_, Any]]:
    """The keys, inside sections and entries too, that do not have the same value: path and new value."""
    for key in {**one, **other}:
        here = (*path, key)
        if key not in other:
            yield here, _GONE
        elif key not in one:
            yield here, other[key]
        elif isinstance(one[key], dict) and isinstance(other[key], dict) and _is_section(here):
            yield from _changed(one[key], other[key], here)
        elif _is_entries(one[key], other[key], here):
            for number, (entry, changed) in enumerate(zip(one[key], other[key], strict=True)):
                yield from _changed(entry, changed, (*here, number))
        elif repr(one[key]) != repr(other[key]):
            yield here, other[key]


def _is_section(path: Path_) -> bool:
    return path[-1] in ("message_property_mappings", "special_tokens", "bnb_config_kwargs")


def _is_entries(one: Any, other: Any, path: Path_) -> bool:
    both = isinstance(one, list) and isinstance(other, list) and len(one) == len(other)
    return path[-1] in ("datasets", "test_datasets") and both and all(isinstance(item, dict) for item in (*one, *other))
