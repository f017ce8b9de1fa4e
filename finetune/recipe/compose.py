"""Command-line overrides (`datasets.0.path=x`) and `${...}` interpolation, through OmegaConf. Knows no key."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from finetune.errors import Fault, RecipeError, Where
from finetune.recipe.source import Path_, Source, read_text


def _fault(message: str, where: Where) -> Fault:
    return Fault(message, where, code="FT007")


def override(source: Source, overrides: Sequence[str]) -> Source:
    """The source with each `key=value` set; a value is read as YAML 1.2, like the file's own.

    RecipeError for one without `=`, a list index that is not there, or a value that is not YAML."""
    if not overrides:
        return source
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    config = OmegaConf.create(source.data)
    lines = dict(source.lines)
    for text in overrides:
        where = Where(f"override `{text}`")
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise RecipeError(_fault("write an override as key=value, for example learning_rate=1e-4", where))
        parts: Path_ = tuple(int(part) if part.isascii() and part.isdigit() else part for part in key.split("."))
        try:
            _checked_index(source.data, parts)
            read = read_text(str(where), f"value: {value}").data
            if len(read) > 1:
                raise ValueError("the value holds a second key")
            OmegaConf.update(config, key, read["value"], merge=False)
        except IndexError as error:
            raise RecipeError(_fault(str(error), where)) from None
        except (OmegaConfBaseException, ValueError, TypeError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise RecipeError(_fault(f"this override does not fit the recipe: {reason}", where)) from None
        lines = {path: place for path, place in lines.items() if path[: len(parts)] != parts}
        for depth in range(1, len(parts) + 1):
            lines.setdefault(parts[:depth], where)
        lines[parts] = where
    data = OmegaConf.to_container(config, resolve=False)
    assert isinstance(data, dict)
    return replace(source, data={str(key): value for key, value in data.items()}, lines=lines)


def _checked_index(data: Any, parts: Path_) -> None:
    """IndexError, in our words, where a number in the path names no item of a list."""
    for depth, part in enumerate(parts):
        if isinstance(data, list):
            if not isinstance(part, int) or part >= len(data):
                name = ".".join(map(str, parts[:depth]))
                raise IndexError(f"`{name}` has {len(data)} item(s), numbered from 0, and no item `{part}`")
            data = data[part]
        elif isinstance(data, dict):
            data = data.get(str(part))
        else:
            return


def interpolate(source: Source) -> Source:
    """The source with `${key}` and `${oc.env:NAME}` replaced. RecipeError where one cannot be."""
    if not _holds(source.data, "${"):
        return source
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    faults: list[Fault] = []
    try:
        config = OmegaConf.create(source.data)
    except OmegaConfBaseException as error:
        raise RecipeError(
            _fault(f"`${{` opens what cannot be read: {str(error).splitlines()[0]}", Where(source.name))
        ) from None
    data: dict[str, Any] = {}
    for key in source.data:
        try:
            value = config[key]
            data[key] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            faults.append(_fault(f"`${{...}}` cannot be filled in: {reason}. A literal is \\${{", source.where((key,))))
    if faults:
        raise RecipeError(*faults)
    return replace(source, data=data)


def _holds(data: Any, text: str) -> bool:
    if isinstance(data, dict):
        return any(_holds(value, text) for value in data.values())
    if isinstance(data, list):
        return any(_holds(value, text) for value in data)
    return isinstance(data, str) and text in data


def dumped(source: Source) -> str:
    """The composed recipe as YAML: what it extends, overrides and interpolation filled in, in today's spelling."""
    import yaml

    head = "# Composed: extends, overrides and ${...} are filled in. What was written stands in recipe.yaml.\n"
    return head + yaml.safe_dump(source.data, sort_keys=False, allow_unicode=True, width=120)
