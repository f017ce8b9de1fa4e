"""Keys about the recipe file itself: what it extends, which warnings are silenced, what a sweep tries. They never reach
a library."""

from typing import Annotated

from pydantic import Field

from finetune.recipe.base import Section
from finetune.recipe.sweep import SweepSection

_Name = Annotated[str, Field(min_length=1)]


class Header(Section):
    extends: Annotated[
        _Name | Annotated[list[_Name], Field(min_length=1)] | None, Field(examples=["base.yaml", ["a.yaml", "b.yaml"]])
    ] = None
    """Recipe files, relative to this one, whose keys hold where this file does not write them; a later file wins over
    an earlier one. Mappings are merged, lists are replaced, and null takes a key back to its default."""
    silence: Annotated[
        dict[Annotated[str, Field(pattern=r"^FT[0-9]{3}$")], Annotated[str, Field(min_length=3)]] | None,
        Field(examples=[{"FT012": "a small model learns well at 1e-3"}]),
    ] = None
    """Code of a warning -> why it is not shown for this recipe. Errors cannot be silenced."""
    sweep: Annotated[
        SweepSection | None,
        Field(examples=[{"method": "grid", "parameters": {"lora_r": [8, 16], "learning_rate": [1e-4, 3e-4]}}]),
    ] = None
    """What `finetune sweep` tries; every other command goes by the recipe's own values."""
