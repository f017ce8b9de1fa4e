"""How attention weighs tokens. Only a record."""

from typing import NamedTuple


class Terms(NamedTuple):
    """`cap`: scores are cap * tanh(score / cap). `window`: tokens that a token sees, itself one of them; None: all
    before it."""

    scale: float
    cap: float | None = None
    window: int | None = None
