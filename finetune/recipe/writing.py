"""Values as YAML text: plain where every YAML reader takes a word for the same value, else quoted. Knows no key."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

PLAIN = re.compile(r"[A-Za-z_/][\w./@+-]*(?:[ ][\w./@+-]+)*", re.ASCII)
# Words that are no text in YAML 1.1 or 1.2.
WORDS = frozenset("y n yes no on off true false null".split())


def scalar_text(value: Any, quote: str = "") -> str:
    """One scalar on one line; text in `quote` where it was in quotes before."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _float(value)
    if not isinstance(value, str):
        return str(value)
    if not value.isprintable():
        return json.dumps(value)
    if quote == '"':
        return json.dumps(value, ensure_ascii=False)
    if quote != "'" and PLAIN.fullmatch(value) and value.lower() not in WORDS:
        return value
    return "'" + value.replace("'", "''") + "'"


def _float(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = repr(value)
    # YAML 1.1 takes 1e-05 for text: it wants a point.
    return text if "." in text or "e" not in text else text.replace("e", ".0e")


def written(value: Any, quote: str = "", as_json: bool = False) -> str:
    """A value on one line, with braces and brackets; `as_json` with JSON's quotes."""
    quote = '"' if as_json else quote
    if isinstance(value, Mapping):
        keys = (scalar_text(key, '"' if as_json else "") for key in value)
        pairs = (f"{key}: {written(item, '', as_json)}" for key, item in zip(keys, value.values(), strict=True))
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(written(item, "", as_json) for item in value) + "]"
    return scalar_text(value, quote)


def block_lines(value: Any, column: int) -> list[str]:
    """A mapping or list as indented lines, without line ends."""
    lines: list[str] = []
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(item, list | dict) and item:
                lines += [" " * column + f"{scalar_text(key)}:", *block_lines(item, column + 2)]
            else:
                lines.append(" " * column + f"{scalar_text(key)}: {written(item)}")
        return lines
    for item in value:
        if isinstance(item, list | dict) and item:
            first, *rest = block_lines(item, column + 2)
            lines += [" " * column + f"- {first.strip()}", *rest]
        else:
            lines.append(" " * column + f"- {written(item)}")
    return lines
