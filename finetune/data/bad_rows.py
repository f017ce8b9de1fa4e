"""Rows that cannot be used: refused together, with the first of them listed, or left out and remembered. Knows what a
recipe wants done with them; knows no file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from finetune.errors import DataError, Fault, Where

SHOWN = 10
"""Reasons that are listed."""
NAMED = 5
"""Rows that are named for each."""


@dataclass(frozen=True)
class BadOne:
    """Where a row stands (`line` and `column`: where in a text file the fault is, if known), and why it is not used."""

    source: str
    row: int
    why: str
    line: int = 0
    column: int = 0

    def fault(self) -> Fault:
        if self.line:
            return Fault(self.why, Where(self.source, self.line, self.column))
        return Fault(f"row {self.row}: {self.why}", Where(self.source))

    def as_json(self) -> dict[str, Any]:
        return {"source": self.source, "row": self.row, "why": self.why}


@dataclass
class BadRows:
    """`policy`: error or skip, as on_bad_row has it."""

    policy: str = "error"
    rows: list[BadOne] = field(default_factory=list)

    def settle(self) -> list[BadOne]:
        """The rows to leave out. DataError if there are any and the recipe does not skip them."""
        if not self.rows or self.policy == "skip":
            return self.rows
        alike = _alike(self.rows)
        more = sum(map(len, alike[SHOWN:]))
        last = [f"{more} more rows are bad too"] * (more > 0)
        advice = "mend them, or leave them out with on_bad_row: skip"
        raise DataError(*map(_fault, alike[:SHOWN]), Fault("; ".join([*last, advice])))


def _alike(rows: list[BadOne]) -> list[list[BadOne]]:
    """Rows of one source that are bad for one reason, in the order of their first."""
    found: dict[object, list[BadOne]] = {}
    for bad in rows:
        found.setdefault((bad.source, bad.line or bad.why, bad.column), []).append(bad)
    return list(found.values())


def _fault(alike: list[BadOne]) -> Fault:
    if len(alike) == 1 or alike[0].line:
        return alike[0].fault()
    numbers = list(dict.fromkeys(str(bad.row) for bad in alike))
    more = len(numbers) - NAMED
    named = ", ".join(numbers[:NAMED]) + (f" and {more:,} more" if more > 0 else "")
    return Fault(f"row{'s' * (len(numbers) > 1)} {named}: {alike[0].why}", Where(alike[0].source))


def counts(rows: list[BadOne]) -> Mapping[str, int]:
    """Source -> how many of its rows are bad."""
    found: dict[str, int] = {}
    for bad in rows:
        found[bad.source] = found.get(bad.source, 0) + 1
    return found
