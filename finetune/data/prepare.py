"""The recipe's data -> tokens and labels in a folder, by several processes, once for the same data, tokenizer and plan.
Orders the steps; what a row means and what is learned is decided elsewhere."""

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from finetune.data.bare import facts_of
from finetune.data.cache import cached, default_folder, key_of
from finetune.data.chunks import LONG_TEXT, Maker, Setup, Stretch, TokensDiffer
from finetune.data.crew import Crew, Here, cores
from finetune.data.documents import Documents, documents_of, finish, join
from finetune.data.encoding import CallEncoder, difference
from finetune.data.entries import STRETCH, Entry
from finetune.data.prepared import TOKENS, Prepared, write
from finetune.data.prepared import facts_of as facts_of_documents
from finetune.data.selecting import Selected, selected
from finetune.data.sources import meanings, rows_of
from finetune.data.table import Collector, Table
from finetune.errors import ModelError
from finetune.formats.meaning import Row, Tokens
from finetune.rendering.lengths import Lengths

SMALL = 4 * 2**20
"""Bytes of data below which it is prepared in this process: others take longer to start."""
SAMPLE_ROWS = 200
SAMPLE_CHARACTERS = 2**20
"""Of the sample, all in all: places of tokens take a hundred times their room."""
FIRST_ROWS = 16
Watch = Callable[[int, int, int], None]
"""Told (stretches done, of about how many or 0, rows so far)."""


def _unwatched(done: int, of: int, rows: int) -> None:
    """Nobody looks."""


@dataclass
class Place:
    """Where prepared data is kept, and how many processes make it. `folder`, `processes`: None for what fits here.
    `watch` is told how far it is. `templates`: the chat templates that sources have for themselves, for each source or
    none."""

    folder: str | None
    processes: int | None
    watch: Watch = field(default=_unwatched, compare=False)
    templates: Sequence[str | None] = ()

    def prepare(
        self,
        *,
        selection: Mapping[str, Any],
        lengths: Mapping[str, Any],
        labels: Sequence[Mapping[str, Any]],
        sources: Sequence[Entry],
        tokenizer: Any,
    ) -> Prepared:
        """`selection`: val_set_size, deduplicate, shuffle and on_bad_row; `lengths`: those of Lengths; `labels`: those
        of LabelSettings for each source. `tokenizer` has its chat template.

        DataError for rows that cannot be used, where the recipe does not skip them, and if none is left."""
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError("this tokenizer gives no character offsets (it is a slow one), so labels cannot be placed")
        facts = facts_of(tokenizer)
        own = [*self.templates, *[None] * (len(labels) - len(self.templates))]
        labels = [one if text is None else {**one, "template": text} for one, text in zip(labels, own, strict=True)]
        work = _Work(self, sources, selection, Lengths(**lengths), tokenizer)
        key = key_of(sources, facts, {"selection": selection, "lengths": lengths, "labels": labels})
        folder = Path(self.folder).expanduser() if self.folder else default_folder()

        def make(partial: Path) -> None:
            readings = [entry.reading() for entry in sources]
            work.make(partial, Setup(facts, readings, labels, work.lengths))

        return cached(folder, key, make)


@dataclass
class _Work:
    place: Place
    entries: Sequence[Entry]
    selection: Mapping[str, Any]
    lengths: Lengths
    tokenizer: Any

    def make(self, folder: Path, setup: Setup) -> None:
        began = time.monotonic()
        sample = Maker(setup)
        try:
            own = self._tried(setup, sample)
            table = self._read(folder, setup, own)
        except TokensDiffer:
            setup = replace(setup, exact=True)
            own = self._tried(setup, sample := Maker(setup))
            table = self._read(folder, setup, own)
        encoder, why = (sample.encoder.name, sample.why) if own is None else (CallEncoder.name, "its code does more")
        chosen = selected(table, self.entries, self.selection)
        made = self._documents(folder, table, chosen)
        facts = facts_of_documents(made, table.sources)
        for purpose, rows in (("train", chosen.training), ("validation", chosen.validation)):
            if purpose in facts["purposes"]:
                facts["purposes"][purpose]["first"] = self._first(table, rows, setup)
        skipped = [*chosen.skipped, *(bad for documents in made.values() for bad in documents.skipped)]
        facts |= {
            "kind": next((reading.fields.kind for reading in setup.readings), "rows"),
            "stop_ids": list(table.stop_ids),
            "notes": chosen.notes,
            "skipped": [vars(bad) for bad in skipped],
            "tokenized_by": encoder,
            "because": why,
            "seconds": round(time.monotonic() - began, 2),
        }
        write(folder, facts, made)

    def _tried(self, setup: Setup, maker: Maker) -> Any:
        """The tokenizer, if its own code gives other tokens than its tokenizer.json on the first rows; else None.
        TokensDiffer if the fast way gives others there; the same is asked again in every stretch."""
        texts: list[str] = []
        for entry, reading in zip(self.entries, setup.readings, strict=True):
            rows = itertools.islice(meanings(rows_of(entry.source), reading), SAMPLE_ROWS)
            for row in rows:
                texts += _whole_texts(maker, row) if isinstance(row, Row) else []
                if sum(map(len, texts)) > SAMPLE_CHARACTERS:
                    break
        own = CallEncoder(self.tokenizer).encode(texts)
        found = maker.encoder.exact.encode(texts)
        if wrong := difference(texts, maker.encoder, maker.encoder.exact):
            raise TokensDiffer(wrong)
        same = all(list(one.ids) == list(other.ids) for one, other in zip(own, found, strict=True))
        return None if same else self.tokenizer

    def _read(self, folder: Path, setup: Setup, own: Any) -> Table:
        sizes = [entry.bytes() for entry in self.entries]
        expected = 0 if None in sizes else sum(max(1, (size or 0) // STRETCH) for size in sizes)
        small = None not in sizes and sum(size or 0 for size in sizes) < SMALL
        processes = self.place.processes or cores()
        crew = Here(setup, own) if small or own is not None or processes == 1 else Crew(setup, processes)
        with closing(crew), (folder / TOKENS).open("wb") as tokens:
            collector = Collector(tokens, [entry.source.stream for entry in self.entries])
            for done, chunk in enumerate(crew.chunks(self._stretches(collector)), 1):
                collector.add(chunk)
                self.place.watch(done, expected, collector.rows)
        return collector.table()

    def _stretches(self, collector: Collector) -> Iterator[Stretch]:
        for number, entry in enumerate(self.entries):
            for stretch in entry.stretches(number):
                if collector.has_enough(number):
                    break
                yield stretch

    def _documents(self, folder: Path, table: Table, chosen: Selected) -> dict[str, Documents]:
        made = {}
        with (folder / TOKENS).open("r+b") as tokens:
            for purpose, rows in (("train", chosen.training), ("validation", chosen.validation)):
                if not len(rows):
                    continue
                found = documents_of(table, rows, self.lengths, self.selection["on_bad_row"])
                if self.lengths.text_chunks == "joined":
                    import numpy

                    plain = numpy.repeat(table.plain[rows], table.examples[rows])
                    found = join(found, plain, tokens, self.lengths.sequence_len)
                made[purpose] = finish(found, table, rows, self.lengths, purpose if purpose != "train" else "")
        return made

    def _first(self, table: Table, rows: Any, setup: Setup) -> list[dict[str, Any]]:
        """The first rows of a purpose as their files have them: sample questions are taken from them."""
        usable = rows[: FIRST_ROWS * 64][table.examples[rows[: FIRST_ROWS * 64]] > 0]
        wanted = [int(row) for row in dict.fromkeys(usable[:FIRST_ROWS].tolist())]
        found: dict[int, dict[str, Any]] = {}
        for number, (entry, reading) in enumerate(zip(self.entries, setup.readings, strict=True)):
            said = table.said[number]
            places = {
                (table.sources[table.names[row]], int(table.numbers[row])): row
                for row in wanted
                if said.first <= row < said.last
            }
            for name, place, raw in rows_of(entry.source) if places else ():
                row = places.pop((name, place), None)
                if row is not None:
                    found[row] = {"source": name, "row": place, "raw": json.loads(json.dumps(raw, default=str))}
                    found[row] |= {"form": reading.form, "fields": vars(reading.fields)}
                if not places:
                    break
        return [found[row] for row in wanted]


def _whole_texts(maker: Maker, row: Row) -> list[str]:
    from finetune.formats.meaning import BadRow

    if isinstance(row.meaning, Tokens):
        return []
    try:
        texts = [text.text[:LONG_TEXT] for text in maker.texts[row.group].texts(row.meaning) if text.whole]
        return [text for text in texts if text.encode()]
    except (BadRow, UnicodeEncodeError):
        return []
