"""How much a script may ask of whoever reads it: scripts come from anywhere, and a name that is joined with itself
thirty times, or functions that call each other, would fill the memory or never end. Knows no expression's value."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONGEST = 100_000
"""Letters, items and eighths of a bit that a value holds at most."""
LOOKS = 5_000
"""Calls of the file's own functions that are looked into."""
WIDE = re.compile(r"\d{4}")
"""In a format: so many columns."""
GROWING = (ast.BinOp, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.JoinedStr, ast.Call)
"""Expressions that make a value larger than its parts."""
TOO_LARGE = "it is larger than a setting would be"


@dataclass
class Budget:
    """What is left of LOOKS, for all of a file together."""

    looks: int = LOOKS


def too_large(value: Any) -> bool:
    """Whether a value holds more than LONGEST, all that is inside it counted as often as it stands there."""
    left, waiting = LONGEST, [value]
    while waiting and left >= 0:
        one = waiting.pop()
        left -= 1
        if isinstance(one, str):
            left -= len(one)
        elif isinstance(one, int):
            left -= 8 * one.bit_length()
        elif isinstance(one, Mapping):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one
    return left < 0
