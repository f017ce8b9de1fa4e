"""A trial's values -> a recipe file of its own, which stands wherever it lies and trains the same as the trial."""

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from finetune.recipe.load import Checked
from finetune.recipe.recipe import Recipe

Lines = list[str]


def recipe_text(checked: Checked, output_dir: str, head: Lines) -> str:
    """The composed recipe without its sweep, its local paths absolute. `head`: what the comment on top says."""
    data = dict(checked.source.data) | {"output_dir": output_dir}
    data.pop("sweep", None)
    asis = Recipe.model_validate(
        {key: value for key, value in data.items() if key != "output_dir"} | {"output_dir": "o"}
    )
    for key in checked.recipe.model_fields_set - {"output_dir"}:
        found = getattr(checked.recipe, key)
        if found != getattr(asis, key):
            data[key] = _absolute(found)
    if checked.silence:
        data["silence"] = dict(checked.silence)
    comment = "".join(f"# {line}\n" if line else "#\n" for line in head)
    return comment + yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)


def _absolute(value: Any) -> Any:
    """Paths that lead somewhere from the working directory, as they are reached from anywhere."""
    if isinstance(value, BaseModel):
        return _absolute(value.model_dump(exclude_unset=True))
    if isinstance(value, dict):
        return {key: _absolute(item) if key in ("path", "data_files") else item for key, item in value.items()}
    if isinstance(value, list):
        return [_absolute(item) for item in value]
    if isinstance(value, str) and "://" not in value and os.path.exists(value):  # noqa: PTH110
        return str(Path(value).absolute())
    return value
