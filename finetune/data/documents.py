"""Selected rows -> the documents of a purpose: places in the file of tokens, and what became of each source's rows.
Knows numbers alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from finetune.data.bad_rows import BadOne, BadRows
from finetune.data.table import Table, examples_of
from finetune.rendering.examples import Counted, nothing_left
from finetune.rendering.lengths import Lengths, Losses

COLUMNS = ("starts", "lengths", "learned", "sources", "rows")


@dataclass
class Documents:
    """By document, in the order of training before it is shuffled: its first token in the file of tokens, how many it
    has, how many are learned, its source (a place in the table's) and its row there."""

    starts: Any
    lengths: Any
    learned: Any
    sources: Any
    rows: Any
    counted: Counted = field(default_factory=Counted)
    skipped: list[BadOne] = field(default_factory=list)
    besides: list[str] = field(default_factory=list)
    """What each row says besides its tokens, as JSON, in the same order; none where rows say nothing else."""


def documents_of(table: Table, rows: Any, lengths: Lengths, on_bad_row: str) -> Documents:
    """DataError for bad or too long rows that the recipe does not let go."""
    import numpy

    losses, bad, too_long = Losses(), BadRows(on_bad_row), BadRows()
    count = numpy.bincount(table.names[rows], minlength=len(table.sources))
    for place in dict.fromkeys(table.names[rows].tolist()):
        losses.of(table.sources[place]).rows = int(count[place])
    for row, often in _often(table.refused, rows):
        bad.rows += [table.bad_one(row, table.refused[row])] * often
    for row, often in _often(table.too_long, rows):
        too_long.rows += [table.bad_one(row, table.too_long[row])] * often
    for one in bad.settle():
        losses.of(one.source).skipped += 1
    too_long.settle()
    for row, often in _often(table.lost, rows):
        total = losses.of(table.sources[table.names[row]])
        for name, value in vars(table.lost[row]).items():
            setattr(total, name, getattr(total, name) + value * often)
    examples = examples_of(table, rows)
    of_row = numpy.repeat(rows, table.examples[rows])
    made = Documents(
        table.starts[examples],
        table.lengths[examples],
        table.learned[examples],
        table.names[of_row],
        table.numbers[of_row],
        Counted(len(rows), sources=losses.sources),
        bad.rows,
        [table.besides[row] for row in of_row.tolist()] if table.besides else [],
    )
    return made


def finish(made: Documents, table: Table, rows: Any, lengths: Lengths, purpose: str = "") -> Documents:
    """The same with its sums. DataError if no row is left."""
    counted = made.counted
    counted.kept, counted.tokens = len(made.lengths), int(made.lengths.sum())
    counted.trained_tokens = int(made.learned.sum())
    for name, attribute in (("dropped", "dropped"), ("truncated", "truncated"), ("lost_tokens", "trained_tokens")):
        setattr(counted, name, sum(getattr(lost, attribute) for lost in counted.sources.values()))
    if not counted.kept:
        raise nothing_left(counted, lengths, purpose)
    for row, _ in _often(table.special, rows):
        counted.special.setdefault(table.sources[table.names[row]], {})[int(table.numbers[row])] = table.special[row]
    return made


def _often(by_row: Mapping[int, Any], rows: Any) -> list[tuple[int, int]]:
    """(row, how often it is selected) for those rows of a few that are, in the order of selection."""
    import numpy

    if not by_row:
        return []
    few = numpy.fromiter(by_row, dtype=numpy.int64, count=len(by_row))
    found, firsts, counts = numpy.unique(rows[numpy.isin(rows, few)], return_index=True, return_counts=True)
    order = numpy.argsort(firsts)
    return [(int(found[place]), int(counts[place])) for place in order]


def join(made: Documents, plain: Any, tokens: IO[bytes], limit: int) -> Documents:
    """Plain texts laid end to end and cut into parts of exactly `limit` tokens, the last of what remains. They are
    written once more, behind all others, so that each part stands in one piece. `plain`: which documents they are."""
    import numpy

    from finetune.data.growing import LEARNED

    if not plain.any():
        return made
    tokens.flush()
    whole = numpy.memmap(tokens.name, dtype=numpy.uint32, mode="r")
    begin = tokens.seek(0, 2) // 4
    place = begin
    ends, parts, columns = 0, 0, [list[Any]() for _ in COLUMNS]
    last = (0, 0)

    def put(*values: Any) -> None:
        for column, value in zip(columns, values, strict=True):
            column.append(value)

    for number in range(len(made.lengths)):
        start, length = int(made.starts[number]), int(made.lengths[number])
        last = (int(made.sources[number]), int(made.rows[number])) if plain[number] else last
        if not plain[number]:
            put(start, length, int(made.learned[number]), int(made.sources[number]), int(made.rows[number]))
            continue
        tokens.write(whole[start : start + length].tobytes())
        ends += length
        while ends - parts * limit >= limit:
            put(place, limit, -1, *last)
            place, parts = place + limit, parts + 1
    if ends - parts * limit:
        put(place, ends - parts * limit, -1, *last)
    tokens.flush()
    added = numpy.memmap(tokens.name, dtype=numpy.uint32, mode="r", offset=begin * 4)
    kinds: list[Any] = [numpy.array(column) for column in columns]
    for row in numpy.flatnonzero(kinds[2] < 0):
        part = added[kinds[0][row] - begin :][: kinds[1][row]]
        kinds[2][row] = int((part & LEARNED != 0).sum())
    return Documents(**dict(zip(COLUMNS, kinds, strict=True)), counted=made.counted, skipped=made.skipped)
