"""What should be said about a recipe that stands. Which written lines change nothing is found by flipping each to
another legal value and comparing the two Plans."""

from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from finetune.advice import advice
from finetune.errors import Fault, FinetuneError, Where
from finetune.machine import Machine
from finetune.plan import Plan, moved_stages
from finetune.recipe.load import Checked
from finetune.recipe.recipe import Recipe
from finetune.recipe.rules import broken_rules
from finetune.resolve import resolve


def idle_lines(checked: Checked, machines: Sequence[Machine]) -> Iterator[Fault]:
    """A warning for every key written in the recipe whose value the Plan does not hang on, on none of the machines."""
    plans = [(machine, resolve(checked.recipe, machine)) for machine in machines]
    for key in sorted(checked.recipe.model_fields_set):
        if all(changes_nothing(checked.recipe, plan, machine, key) for machine, plan in plans):
            message = f"`{key}` changes nothing in this recipe; remove the line, or set what it depends on"
            yield Fault(message, checked.source.where((key,)), "warning", "FT011")


def judgements(checked: Checked, machines: Sequence[Machine]) -> list[Fault]:
    """Everything that should be said about a recipe that stands, in the order of its lines: notes and warnings, less
    those that the recipe silences."""
    advised = advice(checked)
    # Where there is better to say about a line than that it changes nothing, that is enough.
    better = {fault.where for fault in advised}
    idle = [fault for fault in idle_lines(checked, machines) if fault.where not in better]
    found = [*checked.notes, *idle, *advised]
    codes = {fault.code for fault in found}
    for code in checked.silence:
        if code not in codes:
            message = f"`silence.{code}` silences nothing in this recipe; remove the line"
            found.append(Fault(message, checked.source.where(("silence", code)), "warning", "FT024"))
    return sorted(checked.heard(found), key=lambda fault: fault.where or Where(""))


def changes_nothing(recipe: Recipe, plan: Plan, machine: Machine, key: str) -> bool:
    """Whether the key has other legal values and each gives the same Plan. A value that is refused is an effect too:
    without this one the recipe would not stand."""
    tried = False
    for flipped in flips(recipe, key):
        tried = True
        try:
            refused = bool(broken_rules(written(flipped)))
            if refused or moved_stages(plan, resolve(flipped, machine)):
                return False
        except FinetuneError:
            return False
    return tried


def flips(recipe: Recipe, key: str) -> Iterator[Recipe]:
    """The recipe with the key at each other example value, whether or not that may stand beside the rest."""
    current = _plain(getattr(recipe, key))
    for value in alternatives(Recipe.model_fields[key]):
        if _plain(value) != current:
            yield recipe.model_copy(update={key: _as_field(value, key)})


def alternatives(field: FieldInfo) -> list[Any]:
    """Legal values to flip to: the field's examples, both values of a flag, the default."""
    values = list(field.examples or ())
    if field.annotation is bool:
        values += [True, False]
    if not field.is_required():
        values.append(field.default)
    return values


def written(recipe: Recipe) -> dict[str, Any]:
    return {key: _plain(getattr(recipe, key)) for key in recipe.model_fields_set if getattr(recipe, key) is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_none=True)
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _as_field(value: Any, key: str) -> Any:
    """An example as the field holds it: mappings become the section they describe."""
    model = section_of(Recipe.model_fields[key].annotation)
    if model is None:
        return value
    if isinstance(value, list):
        return [model.model_validate(item) for item in value]
    return model.model_validate(value) if isinstance(value, dict) else value


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section class inside an annotation such as `list[DatasetEntry] | None`."""
    if isinstance(annotation, type) and not get_origin(annotation) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := section_of(part))), None)
