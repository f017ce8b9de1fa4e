"""Recipe file + overrides -> a checked Recipe, or every fault with its place. Touches the disk only to read the recipe,
DeepSpeed's file, and to see where its relative paths lead; knows no library."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from finetune.codes import CODES
from finetune.errors import Fault, RecipeError, Where
from finetune.recipe import foreign
from finetune.recipe.adapter import LoftqSection, PeftSection
from finetune.recipe.anchor import anchored
from finetune.recipe.base import Section
from finetune.recipe.compose import interpolate, override
from finetune.recipe.data import DatasetEntry
from finetune.recipe.extends import read_with_bases
from finetune.recipe.header import Header
from finetune.recipe.messages import faults_of, meant_by, place_of
from finetune.recipe.method import TrlConfig
from finetune.recipe.model import BnbConfig, QuantizationKwargs, SpecialTokens
from finetune.recipe.parallel import FsdpConfig
from finetune.recipe.recipe import Recipe
from finetune.recipe.rows import MessageProperties, PromptFormat
from finetune.recipe.rules import broken_rules
from finetune.recipe.secrets import refuse_secrets
from finetune.recipe.source import Path_, Source, path_of
from finetune.recipe.spellings import today
from finetune.recipe.surviving import LIBRARIES
from finetune.recipe.sweep import SweepSection
from finetune.recipe.unsaid import unsaid, written_for_axolotl
from finetune.recipe.zero import with_zero_file

SECTIONS: dict[str, type[Section]] = {
    "special_tokens": SpecialTokens,
    "bnb_config_kwargs": BnbConfig,
    "model_quantization_config_kwargs": QuantizationKwargs,
    "peft": PeftSection,
    "loftq_config": LoftqSection,
    "message_property_mappings": MessageProperties,
    "type": PromptFormat,
    "trl": TrlConfig,
    "fsdp_config": FsdpConfig,
}
"""Keys that hold a section of keys of their own."""
FOREIGN: dict[type[Section], frozenset[str]] = {
    Recipe: foreign.RECIPE_KEYS,
    DatasetEntry: foreign.DATASET_KEYS,
    **dict.fromkeys(SECTIONS.values(), frozenset()),
    TrlConfig: foreign.TRL_KEYS,
    FsdpConfig: foreign.FSDP_KEYS,
}
INSIDE: dict[type[Section], str] = {DatasetEntry: "datasets", TrlConfig: "trl", FsdpConfig: "fsdp_config"}
"""Where a section's keys stand, as the tables of foreign keys have it."""


@dataclass(frozen=True)
class Checked:
    """A recipe that passed, with where its lines stand and what should be said about them. `silence`: code of a warning
    -> why the recipe does not want to see it."""

    recipe: Recipe
    source: Source
    notes: tuple[Fault, ...]
    silence: Mapping[str, str] = field(default_factory=dict)
    sweep: SweepSection | None = None

    def heard(self, faults: Sequence[Fault]) -> list[Fault]:
        """The faults that the recipe does not silence."""
        return [fault for fault in faults if fault.code not in self.silence]


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Checked:
    """The checked recipe of a file. RecipeError with every fault at once."""
    source, notes, contradictions = read_with_bases(path)
    refuse_secrets(source, overrides)
    source = interpolate(override(source, overrides))
    refuse_secrets(source, overrides)
    source, later, faults = today(source)
    source, of_file = with_zero_file(source)
    notes += later + [fault for fault in of_file if fault.severity == "note"]
    faults += contradictions + [fault for fault in of_file if fault.severity == "error"]
    spelt = {fault.where for fault in faults}
    values, foreigners = _without_off(source.data, source)
    notes += [fault for fault in foreigners if fault.severity == "note"]
    faults += [fault for fault in foreigners if fault.severity == "error"]
    silence, found = _silence(values, source)
    sweep, wrong_sweep = _sweep(values, source)
    recipe, values, wrong = _validated(values, source)
    # What stays in its old spelling is no unknown key.
    faults += [*found, *wrong_sweep, *(fault for fault in wrong if fault.where not in spelt)]
    faults += [Fault(message, source.where(path_of(key)), code="FT005") for key, message in _broken(values)]
    faults += _no_keys(values, source)
    if faults or recipe is None:
        raise RecipeError(*sorted(set(faults), key=lambda fault: (fault.where is None, fault.where, fault.message)))
    source = replace(source, data=values)
    if written_for_axolotl(source, notes):
        notes += [Fault(message, source.where(()), "note", "FT032") for message in unsaid(recipe)]
    recipe, warnings = anchored(recipe, source)
    if sweep is not None:
        message = "`sweep` is for `finetune sweep`; any other command goes by the recipe's own values"
        notes.append(Fault(message, source.where(("sweep",)), "note", "FT027"))
    return Checked(recipe, source, (*notes, *warnings), silence, sweep)


def _broken(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Broken rules, but for those that only a misspelt key breaks: the key itself is told."""
    found = broken_rules(values)
    meant = {
        near: value for key, value in values.items() if key not in Recipe.model_fields and (near := meant_by((key,)))
    }
    if not found or not meant:
        return found
    also = broken_rules({**meant, **values})
    return [finding for finding in found if finding in also]


def _validated(values: dict[str, Any], source: Source) -> tuple[Recipe | None, dict[str, Any], list[Fault]]:
    """(the recipe, the values it was made of, the faults). A value that asks for nothing ("", [], 0 ...) where the key
    takes no such value and has no default but "unset" means unset."""
    try:
        return Recipe.model_validate(values), values, []
    except ValidationError as error:
        places = [place_of(detail["loc"]) for detail in error.errors(include_url=False)]
        off = [path for place in places if (path := _off_path(place, values))]
        if not off:
            return None, values, list(faults_of(error, source))
    values = _without(values, off)
    try:
        return Recipe.model_validate(values), values, []
    except ValidationError as error:
        return None, values, list(faults_of(error, source))


def _off_path(path: Path_, values: Mapping[str, Any]) -> Path_ | None:
    """The key around a faulty place, if its whole value asks for nothing and the key's default is "unset"."""
    model, length = _model_of(path)
    known = model.model_fields.get(str(path[length - 1])) if path else None
    if known is None or known.is_required() or known.default is not None:
        return None
    value: Any = values
    for part in path[:length]:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return path[:length] if _nothing(value) else None


def _nothing(value: Any) -> bool:
    """Whether a value asks for nothing."""
    return value is None or value is False or value in ("", [], {}, 0)


def _model_of(path: Path_) -> tuple[type[Section], int]:
    """The section that holds the key around a place, and how many parts of the path lead to the key."""
    model: type[Section] = Recipe
    length = 1
    if path[:1] in (("datasets",), ("test_datasets",)) and len(path) > 2:
        model, length = DatasetEntry, 3
    while len(path) > length and path[length - 1] in SECTIONS:
        model, length = SECTIONS[str(path[length - 1])], length + 1
    return model, length


def _without(values: dict[str, Any], paths: Sequence[Path_]) -> dict[str, Any]:
    return {key: _kept(value, (key,), paths) for key, value in values.items() if (key,) not in paths}


def _kept(value: Any, path: Path_, paths: Sequence[Path_]) -> Any:
    if isinstance(value, dict):
        return {key: _kept(item, (*path, key), paths) for key, item in value.items() if (*path, key) not in paths}
    if isinstance(value, list):
        return [_kept(item, (*path, number), paths) for number, item in enumerate(value)]
    return value


def _no_keys(values: Mapping[str, Any], source: Source) -> list[Fault]:
    """What resume_changed names and no recipe has: it would allow nothing."""
    from difflib import get_close_matches

    found, names = [], values.get("resume_changed")
    known = [*Recipe.model_fields, LIBRARIES]
    for number, name in enumerate(names if isinstance(names, list) else ()):
        if isinstance(name, str) and name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"name a key of the recipe, or {LIBRARIES}"
            place = ("resume_changed", number) if ("resume_changed", number) in source.lines else ("resume_changed",)
            found.append(
                Fault(f"`resume_changed` names `{name}`, which is no key; {hint}", source.where(place), code="FT003")
            )
    return found


def _silence(values: dict[str, Any], source: Source) -> tuple[dict[str, str], list[Fault]]:
    """The silenced codes, taken out of the values; faults for codes that do not exist or cannot be silenced."""
    given = values.pop("silence", None)
    if given is None:
        return {}, []
    try:
        silenced = Header.model_validate({"silence": given}).silence or {}
    except ValidationError as error:
        return {}, list(faults_of(error, source))
    faults = []
    for code in silenced:
        if code not in CODES or CODES[code].severity == "error":
            why = "is no code; docs/codes.md lists them" if code not in CODES else "is an error, which must be mended"
            faults.append(Fault(f"`silence.{code}`: {code} {why}", source.where(("silence", code)), code="FT003"))
    return silenced, faults


def _sweep(values: dict[str, Any], source: Source) -> tuple[SweepSection | None, list[Fault]]:
    """The section of a sweep, taken out of the values."""
    given = values.pop("sweep", None)
    if _nothing(given):
        return None, []
    try:
        return Header.model_validate({"sweep": given}).sweep, []
    except ValidationError as error:
        return None, list(faults_of(error, source))


def _without_off(data: Mapping[str, Any], source: Source) -> tuple[dict[str, Any], list[Fault]]:
    """The values that ask for something; faults for foreign keys that are on, and notes on those without effect. null
    always means "as if not written"."""
    faults: list[Fault] = []

    def kept(values: Mapping[str, Any], path: Path_, model: type[Section]) -> Iterator[tuple[str, Any]]:
        for key, value in values.items():
            if key in FOREIGN[model]:
                if not foreign.is_off(key, value):
                    faults.append(_foreign(key, value, source.where((*path, key)), INSIDE.get(model, "")))
            elif key in SECTIONS and isinstance(value, dict) and key in model.model_fields:
                # People leave whole blocks of keys empty.
                if inside := dict(kept(value, (*path, key), SECTIONS[key])):
                    yield key, inside
            elif key not in model.model_fields or value is not None:
                yield key, value

    values = dict(kept(data, (), Recipe))
    for key in ("datasets", "test_datasets"):
        if isinstance(values.get(key), list):
            values[key] = [
                dict(kept(entry, (key, number), DatasetEntry)) if isinstance(entry, dict) else entry
                for number, entry in enumerate(values[key])
            ]
    return values, faults


def _foreign(key: str, value: Any, where: Where, inside: str) -> Fault:
    why = foreign.waiver(key, value, inside)
    if why is None:
        return Fault(foreign.refusal(key, inside), where, code="FT004")
    return Fault(f"`{key}` is accepted and does nothing here: {why}", where, "note", "FT023")
