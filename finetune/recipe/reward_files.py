"""Where the code of reward functions stands, and its digest. Code that a recipe names is only run if it stands beside
the recipe or the recipe pins it; reads the file and runs nothing."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from finetune.errors import Fault, RecipeError
from finetune.recipe.method_rules import dotted
from finetune.recipe.rewards import FunctionName, parsed
from finetune.recipe.source import Source

PLACE = ("trl", "reward_funcs")


def anchored_rewards(texts: list[str], source: Source, anchor: Callable[[str], str]) -> list[str]:
    """The entries of reward_funcs, functions with the whole path and digest of their file. RecipeError for a file that
    is not there, that is another than the recipe pins, or that stands elsewhere and is not pinned."""
    return [_anchored(text, source, anchor) for text in texts]


def _anchored(text: str, source: Source, anchor: Callable[[str], str]) -> str:
    found, folder = parsed(text), Path(source.name).parent
    axolotls = dotted(text)
    if axolotls is not None and (folder / axolotls[0]).is_file():
        found = FunctionName(*axolotls)
    if not isinstance(found, FunctionName):
        model = anchor(text)
        return os.path.abspath(model) if os.path.isdir(model) else model  # noqa: PTH100, PTH112
    path = Path(found.file).expanduser()
    beside = folder / path
    is_beside = not path.is_absolute() and beside.resolve().is_relative_to(folder.resolve())
    try:
        digest = hashlib.sha256(beside.read_bytes()).hexdigest()
    except OSError as error:
        why = f"{found.file} cannot be read: {error.strerror or error}; it is looked up beside the recipe"
        raise _fault(source, why) from None
    if found.sha256 and not digest.startswith(found.sha256):
        raise _fault(
            source, f"{found.file} has the sha256 {digest}, and the recipe pins {found.sha256}. Read what it is"
        )
    if not found.sha256 and not is_beside:
        raise _fault(
            source,
            f"{found.file} does not stand beside the recipe, so what it does must be pinned: read it, and write "
            f"{found.file}:{found.name}@{digest[:16]}",
        )
    return str(FunctionName(os.path.abspath(beside), found.name, digest))  # noqa: PTH100


def _fault(source: Source, why: str) -> RecipeError:
    return RecipeError(Fault(f"`reward_funcs`: {why}", source.where(PLACE), code="FT005"))
