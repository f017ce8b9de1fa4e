"""How many tokens the largest forward pass has: at most, by the recipe's bounds and the lengths of its rows. Knows no
model."""

import heapq
from collections.abc import Sequence

from finetune.memory.estimate import Pass
from finetune.memory.work import Rows


def largest_pass(rows: Rows, lengths: Sequence[int] | None = None, learned: float = 1.0) -> Pass:
    """The largest pass that can come. `lengths`: of the rows, where they are known; else each is as long as it may be.
    `learned`: the share of tokens that the loss counts."""
    longest = min(max(lengths, default=rows.sequence_len), rows.sequence_len) if lengths else rows.sequence_len
    if not rows.together:
        count = min(rows.micro, len(lengths)) if lengths else rows.micro
        tokens = rows.sides * count * longest
        return Pass(tokens, max(round(tokens * learned), 1), longest)
    whole = _longest(rows.of_a_step if rows.tokens_per_pass else rows.micro, lengths, rows.sequence_len)
    if rows.packed:
        whole = (rows.of_a_step if rows.tokens_per_pass else rows.micro) * rows.sequence_len
    tokens = min(whole, max(rows.tokens_per_pass, longest)) if rows.tokens_per_pass else whole
    return Pass(tokens, max(round(tokens * learned), 1), longest)


def _longest(count: int, lengths: Sequence[int] | None, sequence_len: int) -> int:
    """Tokens of so many rows, the longest there are."""
    if not lengths:
        return count * sequence_len
    return sum(heapq.nlargest(count, lengths))
