"""What a person should hear of rows that say what others say: learned twice, or learned and measured on. Decides
nothing; knows digests and places alone."""

from collections.abc import Iterator
from typing import Any

from finetune.data.table import Table

SHOWN = 3
"""Places that are named."""


def said_again(table: Table, training: Any, validation: Any) -> Iterator[str]:
    """Warnings. A row that its source's weight repeats is meant to be, and a row that is held out is no second one."""
    import numpy

    learned = numpy.unique(training)
    if len(learned):
        _, firsts = numpy.unique(table.digests[learned, 0], return_index=True)
        again = numpy.ones(len(learned), dtype=bool)
        again[firsts] = False
        if again.any():
            yield (
                f"warning: {again.sum():,} of {len(learned):,} training rows say what an earlier one says, and are "
                f"learned again ({_places(table, learned[again])}). dataset_exact_deduplication: true takes each once"
            )
    measured = numpy.unique(validation)
    seen = measured[numpy.isin(table.digests[measured, 0], table.digests[learned, 0])]
    if len(seen):
        yield (
            f"warning: {len(seen):,} of {len(measured):,} validation rows are trained on too "
            f"({_places(table, seen)}), so that what is measured is no sign of how the model does on others. Remove "
            "them from one side, or set dataset_exact_deduplication: true, which trains on none of them"
        )


def _places(table: Table, rows: Any) -> str:
    named = [f"{table.sources[table.names[row]]} row {table.numbers[row]}" for row in rows[:SHOWN].tolist()]
    return ", ".join(named) + (", ..." if len(rows) > SHOWN else "")
