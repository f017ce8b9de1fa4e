"""Which rows are trained on and which are kept for validation, by numbers and digests alone: the draw of each entry,
equal rows, the validation rows. The same decisions as sources.read_rows and split make of rows in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.data.bad_rows import BadOne, BadRows
from finetune.data.choosing import copies
from finetune.data.entries import Entry
from finetune.data.equals import said_again
from finetune.data.sources import Taken, none_taken, refuse_too_many
from finetune.data.split import nothing_left
from finetune.data.table import Table, examples_of, twice
from finetune.errors import DataError


@dataclass(frozen=True)
class Selected:
    """Rows of the table for each purpose, in order and as often as they count; bad rows that were left out; what a
    person should hear."""

    training: Any
    validation: Any
    skipped: list[BadOne]
    notes: list[str]


class _Digests(Sequence[str]):
    """Digests as text, spelled out one at a time."""

    def __init__(self, digests: Any) -> None:
        self._digests = digests

    def __len__(self) -> int:
        return len(self._digests)

    def __getitem__(self, place: Any) -> Any:
        return self._digests[place].astype(">u8").tobytes().hex()


def selected(table: Table, entries: Sequence[Entry], selection: Mapping[str, Any]) -> Selected:
    """DataError for bad rows that are not skipped, and where nothing is left of an entry or of a purpose."""
    import numpy

    rows: dict[str, list[Any]] = {"train": [], "validation": []}
    skipped: list[BadOne] = []
    notes: list[str] = []
    for number, entry in enumerate(entries):
        taken, drawn = _taken(table, number, entry)
        if entry.purpose == "train" and selection.get("shuffle") is not None:
            drawn = drawn[numpy.random.default_rng([selection["shuffle"], number]).permutation(len(drawn))]
        rows[entry.purpose].append(drawn)
        skipped += taken.skipped
        notes += [*taken.notes, *taken.said(entry.path)]
    training, validation = (numpy.concatenate([numpy.empty(0, dtype=numpy.int64), *rows[one]]) for one in rows)
    if selection["deduplicate"]:
        count = len(training) + len(validation)
        training, validation = _without_duplicates(_groups(table.digests), training, validation)
        left = count - len(training) - len(validation)
        notes.append(f"{left} of {count} rows say what another says and were dropped")
    training, held_out = _split(table, training, selection["val_set_size"])
    validation = validation if len(validation) else held_out
    return Selected(training, validation, skipped, [*notes, *said_again(table, training, validation)])


def _taken(table: Table, number: int, entry: Entry) -> tuple[Taken, Any]:
    """(what is said of an entry, its rows as often as they are taken)."""
    import numpy

    said = table.said[number]
    skipped = BadRows(entry.on_bad_row, said.bad).settle()
    refuse_too_many(skipped, said.seen, entry.max_dropped_share)
    rows = numpy.arange(said.first, said.last)
    if not len(rows):
        raise none_taken(entry.path, said.seen, skipped)
    if entry.source.stream:
        rows = rows[: _streamed(table, rows, entry.source.stream)]
        note = f"{entry.path}: streamed, its first {len(rows):,} rows are used"
        return Taken([], skipped, 0, [note]), rows
    draw = entry.source.draw
    if not draw.takes_all:
        tokens = _tokens(table, rows).tolist() if draw.unit == "tokens" else ()
        times = numpy.array(copies(_Digests(table.digests[said.first : said.last]), draw, tokens))
        taken = int((times > 0).sum())
        rows = numpy.repeat(rows, times)
        if not len(rows):
            raise DataError(f"{entry.path}: datasets.weight leaves none of {len(times)} rows")
    else:
        taken = len(rows)
    again, _ = twice(said.ids)
    notes = []
    if again:
        notes.append(
            f"{entry.path}: {again} rows have the `id` of an earlier row. All of them are used; "
            "dataset_exact_deduplication: true takes equal rows once"
        )
    return Taken([], skipped, said.seen - len(skipped) - taken, notes), rows


def _streamed(table: Table, rows: Any, enough: Mapping[str, int | None]) -> int:
    """How many of the rows that were read are as many as were asked for: reading ends with a stretch."""
    import numpy

    have = {
        "max_rows": numpy.arange(1, len(rows) + 1),
        "examples": numpy.cumsum(table.examples[rows]),
        "tokens": numpy.cumsum(_tokens(table, rows)),
    }
    return min(int(numpy.searchsorted(have[name], limit)) + 1 for name, limit in enough.items() if limit is not None)


def _tokens(table: Table, rows: Any) -> Any:
    """Of each row, in all of its examples."""
    import numpy

    ends = numpy.concatenate([[0], numpy.cumsum(table.lengths[examples_of(table, rows)], dtype=numpy.int64)])
    lasts = numpy.cumsum(table.examples[rows])
    return ends[lasts] - ends[lasts - table.examples[rows]]


def _groups(digests: Any) -> Any:
    """A number for each row, equal for equal digests and rising with them."""
    import numpy

    order = numpy.lexsort([digests[:, place] for place in (3, 2, 1, 0)])
    ordered = digests[order]
    new = numpy.ones(len(order), dtype=bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    groups = numpy.empty(len(order), dtype=numpy.int64)
    groups[order] = numpy.cumsum(new) - 1
    return groups


def _without_duplicates(groups: Any, training: Any, validation: Any) -> tuple[Any, Any]:
    import numpy

    kept_validation = _firsts(groups, validation)
    kept = training[~numpy.isin(groups[training], groups[validation])]
    kept_training = _firsts(groups, kept)
    if len(training) and not len(kept_training):
        raise DataError("every training row is among the validation rows too, so deduplication leaves none")
    return kept_training, kept_validation


def _firsts(groups: Any, rows: Any) -> Any:
    """The rows that are the first to say what they say; repetitions of the same row stay."""
    import numpy

    said, firsts = numpy.unique(groups[rows], return_index=True)
    return rows[rows == rows[firsts][numpy.searchsorted(said, groups[rows])]]


def _split(table: Table, rows: Any, val_set_size: float) -> tuple[Any, Any]:
    import numpy

    if val_set_size == 0:
        return rows, rows[:0]
    if val_set_size < 1:
        chosen = table.digests[rows, 0].astype(numpy.float64) / 2.0**64 < val_set_size
    else:
        groups = _groups(table.digests)[rows]
        chosen = numpy.isin(groups, numpy.unique(groups)[: int(val_set_size)])
    validation = rows[chosen]
    if not chosen.any() or chosen.all():
        raise nothing_left(val_set_size, len(rows), "training" if chosen.all() else "validation")
    # A row that its source's weight repeats is measured once.
    _, firsts = numpy.unique(validation, return_index=True)
    return rows[~chosen], validation[numpy.sort(firsts)]
