"""How a recipe names what rewards an answer. Knows no file."""

import re
from dataclasses import dataclass

FUNCTION = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)(@(sha256[:=])?(?P<sha256>[0-9a-fA-F]{12,64}))?")
DOTTED = re.compile(r"(?P<module>[A-Za-z_]\w*)\.(?P<name>[A-Za-z_]\w*)")
"""Axolotl's spelling of a function: the file without its ending."""


@dataclass(frozen=True)
class FunctionName:
    """`sha256`: hexadecimal digits with which the file's digest begins, or none."""

    file: str
    name: str
    sha256: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.name}" + (f"@{self.sha256}" if self.sha256 else "")


def parsed(text: str) -> FunctionName | str:
    """A function in a file, or else the name of a reward model."""
    found = FUNCTION.fullmatch(text)
    if found is None:
        return text
    return FunctionName(found["file"], found["name"], (found["sha256"] or "").lower())
