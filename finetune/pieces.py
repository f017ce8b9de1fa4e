"""How many tokens' logits the loss makes at a time, for the loss itself and for the memory that it is foreseen to take.
Imports nothing."""

ROOM = 256 * 2**20
"""Bytes that the float32 logits of a piece take at most."""
ENOUGH = 512
"""Tokens of a piece with which a matrix product is as fast as with more."""
LITTLE = 64 * 2**20
"""Bytes of a piece below which more tokens cost nothing worth to speak of."""
TILE = 128
"""Matrix products are made of tiles of so many rows."""


def tokens_of_a_piece(vocabulary: int, learns: bool) -> int:
    """At least 1. `learns`: the output head is trained, and its gradient is read and written once for each piece."""
    most = ROOM // (4 * vocabulary)
    if not learns:
        most = min(most, max(ENOUGH, LITTLE // (4 * vocabulary)))
    return max(1, most - most % TILE if most > TILE else most)
