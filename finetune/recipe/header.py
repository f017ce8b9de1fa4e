"""Keys about the recipe file itself: what it extends and which warnings are silenced. They never reach a library."""

from typing import Annotated

from pydantic import Field

from finetune.recipe.base import Section

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
