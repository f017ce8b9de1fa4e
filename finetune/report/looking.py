"""Prepared data -> the few rows and the lengths that a report shows, as JSON beside the run. Reads no more of the data
than it shows. Knows no page."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from finetune.preview.looks import Bar, Piece, ShownRow, histogram, pieces_of
from finetune.rendering.lengths import IGNORED

FILE = "data_rows.json"
ROWS, SOURCES, TOKENS = 2, 6, 600
"""Rows of a source, sources of a purpose, and tokens of a row that are shown, at most."""


def looked_at(prepared: Any, tokenizer: Any) -> dict[str, Any]:
    """Of each purpose its first rows in pieces, and how many rows have which length."""
    found: dict[str, Any] = {}
    for purpose in prepared.purposes:
        made = prepared.documents(purpose)
        shown = [_row(prepared, made, number, tokenizer) for number in _first(made.sources)]
        bars = [asdict(bar) for bar in histogram(made.lengths.tolist())]
        longest = int(made.lengths.max()) if len(made.lengths) else 0
        found[purpose] = {"rows": shown, "lengths": bars, "longest": longest}
    return found


def _first(sources: Any) -> list[int]:
    """Places of the first documents of each source."""
    import numpy

    found: list[int] = []
    for source in numpy.unique(sources)[:SOURCES]:
        found += numpy.flatnonzero(sources == source)[:ROWS].tolist()
    return found


def _row(prepared: Any, made: Any, number: int, tokenizer: Any) -> dict[str, Any]:
    from finetune.data.prepared import split

    ids, labels = split(prepared.tokens(int(made.starts[number]), int(made.lengths[number])))
    learned = int((labels != IGNORED).sum())
    pieces = pieces_of(ids[:TOKENS].tolist(), labels[:TOKENS].tolist(), tokenizer)
    return {
        "source": prepared.facts["sources"][made.sources[number]],
        "number": int(made.rows[number]),
        "tokens": len(ids),
        "learned": learned,
        "pieces": [[piece.text, piece.ids, _marks(piece)] for piece in pieces],
    }


def _marks(piece: Piece) -> str:
    return "l" * piece.learned + "s" * piece.special + "e" * piece.ends


def shown_rows(purpose: Mapping[str, Any]) -> list[ShownRow]:
    """The rows of a purpose, from the file. ValueError for a number that is none: on a page it would stand as it is."""
    return [_read(row) for row in purpose.get("rows", [])]


def _read(row: Mapping[str, Any]) -> ShownRow:
    pieces = tuple(
        Piece(str(text), tuple(map(int, ids)), "l" in marks, "s" in marks, "e" in marks)
        for text, ids, marks in row["pieces"]
    )
    if row["tokens"] > TOKENS:
        pieces = (*pieces, Piece(f" … {row['tokens'] - TOKENS:,} more tokens", (), False, False))
    return ShownRow(str(row["source"]), int(row["number"]), pieces, int(row["tokens"]), int(row["learned"]))


def bars_of(purpose: Mapping[str, Any]) -> list[Bar]:
    return [Bar(**{name: int(value) for name, value in bar.items()}) for bar in purpose.get("lengths", [])]
