"""Several documents in one row of at most sequence_len tokens. Order and contents hang on the lengths alone."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Packed:
    """Documents by their numbers: those of row r are order[bounds[r]:bounds[r + 1]]. `fill`: share of their room that
    holds tokens."""

    order: Any
    bounds: Any
    fill: float


def pack_documents(*, purpose: str, sequence_len: int, lengths: Any) -> Packed:
    """Rows of documents, best fit of the longest first: each goes into the fullest row that still has room; of equally
    full ones into the one that became so last.

    No document is cut; AssertionError if one is longer than sequence_len."""
    import numpy

    del purpose  # the caller's: training or validation
    lengths = numpy.asarray(lengths)
    longest = int(lengths.max(initial=0))
    assert longest <= sequence_len, f"a document of {longest} tokens reached packing to {sequence_len}"
    row_of = numpy.empty(len(lengths), dtype=numpy.int64)
    rows: list[list[int]] = [[] for _ in range(sequence_len + 1)]
    """Free tokens -> the rows that have so many."""
    open_ = 0  # a number whose bit f is set where a row has f free tokens: the lowest one from a length on is the best
    count = 0
    by_length = numpy.argsort(-lengths, kind="stable")
    for number in by_length.tolist():
        length = int(lengths[number])
        fitting = open_ >> length
        if fitting:
            free = length + (fitting & -fitting).bit_length() - 1
            row = rows[free].pop()
            if not rows[free]:
                open_ ^= 1 << free
            free -= length
        else:
            row, free, count = count, sequence_len - length, count + 1
        row_of[number] = row
        if free:
            rows[free].append(row)
            open_ |= 1 << free
    order = by_length[numpy.argsort(row_of[by_length], kind="stable")]
    bounds = numpy.searchsorted(row_of[order], numpy.arange(count + 1))
    return Packed(order, bounds, float(lengths.sum() / (count * sequence_len)) if count else 0.0)
