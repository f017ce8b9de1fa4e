"""Which rows are kept for validation, and which are the same as another. Decided by a row's content alone, so equal
rows never part."""

from finetune.errors import DataError
from finetune.formats.meaning import Row


def split_rows(*, val_set_size: float, rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """(training rows, validation rows), both in their old order. A size below 1 is a share, else a number of rows.

    With a share, a row is validation if its digest, read as a fraction, lies below it: adding rows moves none. A row
    that its source's weight repeats is measured once. DataError if either side would be empty."""
    if val_set_size == 0:
        return rows, []
    digests = [row.digest() for row in rows]
    if val_set_size < 1:
        chosen = {digest for digest in digests if int(digest[:16], 16) / 16**16 < val_set_size}
    else:
        chosen = set(sorted(set(digests))[: int(val_set_size)])
    validation = [row for row, digest in zip(rows, digests, strict=True) if digest in chosen]
    training = [row for row, digest in zip(rows, digests, strict=True) if digest not in chosen]
    if not validation or not training:
        raise nothing_left(val_set_size, len(rows), "training" if validation else "validation")
    return training, list({id(row): row for row in validation}.values())


def nothing_left(val_set_size: float, rows: int, empty: str) -> DataError:
    return DataError(
        f"val_set_size: {val_set_size:g} of {rows} rows leaves none for {empty}. "
        "Write another size, or 0 and name files under test_datasets"
    )


def drop_duplicates(*, training: list[Row], validation: list[Row]) -> tuple[list[Row], list[Row]]:
    """(training rows, validation rows) without those that say the same as an earlier one; what validation has is not
    trained on. A row that its source's weight repeats is no duplicate of itself.

    DataError if no training row is left."""
    seen: dict[str, int] = {}
    kept_validation = _firsts(validation, seen)
    held_out = dict.fromkeys(seen, -1)
    kept_training = _firsts(training, held_out)
    if training and not kept_training:
        raise DataError("every training row is among the validation rows too, so deduplication leaves none")
    return kept_training, kept_validation


def _firsts(rows: list[Row], seen: dict[str, int]) -> list[Row]:
    """The rows whose digest is not in `seen` (digest -> the row it belongs to), and repetitions of the same row."""
    return [row for row in rows if seen.setdefault(row.digest(), id(row)) == id(row)]
