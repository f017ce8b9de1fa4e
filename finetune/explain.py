"""What is to be known about a key of a recipe: value, origin, what it reaches, or why nothing. Prints nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from finetune.backends import BACKENDS
from finetune.compare import Change
from finetune.effects import (
    Path_,
    as_written,
    counts,
    effect,
    field_at,
    flips_at,
    is_written,
    leaves,
    model_at,
    ordered_keys,
    value_at,
    with_value,
)
from finetune.errors import FinetuneError, UsageError
from finetune.judge import section_of
from finetune.machine import Machine, assumed
from finetune.plan import Plan
from finetune.readable import plain, reach_texts, type_text, value_text
from finetune.recipe import foreign
from finetune.recipe.base import key_texts, reach_of
from finetune.recipe.load import FOREIGN, Checked
from finetune.recipe.recipe import Recipe
from finetune.recipe.rules import broken_rules
from finetune.recipe.spellings import RENAMED
from finetune.resolve import resolve


@dataclass(frozen=True)
class Explained:
    """A key of a recipe. `where`: its place, the override, or "default". `idle`: why it reaches nothing here."""

    path: Path_
    value: Any
    where: str
    written: bool
    changes: tuple[Change, ...]
    refused: str
    idle: str

    @property
    def name(self) -> str:
        return dotted(self.path)


def dotted(path: Path_) -> str:
    return ".".join(map(str, path))


class Neighbours:
    """The recipe with one other key at another value, and its Plan: each that breaks no more rules than the recipe and
    that resolves, the written keys first. Made as they are asked for, and once however many keys ask."""

    def __init__(self, recipe: Recipe, machine: Machine) -> None:
        self.recipe, self.machine = recipe, machine
        self._made: list[tuple[str, Recipe, Plan]] = []
        self._rest = self._each()

    def __iter__(self) -> Iterator[tuple[str, Recipe, Plan]]:
        number = 0
        while True:
            if number == len(self._made):
                following = next(self._rest, None)
                if following is None:
                    return
                self._made.append(following)
            yield self._made[number]
            number += 1

    def _each(self) -> Iterator[tuple[str, Recipe, Plan]]:
        broken = len(broken_rules(as_written(self.recipe)))
        written = self.recipe.model_fields_set
        for key in sorted(ordered_keys(), key=lambda key: key not in written):
            for flipped in flips_at(self.recipe, (key,)) if key != "backend" else ():
                if len(broken_rules(as_written(flipped))) > broken:
                    continue
                try:
                    yield key, flipped, resolve(flipped, self.machine)
                except FinetuneError:
                    continue


def explained(
    checked: Checked, plan: Plan, machine: Machine, path: Path_, others: Neighbours | None = None
) -> Explained:
    recipe = checked.recipe
    found = effect(recipe, plan, machine, path)
    written = is_written(recipe, path)
    return Explained(
        path,
        value_at(recipe, path),
        origin(checked, path),
        written,
        found.changes,
        found.refused,
        "" if found.changes else why_idle(recipe, plan, machine, path, others),
    )


NOTHING = "no other value was found that changes the plan"


def origin(checked: Checked, path: Path_) -> str:
    if not is_written(checked.recipe, path):
        return "default"
    where = checked.source.where(path)
    return f"{where.file}:{where.line}" if where.line else where.file


def all_explained(checked: Checked, plan: Plan, machine: Machine) -> list[Explained]:
    """Every key there is: the written ones in the order of the recipe, then the others in that of the docs."""
    others = Neighbours(checked.recipe.model_copy(update={"backend": plan.backend}), machine)
    rows = [explained(checked, plan, machine, path, others) for path in leaves(checked.recipe)]
    written = sorted((row for row in rows if row.written), key=lambda row: checked.source.where(row.path))
    return written + [row for row in rows if not row.written]


def why_idle(recipe: Recipe, plan: Plan, machine: Machine, path: Path_, others: Neighbours | None = None) -> str:
    """Why flipping the key changes nothing here, found by trying out what it may hang on."""
    backend, key = BACKENDS[plan.backend], str(path[0])
    for word, reasons in (("refused", backend.REFUSES), ("without effect", backend.WAIVES)):
        if key in reasons:
            return f"{word} with `backend: {plan.backend}`: {reasons[key]}"
    pinned = recipe.model_copy(update={"backend": plan.backend})
    return (
        _needs(pinned, machine, path)
        or effect(recipe, plan, machine, path).refused
        or _beside(others or Neighbours(pinned, machine), path)
        or _elsewhere(pinned, machine, path)
        or NOTHING
    )


def _counts(recipe: Recipe, machine: Machine, path: Path_) -> bool:
    try:
        return counts(recipe, resolve(recipe, machine), machine, path)
    except FinetuneError:
        return False


def _needs(recipe: Recipe, machine: Machine, path: Path_) -> str:
    """The keys it declares to need, tried out."""
    needs: Mapping[str, Any] = reach_of(model_at(path), str(path[-1])).needs
    missing = {name: value for name, value in needs.items() if not value_at(recipe, (*path[:-1], name))}
    trial = recipe
    for name, value in missing.items():
        trial = with_value(trial, (*path[:-1], name), value)
    if not missing or not _counts(trial, machine, path):
        return ""
    return "waits for " + ", ".join(f"`{name}: {value_text(value)}`" for name, value in missing.items())


def _beside(others: Neighbours, path: Path_) -> str:
    """Another key whose value stands in the way, found by flipping each; the written ones are tried first."""
    for key, flipped, plan in others:
        if key != path[0] and counts(flipped, plan, others.machine, path):
            now, then = value_text(getattr(others.recipe, key)), value_text(getattr(flipped, key))
            return f"does not count with `{key}: {now}`; it would with `{key}: {then}`"
    return ""


def _elsewhere(recipe: Recipe, machine: Machine, path: Path_) -> str:
    other = Machine(packages=machine.packages) if machine.cuda else assumed()
    if not _counts(recipe, other, path):
        return ""
    return "counts on a machine without a GPU only" if machine.cuda else "counts on a machine with a GPU only"


def on_other_backends(recipe: Recipe, plan: Plan, path: Path_) -> dict[str, str]:
    """Backend -> what the key reaches with it, in words, on a machine with a GPU and every package."""
    machine = assumed()
    told = {}
    for backend in BACKENDS:
        pinned = recipe.model_copy(update={"backend": backend})
        if backend == plan.backend or path == ("backend",):
            continue
        try:
            there = resolve(pinned, machine)
        except FinetuneError as error:
            told[backend] = f"the recipe is refused: {error.faults[0].message}"
            continue
        found = effect(pinned, there, machine, path)
        reached = "; ".join(reach_texts(found.changes, value_at(recipe, path)))
        told[backend] = reached or f"nothing: {why_idle(pinned, there, machine, path)}"
    return told


def path_of(recipe: Recipe, text: str) -> Path_:
    """The path that a dotted key names. UsageError, with the nearest key, if there is none."""
    parts: Path_ = tuple(int(part) if part.isascii() and part.isdigit() else part for part in text.split("."))
    parts = (RENAMED.get(str(parts[0]), parts[0]), *parts[1:])
    if parts[-1] in FOREIGN[Recipe] and parts[-1] not in Recipe.model_fields and len(parts) == 1:
        raise UsageError(foreign.refusal(str(parts[-1])))
    try:
        if isinstance(parts[-1], str):
            field_at(parts)
        value = value_at(recipe, parts)
        if isinstance(parts[-1], int) and not isinstance(value, BaseModel):
            raise LookupError(text)  # an item of a plain list, or a letter of a text: no key
    except (LookupError, AttributeError, TypeError):
        near = get_close_matches(text, [dotted(path) for path in _names(recipe)], n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else "`finetune explain RECIPE` lists the keys there are"
        raise UsageError(f"there is no key `{text}` in this recipe; {hint}") from None
    return parts


def _names(recipe: Recipe) -> Iterator[Path_]:
    """Every path that can be asked for: the keys in force, sections, and the keys of sections that are not written."""
    yield from ((key,) for key in ordered_keys())
    for path in leaves(recipe):
        yield path
        section = section_of(field_at(path).annotation)
        if section is not None and not isinstance(value_at(recipe, path), list):
            yield from ((*path, key) for key in section.model_fields)


def inside(recipe: Recipe, path: Path_) -> list[Path_]:
    """The keys in force below a path; of a section that is not written, those it would have."""
    found = [leaf for leaf in leaves(recipe) if leaf[: len(path)] == path and leaf != path]
    if found or isinstance(path[-1], int):
        return found
    section = section_of(field_at(path).annotation)
    lists = isinstance(value_at(recipe, path), list) or "list" in str(field_at(path).annotation)
    return [] if section is None or lists else [(*path, key) for key in section.model_fields]


def key_facts(path: Path_) -> dict[str, str]:
    """Type, default and meaning of a key, in words."""
    model, key = model_at(path), str(path[-1])
    field = field_at(path)
    return {
        "type": type_text(model.model_json_schema()["properties"][key]),
        "default": "none; it must be written" if field.is_required() else value_text(field.default),
        "meaning": key_texts(model)[key],
    }


def as_json(row: Explained) -> dict[str, Any]:
    sets = [
        {"stage": change.stage, "target": change.target, "number": change.number, "argument": change.argument or None}
        for change in row.changes
    ]
    return {
        "key": row.name,
        "value": plain(row.value),
        "written": row.written,
        "where": row.where,
        "sets": sets,
        "other_values_refused": row.refused or None,
        "idle": row.idle or None,
    }
