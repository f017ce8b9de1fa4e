"""Rows that cannot be used: refused together, with the first of them listed, or left out and remembered. Knows what a
recipe wants done with them; knows no file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from finetune.errors import DataError, Fault, Where

SHOWN = 10


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

    def settle(self, what: str = "") -> list[BadOne]:
        """The rows to leave out. DataError if there are any and the recipe does not skip them; `what` then names what
        is not used for them."""
        if not self.rows or self.policy == "skip":
            return self.rows
        more = len(self.rows) - SHOWN
        last = [what] * bool(what) + [f"{more} more rows are bad too"] * (more > 0)
        advice = "mend them, or leave them out with on_bad_row: skip"
        raise DataError(*(bad.fault() for bad in self.rows[:SHOWN]), Fault("; ".join([*last, advice])))


def counts(rows: list[BadOne]) -> Mapping[str, int]:
    """Source -> how many of its rows are bad."""
    found: dict[str, int] = {}
    for bad in rows:
        found[bad.source] = found.get(bad.source, 0) + 1
    return found
