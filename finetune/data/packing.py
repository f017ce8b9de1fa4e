"""Several examples in one row of at most sequence_len tokens. Order and contents hang on the lengths alone."""

import bisect

from finetune.rendering.examples import Example


def pack_examples(*, purpose: str, sequence_len: int, examples: list[Example]) -> list[list[Example]]:
    """Rows of examples, best fit of the longest first: each goes into the fullest row that still has room.

    No example is cut; AssertionError if one is longer than sequence_len."""
    order = sorted(range(len(examples)), key=lambda number: (-len(examples[number].input_ids), number))
    rows: list[list[Example]] = []
    open_rows: list[tuple[int, int]] = []  # (free tokens, row), sorted: the first with enough room is the best fit
    for number in order:
        length = len(examples[number].input_ids)
        assert length <= sequence_len, f"an example of {length} tokens reached packing to {sequence_len}"
        place = bisect.bisect_left(open_rows, (length, -1))
        if place == len(open_rows):
            rows.append([examples[number]])
            free, row = sequence_len - length, len(rows) - 1
        else:
            free, row = open_rows.pop(place)
            rows[row].append(examples[number])
            free -= length
        if free:
            bisect.insort(open_rows, (free, row))
    return rows
