"""What a key does: its value flipped to other legal values, the two Plans compared call by call. Keeps no list of its
own, so that what it says about a key is what the Plan does."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from finetune.compare import Change, compare
from finetune.errors import FinetuneError
from finetune.judge import alternatives, section_of
from finetune.machine import Machine
from finetune.plan import Plan
from finetune.recipe.recipe import SECTIONS, Recipe
from finetune.recipe.rules import broken_rules
from finetune.resolve import resolve

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Effect:
    """What a key reaches. `changes`: against the Plan as it is. `refused`: why other values are not legal, where all
    that were tried are not."""

    changes: tuple[Change, ...]
    refused: str = ""


def effect(recipe: Recipe, plan: Plan, machine: Machine, path: Path_) -> Effect:
    """What the key at `path` reaches, on the backend of the Plan."""
    if path != ("backend",):
        # A value that this backend refuses would otherwise move the whole recipe to the other one.
        recipe = recipe.model_copy(update={"backend": plan.backend})
    found: dict[tuple[str, str, int, str], Change] = {}
    reasons: list[str] = []
    legal = 0
    for flipped in flips_at(recipe, path):
        broken = broken_rules(as_written(flipped))
        try:
            other = resolve(flipped, machine)
        except FinetuneError as error:
            reasons.append(error.faults[0].message)
            continue
        except (LookupError, TypeError, ValueError, AttributeError, AssertionError):
            if not broken:
                raise
            other = plan  # what breaks a rule need not resolve
        if broken:
            reasons.append(broken[0][1])
        else:
            legal += 1
        for change in compare(plan, other):
            found.setdefault(change.place, change)
    changes = tuple(change for change in found.values() if not _covered(change, found))
    return Effect(changes, "" if legal or not reasons else reasons[0])


def counts(recipe: Recipe, plan: Plan, machine: Machine, path: Path_) -> bool:
    """Whether `effect` would find a change; stops at the first."""
    for flipped in flips_at(recipe, path):
        try:
            other = resolve(flipped, machine)
        except FinetuneError:
            continue
        except (LookupError, TypeError, ValueError, AttributeError, AssertionError):
            if not broken_rules(as_written(flipped)):
                raise
            continue  # what breaks a rule need not resolve
        if plan.texts != other.texts:
            return True
    return False


def _covered(change: Change, found: Mapping[tuple[str, str, int, str], Change]) -> bool:
    """Whether the argument lies inside another that changes as a whole."""
    parts = change.argument.split(".")
    return any((*change.place[:3], ".".join(parts[:cut])) in found for cut in range(1, len(parts)))


def flips_at(recipe: Recipe, path: Path_) -> Iterator[Recipe]:
    """The recipe with the key at `path` at each other value tried for it."""
    field, current = field_at(path), value_at(recipe, path)
    section = section_of(field.annotation)
    seen = [_plain(current)]
    for value in alternatives(field):
        if _plain(value) in seen:
            continue
        seen.append(_plain(value))
        try:
            yield with_value(recipe, path, _held(value, section))
        except ValidationError:
            continue  # the section around it needs another key as well


def _held(value: Any, section: type[BaseModel] | None) -> Any:
    if section is None:
        return value
    if isinstance(value, list):
        return [section.model_validate(item) for item in value]
    return section.model_validate(value) if isinstance(value, dict) else value


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_none=True)
    return [_plain(item) for item in value] if isinstance(value, list) else value


def as_written(recipe: Recipe) -> dict[str, Any]:
    """The written values as the rules look at them."""
    return {key: _plain(getattr(recipe, key)) for key in recipe.model_fields_set if getattr(recipe, key) is not None}


def field_at(path: Path_) -> FieldInfo:
    """KeyError if there is no such key."""
    return model_at(path).model_fields[str(path[-1])]


def model_at(path: Path_) -> type[BaseModel]:
    """The model that holds the last key of a path. KeyError if there is none."""
    model: type[BaseModel] = Recipe
    for part, after in pairwise(path):
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            inner = section_of(annotation)
            # An entry of a list is named by its number.
            if inner is None or lists_sections(annotation) != isinstance(after, int):
                raise KeyError(part)
            model = inner
    return model


def lists_sections(annotation: Any) -> bool:
    """Whether a key's sections are the items of a list."""
    inside = (part for part in get_args(annotation) if isinstance(part, type) or get_args(part))
    return get_origin(annotation) is list or any(lists_sections(part) for part in inside)


def value_at(value: Any, path: Path_) -> Any:
    """The value in force; inside a section that is not written, or that a plain value stands for, the key's default."""
    for number, part in enumerate(path):
        if isinstance(part, int):
            value = value[part]
        elif not isinstance(value, BaseModel):
            field = field_at(path[: number + 1])
            value = None if field.is_required() else field.default
        else:
            value = getattr(value, part)
    return value


def with_value(recipe: Recipe, path: Path_, value: Any) -> Recipe:
    """The recipe with another value at `path`; a section that is not there is made. ValidationError if it cannot be."""

    def changed(holder: Any, depth: int) -> Any:
        if depth == len(path):
            return value
        part = path[depth]
        if isinstance(part, int):
            return [changed(item, depth + 1) if number == part else item for number, item in enumerate(holder)]
        if not isinstance(holder, BaseModel):
            inner = changed(None, depth + 1)
            return model_at(path[: depth + 1]).model_validate({part: _plain(inner)})
        return holder.model_copy(update={part: changed(getattr(holder, part), depth + 1)})

    new = changed(recipe, 0)
    assert isinstance(new, Recipe)
    return new


def leaves(recipe: Recipe) -> Iterator[Path_]:
    """The path of every key in force, inside sections that are there too, in the order of the docs."""

    def below(holder: BaseModel, path: Path_, keys: list[str]) -> Iterator[Path_]:
        for key in keys:
            value = getattr(holder, key)
            if isinstance(value, BaseModel):
                yield from below(value, (*path, key), keys_of(type(value)))
            elif isinstance(value, list) and value and isinstance(value[0], BaseModel):
                for number, item in enumerate(value):
                    yield from below(item, (*path, key, number), keys_of(type(item)))
            else:
                yield (*path, key)

    yield from below(recipe, (), ordered_keys())


def keys_of(model: Any) -> list[str]:
    """The keys of a section's model."""
    return list(model.model_fields)


def ordered_keys() -> list[str]:
    """The recipe's keys, section by section."""
    keys = [key for section in SECTIONS.values() for key in keys_of(section)]
    return [*dict.fromkeys(keys), *(key for key in Recipe.model_fields if key not in keys)]


def is_written(recipe: Recipe, path: Path_) -> bool:
    """Whether the recipe's text holds the key, rather than its default."""
    holder: Any = recipe
    for part in path:
        if isinstance(part, int):
            holder = holder[part]
        elif not isinstance(holder, BaseModel) or part not in holder.model_fields_set:
            return False
        else:
            holder = getattr(holder, part)
    return True
