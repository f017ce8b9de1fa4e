"""An entry of the recipe's data, opened: which files it has, which form its rows have, and the stretches into which it
is divided. Reads only what that takes; knows no tokenizer and no process."""

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from finetune.data.chunks import Stretch
from finetune.data.files import DataFile, byte_ranges, raw_rows
from finetune.data.hub import commit_of
from finetune.data.opening import is_address
from finetune.data.schemas import refuse_other_schemas
from finetune.data.sources import Reading, Source, detected_form, rows_of
from finetune.errors import DataError
from finetune.formats.meaning import Fields
from finetune.recipe.expression import BadExpression, compiled

STRETCH = 2 * 2**20
"""Bytes of a file that are prepared at a time."""
STRETCH_ROWS = 256


@dataclass(frozen=True)
class Entry:
    """`files`: None for a hub dataset. `wanted`: the planned arguments, as they were."""

    purpose: str
    source: Source
    form: str | None
    fields: Fields
    on_bad_row: str
    max_dropped_share: float
    files: tuple[DataFile, ...] | None
    wanted: Mapping[str, Any]
    commit: str | None = None
    """Of a hub dataset, where it is known."""

    @property
    def path(self) -> str:
        return self.source.path

    def reading(self) -> Reading:
        """How its rows are read. DataError if their form is not named and cannot be found."""
        form = self.form or (self.found_form() or (None,))[0]
        return Reading(self.path, form, self.fields, self.source.take.get("filter"))

    def found_form(self) -> tuple[str, str] | None:
        """By the first row that is taken, and why; None if there is none, which is said where rows are counted."""
        wanted = self.source.take.get("filter")
        holds = compiled(wanted) if wanted else None
        for _, _, raw in rows_of(self.source):
            try:
                if isinstance(raw, Mapping) and (holds is None or holds(raw)):
                    return detected_form(raw, self.fields, self.path)
            except BadExpression:
                continue
        return None

    def stretches(self, number: int) -> Iterator[Stretch]:
        """All of it, in order. `number`: the entry's own."""
        if self.files is None or self.source.stream or not self.source.cut(self.files).everything:
            yield from self._read_here(number)
            return
        for file in self.files:
            if file.divisible:
                parts = max(1, os.path.getsize(file.path) // STRETCH)  # noqa: PTH202 - the path may be too long for Path
                yield from (Stretch(number, file, part) for part in byte_ranges(file, parts))
            elif not is_address(file.path) and os.path.getsize(file.path) <= STRETCH:  # noqa: PTH202
                yield Stretch(number, file)
            else:
                found = ((file.name, place, raw) for place, raw in raw_rows(file))
                while batch := list(itertools.islice(found, STRETCH_ROWS)):
                    yield Stretch(number, rows=batch)

    def _read_here(self, number: int) -> Iterator[Stretch]:
        found = rows_of(self.source)
        while batch := list(itertools.islice(found, STRETCH_ROWS)):
            yield Stretch(number, rows=batch)

    def bytes(self) -> int | None:
        """Of its files; None where that is not known."""
        if self.files is None or self.source.stream or any(is_address(file.path) for file in self.files):
            return None
        return sum(os.path.getsize(file.path) for file in self.files)  # noqa: PTH202


def open_source(
    *, purpose: str, path: str, form: str | None, source: Mapping[str, Any], fields: Mapping[str, Any]
) -> Entry:
    """One entry. `source`: those of Source, and on_bad_row and max_dropped_share; `fields`: those of meaning.Fields.
    DataError if it is missing, or its tables have different columns."""
    opened = Source(path, source["hub"], source.get("files", {}), source.get("take", {}), source.get("stream"))
    files = opened.listed()
    commit = None
    if files is None:
        named = opened.files.get("data_files") or []
        revision = opened.hub["revision"]
        commit = commit_of(path, revision, [named] if isinstance(named, str) else named)
        opened = replace(opened, hub={**opened.hub, "revision": commit or revision})
    else:
        if not opened.stream:
            refuse_other_schemas(files)
        for file in files:
            if not is_address(file.path) and not os.access(file.path, os.R_OK):
                raise DataError(f"{file.name} cannot be read: check its permissions")
    wanted = {"purpose": purpose, "path": path, "form": form, "source": source, "fields": fields}
    return Entry(
        purpose,
        opened,
        form,
        Fields(**fields),
        source.get("on_bad_row", "error"),
        source.get("max_dropped_share", 1.0),
        None if files is None else tuple(files),
        wanted,
        commit,
    )
