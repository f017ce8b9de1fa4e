"""What differs between two recipes or runs, in force: keys, planned calls, and the figures that follow. Prints nothing;
reads recipes and what a run folder stores about itself."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.compare import ABSENT, Change, compare
from finetune.derived import count_rows, effective_batch, steps, tokens_per_step
from finetune.effects import Path_, leaves, ordered_keys, value_at
from finetune.errors import FinetuneError, RunFolderError
from finetune.explain import dotted, origin
from finetune.plan import Plan
from finetune.readable import plain
from finetune.recipe.load import Checked, load_recipe
from finetune.rundir import MARKER, RunDir


@dataclass(frozen=True)
class Side:
    """One of the two. `stored`: it is a run, and this is the plan that was carried out."""

    name: str
    checked: Checked
    plan: Plan
    stored: bool = False


@dataclass(frozen=True)
class KeyChange:
    """A key whose value differs, with where each comes from. A key that one side lacks is ABSENT there."""

    key: str
    values: tuple[Any, Any]
    origins: tuple[str, str]


@dataclass(frozen=True)
class Difference:
    """`figures`: name -> value of each side, None where it cannot be known before the run."""

    keys: tuple[KeyChange, ...]
    calls: tuple[Change, ...]
    figures: dict[str, tuple[int | None, int | None]]

    @property
    def equal(self) -> bool:
        return not self.keys and not self.calls


def difference(one: Side, other: Side) -> Difference:
    figures = {
        name: (mine, theirs)
        for (name, mine), theirs in zip(_figures(one.checked).items(), _figures(other.checked).values(), strict=True)
    }
    return Difference(tuple(_keys(one.checked, other.checked)), tuple(compare(one.plan, other.plan)), figures)


def _keys(one: Checked, other: Checked) -> Iterator[KeyChange]:
    mine, theirs = (list(leaves(checked.recipe)) for checked in (one, other))
    place = {key: number for number, key in enumerate(ordered_keys())}
    paths = [*mine, *(path for path in theirs if path not in mine)]
    for path in sorted(paths, key=lambda path: place[str(path[0])]):
        values = tuple(_value(checked, path, paths) for checked, paths in ((one, mine), (other, theirs)))
        inner = any(other != path and other[: len(path)] == path for other in paths)
        if values[0] != values[1] and not (inner and set(map(str, values)) == {ABSENT, str(None)}):
            origins = tuple(
                "-" if value == ABSENT else origin(checked, path)
                for value, checked in zip(values, (one, other), strict=True)
            )
            yield KeyChange(dotted(path), (values[0], values[1]), (origins[0], origins[1]))


def _value(checked: Checked, path: Path_, there: list[Path_]) -> Any:
    """ABSENT for a key of a section that this side does not have."""
    return plain(value_at(checked.recipe, path)) if path in there else ABSENT


def _figures(checked: Checked) -> dict[str, int | None]:
    recipe = checked.recipe
    rows = count_rows(recipe)
    return {
        "training rows": rows,
        "rows per step": effective_batch(recipe),
        "steps": steps(recipe, rows),
        "tokens per step at most": tokens_per_step(recipe),
    }


def is_run(path: Path) -> bool:
    return os.path.isdir(path) and os.path.isfile(path / MARKER)  # noqa: PTH112, PTH113 - also for odd names


def load_run(path: Path) -> tuple[Checked, Plan]:
    """What a run was made from, and the plan that was carried out. RunFolderError where the folder does not hold it.

    The stored text is checked beside the recipe it was given as, if that is the same still: relative paths lead
    somewhere from there."""
    folder = RunDir(path)
    stored = path / "recipe.yaml"
    try:
        plan = Plan.from_json(folder.read("plan.json"))
        given = folder.read("origin.json")
        overrides = [str(text) for text in given["overrides"]]
        original = Path(given["directory"]) / given["recipe"]
    except (KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{path} was not written by this version: {error}") from None
    return _checked(stored, original, overrides), plan


def _checked(stored: Path, original: Path, overrides: list[str]) -> Checked:
    try:
        if original.read_text("utf-8-sig") == stored.read_text("utf-8-sig"):
            return load_recipe(_near(original), overrides)
    except (OSError, UnicodeDecodeError, FinetuneError):
        pass  # moved, changed or gone: what the folder holds counts
    return load_recipe(stored, overrides)


def _near(path: Path) -> Path:
    """Relative to the working directory where it lies below it, so that its values read as in a recipe named so."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
