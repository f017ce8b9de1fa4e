"""From which row of which file a row of the trainer came. Reads the prepared data; decides nothing."""

from collections.abc import Callable
from typing import Any

from finetune.data.packing import Packed
from finetune.data.prepared import Prepared

Origins = Callable[[int], list[str]]
"""A row of the trainer's dataset -> `file row N` of each document in it."""


def origins(prepared: Prepared, purpose: str, packed: Packed | None) -> Origins:
    def of(row: int) -> list[str]:
        made, names = prepared.documents(purpose), prepared.facts["sources"]
        inside: Any = [row] if packed is None else packed.order[packed.bounds[row] : packed.bounds[row + 1]]
        return [f"{names[made.sources[number]]} row {int(made.rows[number])}" for number in inside]

    return of
