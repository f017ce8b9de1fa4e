"""A dataset entry -> rows with their meaning. Knows files, the hub, formats and what an entry takes of its rows; knows
no tokenizer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.data.bad_rows import BadOne, BadRows, counts
from finetune.data.choosing import Cut, Draw, base_of, copies, needs_count, spans_of
from finetune.data.files import Broken, DataFile, list_files, raw_rows
from finetune.data.hub import hub_rows
from finetune.data.schemas import count_rows, refuse_other_schemas
from finetune.errors import DataError, Fault, Where
from finetune.formats import READERS, detect
from finetune.formats.meaning import BadRow, Fields, Row, kind_of
from finetune.recipe.expression import BadExpression, compiled

Found = tuple[str, int, Any]
"""(file or hub id, number of the row in it, the row as it stands there or Broken)."""


@dataclass
class Taken:
    """The rows that an entry takes, as often as it takes them; the bad rows that it skips; and how many good ones its
    filter, max_rows and weight leave out. `notes`: what a person should hear."""

    rows: list[Row]
    skipped: list[BadOne] = field(default_factory=list)
    left_out: int = 0
    notes: list[str] = field(default_factory=list)

    def said(self, path: str) -> Iterator[str]:
        """How many rows are not used, in sentences."""
        if self.skipped:
            yield f"{path}: {len(self.skipped)} bad rows skipped (first {self.skipped[0].fault()})"
        if self.left_out:
            yield f"{path}: {self.left_out} rows left out by filter, max_rows or weight"


@dataclass(frozen=True)
class Source:
    """Where the rows of an entry come from. `hub`: split, name and revision; `files`: data_files, ds_type, sample_by;
    `take`: filter, shards, shards_idx, max_rows, weight, unit and seed; `stream`: how much is read of its beginning,
    if not all: the first of max_rows, examples and tokens that is reached."""

    path: str
    hub: Mapping[str, str | None]
    files: Mapping[str, Any] = field(default_factory=dict)
    take: Mapping[str, Any] = field(default_factory=dict)
    stream: Mapping[str, int | None] | None = None

    @property
    def draw(self) -> Draw:
        take = self.take
        return Draw(take.get("max_rows"), take.get("weight", 1.0), take.get("seed", 0), take.get("unit", "rows"))

    def listed(self) -> list[DataFile] | None:
        """Its files, or None for a hub dataset. DataError if a file is asked for what only the hub has."""
        names = self.files.get("data_files")
        found = list_files(
            self.path,
            [names] if isinstance(names, str) else names,
            self.files.get("ds_type"),
            split=self.hub["split"] or "train",
            sample_by=self.files.get("sample_by"),
        )
        if found is not None:
            _no_hub_keys(self.path, self.hub, found)
            return found
        for key in ("ds_type", "sample_by"):
            if self.files.get(key):
                raise DataError(
                    f"{self.path} is a hub dataset (no such file is here), whose files tell their kind: remove "
                    f"datasets.{key}, or name its files by address: hf://datasets/{self.path}/FILE"
                )
        return None

    def cut(self, files: Sequence[DataFile] | None) -> Cut:
        """Which places are read. The hub slices by itself."""
        split = self.hub["split"] or "train"
        if self.stream and needs_count(split):
            raise DataError(
                f"datasets.split: {split} can only be found by counting all rows, which streaming: true does not. "
                "Write the rows' numbers, such as train[1000:]"
            )
        count = sum(map(count_rows, files)) if files is not None and needs_count(split) else None
        spans = spans_of(split, count) if files is not None or self.stream else None
        return Cut(spans, self.take.get("shards") or 1, self.take.get("shards_idx") or 0)


def _no_hub_keys(path: str, hub: Mapping[str, str | None], files: Sequence[DataFile]) -> None:
    wrong = next((key for key in ("name", "revision") if hub[key] is not None), None)
    one = len(files) == 1 and files[0].path.endswith(path.rsplit("/", 1)[-1])
    if wrong is None and one and base_of(hub["split"] or "train") != "train":
        wrong = "split"
    if wrong:
        raise DataError(
            f"{path} is a file, which has no {wrong} {hub[wrong]!r}: remove datasets.{wrong}, or put the rows you "
            "mean into a file of their own"
        )


def rows_of(source: Source) -> Iterator[Found]:
    """The rows of a source as they stand in its files, less those outside its split's slice and its shard; read as they
    are asked for. DataError if it is missing, or if its tables have different columns."""
    files = source.listed()
    cut = source.cut(files)
    if files is not None:
        if not source.stream:
            refuse_other_schemas(files)
        found: Iterator[Found] = ((file.name, number, raw) for file in files for number, raw in raw_rows(file))
    else:
        found = (
            (source.path, number, raw)
            for number, raw in hub_rows(source.path, source.hub, source.files, source.stream is not None)
        )
    if cut.everything:
        yield from found
        return
    for place, row in enumerate(found):
        if place >= cut.end:
            return
        if cut.takes(place):
            yield row


@dataclass(frozen=True)
class Reading:
    """How raw rows become meanings: their form (None: found by the first row) and the fields that the recipe names."""

    path: str
    form: str | None
    fields: Fields
    filter: str | None = None


def meanings(found: Iterator[Found], reading: Reading) -> Iterator[Row | BadOne]:
    """The rows that the filter lets through, each with its meaning, or why it has none."""
    form = reading.form
    holds = compiled(reading.filter) if reading.filter else None
    for name, number, raw in found:
        if isinstance(raw, Broken):
            yield BadOne(name, number, raw.why, (raw.line or number) if raw.column else 0, raw.column)
            continue
        try:
            if not isinstance(raw, Mapping):
                raise BadRow(f"a row must be an object of columns, and this is {kind_of(raw)}")
            if holds is not None and not holds(raw):
                continue
            form = form or detected_form(raw, reading.fields, reading.path)[0]
            yield Row(name, number, READERS[form].read(raw, reading.fields), reading.fields.group)
        except BadExpression as wrong:
            yield BadOne(name, number, f"datasets.filter: {wrong}")
        except BadRow as bad:
            yield BadOne(name, number, str(bad))


def detected_form(row: Mapping[str, Any], fields: Fields, path: str) -> tuple[str, str]:
    """The format whose columns a row has, and why it is that one. DataError if there is none."""
    try:
        return detect(row, fields)
    except BadRow as bad:
        raise DataError(f"{path}: {bad}") from None


def read_rows(
    *, purpose: str, path: str, form: str | None, source: Mapping[str, Any], fields: Mapping[str, Any]
) -> Taken:
    """The rows that one entry takes. `source`: those of Source, and on_bad_row and max_dropped_share; `fields`: those
    of meaning.Fields.

    DataError if the source is missing, empty or in no known form; for bad rows, unless they are skipped."""
    del purpose  # the caller's: training or validation
    entry = Source(path, source["hub"], source.get("files", {}), source.get("take", {}))
    bad = BadRows(source.get("on_bad_row", "error"))
    rows: list[Row] = []
    ids = _Ids()
    for row in meanings(ids.passing(rows_of(entry)), Reading(path, form, Fields(**fields), entry.take.get("filter"))):
        if isinstance(row, Row):
            rows.append(row)
        else:
            bad.rows.append(row)
    skipped = bad.settle()
    refuse_too_many(skipped, ids.rows, source.get("max_dropped_share", 1.0))
    if not rows:
        raise none_taken(path, ids.rows, skipped)
    times = [1] * len(rows) if entry.draw.takes_all else copies([row.digest() for row in rows], entry.draw)
    drawn = [row for row, often in zip(rows, times, strict=True) for _ in range(often)]
    if not drawn:
        raise DataError(f"{path}: datasets.weight leaves none of {len(rows)} rows")
    left_out = ids.rows - len(skipped) - sum(map(bool, times))
    return Taken(drawn, skipped, left_out, list(ids.notes(path)))


class _Ids:
    """Counts rows as they pass, and those with an `id` that an earlier row of the source has."""

    def __init__(self) -> None:
        self.rows = 0
        self._seen: set[int] = set()
        self._twice = 0
        self._first = ""

    def passing(self, found: Iterator[Found]) -> Iterator[Found]:
        for name, number, raw in found:
            self.rows += 1
            given = raw.get("id") if isinstance(raw, Mapping) else None
            if isinstance(given, str | int) and given != "":
                key = hash(given)
                if key in self._seen:
                    self._twice += 1
                    self._first = self._first or f"row {number} of {name}, id {str(given)[:40]!r}"
                self._seen.add(key)
            yield name, number, raw

    def notes(self, path: str) -> Iterator[str]:
        if self._twice:
            yield (
                f"{path}: {self._twice} rows have the `id` of an earlier row (first {self._first}). All of them are "
                "used; dataset_exact_deduplication: true takes equal rows once"
            )


def none_taken(path: str, seen: int, bad: list[BadOne]) -> DataError:
    """Of a source that gives nothing."""
    if not seen:
        return DataError(f"{path} holds no rows")
    if len(bad) == seen:
        return DataError(*(one.fault() for one in bad[:3]), f"{path}: all {seen} rows are bad, so none is left")
    bad_ones = f" ({len(bad)} are bad)" if bad else ""
    return DataError(f"{path}: filter, shards and split take none of its {seen} rows{bad_ones}")


def refuse_too_many(bad: list[BadOne], seen: int, share: float) -> None:
    if bad and len(bad) > share * seen:
        worst = max(counts(bad).items(), key=lambda pair: pair[1])[0]
        raise DataError(
            *(one.fault() for one in bad[:3]),
            Fault(
                f"{len(bad)} of {seen} rows are bad, more than max_dropped_share: {share:g} allows. To go on, mend "
                "them or raise max_dropped_share",
                Where(worst),
            ),
        )
