"""What a run's data has become, in a folder: tokens in a file that is read memory-mapped, the places of the documents,
and facts as JSON. Gives datasets for the trainer and rows for whoever wants to see them; decides nothing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from finetune.data.bad_rows import BadOne
from finetune.data.documents import COLUMNS, Documents
from finetune.data.growing import LEARNED
from finetune.data.packing import Packed
from finetune.formats import READERS
from finetune.formats.meaning import Fields, Row
from finetune.rendering.examples import Counted
from finetune.rendering.lengths import IGNORED, Lost

FACTS, TOKENS = "facts.json", "tokens.bin"
MADE_FROM = "finetune.prepared"
"""Name, in a parquet file's facts, of what its rows were made from."""
BATCH = 1024
"""Documents that are gathered at a time."""
BATCH_TOKENS = 2**20


@dataclass
class Prepared:
    """`again`: it was made by an earlier run."""

    folder: Path
    facts: Mapping[str, Any]
    again: bool = False

    @classmethod
    def read(cls, folder: Path, again: bool) -> "Prepared":
        """OSError or ValueError if there is nothing whole."""
        facts = json.loads((folder / FACTS).read_text("utf-8"))
        if (folder / TOKENS).stat().st_size != facts["bytes"]:
            raise ValueError(f"{folder / TOKENS} is cut off")
        return cls(folder, facts, again)

    @property
    def purposes(self) -> list[str]:
        return list(self.facts["purposes"])

    @cached_property
    def counted(self) -> dict[str, Counted]:
        made = {}
        for purpose, values in self.facts["purposes"].items():
            plain = dict(values["counted"])
            plain["sources"] = {name: Lost(**lost) for name, lost in plain["sources"].items()}
            plain["special"] = {
                name: {int(row): tuple(texts) for row, texts in rows.items()} for name, rows in plain["special"].items()
            }
            made[purpose] = Counted(**plain)
        return made

    @property
    def stop_ids(self) -> tuple[int, ...]:
        return tuple(self.facts["stop_ids"])

    @property
    def notes(self) -> list[str]:
        return list(self.facts["notes"])

    def said(self) -> Iterator[str]:
        """What a person should hear: where it lies, how it came to be, and what was noted."""
        how = "made by an earlier run" if self.again else f"made in {self.facts['seconds']:.1f} s"
        yield f"prepared data: {self.folder} ({how}, tokens by {self.facts['tokenized_by']})"
        yield from self.notes

    @property
    def skipped(self) -> list[BadOne]:
        return [BadOne(**one) for one in self.facts["skipped"]]

    def first_rows(self, purpose: str) -> list[Row]:
        """The first few of a purpose, with their meaning."""
        found = []
        for one in self.facts["purposes"][purpose]["first"]:
            fields = Fields(**one["fields"])
            found.append(Row(one["source"], one["row"], READERS[one["form"]].read(one["raw"], fields), fields.group))
        return found

    def documents(self, purpose: str) -> Documents:
        import numpy

        columns = {name: numpy.load(self.folder / f"{purpose}.{name}.npy", mmap_mode="r") for name in COLUMNS}
        return Documents(**columns, counted=self.counted[purpose])

    @cached_property
    def _file(self) -> Any:
        return (self.folder / TOKENS).open("rb", buffering=0)

    def tokens(self, start: int, count: int) -> Any:
        """Stored tokens; those that are learned have LEARNED set. Read and not mapped: pages that were looked at once
        would count as this process's memory."""
        import os

        import numpy

        return numpy.frombuffer(os.pread(self._file.fileno(), 4 * count, 4 * start), dtype=numpy.uint32)

    def besides(self, purpose: str) -> list[Any]:
        """What each document's row says besides its tokens, where rows say anything else."""
        path = self.folder / f"{purpose}.besides.jsonl"
        with path.open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    def rows(self, purpose: str) -> Iterator[tuple[str, int, list[int], list[int]]]:
        """(source, row, token ids, labels) of each document, in order."""
        made, names = self.documents(purpose), self.facts["sources"]
        for number in range(len(made.lengths)):
            start = int(made.starts[number])
            ids, labels = split(self.tokens(start, int(made.lengths[number])))
            yield names[made.sources[number]], int(made.rows[number]), ids.tolist(), labels.tolist()

    def dataset(self, purpose: str, packed: Packed | None = None) -> Any:
        """A Dataset of memory-mapped input_ids and labels and, packed, seq_lengths: the tokens of each document of a
        row; else length: its tokens, by which rows can be grouped without reading them."""
        import hashlib

        from datasets import Dataset

        name, order, bounds = purpose, None, None
        if packed is not None:
            order, bounds = packed.order, packed.bounds
            name += "." + hashlib.sha256(order.tobytes() + bounds.tobytes()).hexdigest()[:16]
        path = self._place / f"{name}.arrow"
        if not path.is_file():
            self._write_arrow(path, purpose, order, bounds)
        return Dataset.from_file(str(path))

    @cached_property
    def _place(self) -> Path:
        """Where rows are written: the folder itself, or one for this process where that may only be read."""
        import atexit
        import os
        import shutil
        import tempfile

        if os.access(self.folder, os.W_OK):
            return self.folder
        own = Path(tempfile.mkdtemp(prefix="finetune-rows-"))
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        return own

    def _write_arrow(self, path: Path, purpose: str, order: Any, bounds: Any) -> None:
        """Beside its place first, so that two runs may do it at once."""
        import os

        import numpy
        import pyarrow

        numbers = pyarrow.list_(pyarrow.int32())
        last = ("length", pyarrow.int32()) if order is None else ("seq_lengths", numbers)
        schema = pyarrow.schema([("input_ids", numbers), ("labels", numbers), last])
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with pyarrow.OSFile(str(partial), "wb") as file, pyarrow.ipc.new_stream(file, schema) as writer:
                for columns in self._batches(self.documents(purpose), order, bounds):
                    arrays = [_lists(*column) for column in columns]
                    if order is None:
                        arrays.append(pyarrow.array(numpy.diff(columns[0][0]).astype(numpy.int32)))
                    writer.write_batch(pyarrow.record_batch(arrays, schema=schema))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _batches(self, made: Documents, order: Any, bounds: Any) -> Iterator[list[tuple[Any, Any]]]:
        """(where each row begins, the values) of each column, for some rows at a time."""
        import numpy

        order = numpy.arange(len(made.lengths)) if order is None else order
        rows = numpy.arange(len(order) + 1) if bounds is None else bounds
        ends = numpy.concatenate([[0], numpy.cumsum(made.lengths[order], dtype=numpy.int64)])
        edges = ends[rows]
        first = 0
        while first < len(rows) - 1:
            last = int(numpy.searchsorted(edges, edges[first] + BATCH_TOKENS, side="right")) - 1
            last = min(max(last, first + 1), first + BATCH)
            inside = order[rows[first] : rows[last]]
            ids, labels = split(self.gathered(made, inside))
            places = edges[first : last + 1] - edges[first]
            columns = [(places, ids), (places, labels)]
            if bounds is not None:
                columns.append((rows[first : last + 1] - rows[first], made.lengths[inside]))
            yield columns
            first = last

    def gathered(self, made: Documents, documents: Any) -> Any:
        """The tokens of documents, one after the other."""
        import numpy

        starts, lengths = made.starts[documents], made.lengths[documents]
        if len(starts) and (starts[1:] == starts[:-1] + lengths[:-1]).all():
            return self.tokens(int(starts[0]), int(starts[-1] + lengths[-1] - starts[0]))
        parts = [self.tokens(*place) for place in zip(starts.tolist(), lengths.tolist(), strict=True)]
        return numpy.concatenate(parts)

    def name(self, purpose: str) -> str:
        """What tells these rows from all others."""
        return f"{self.folder.name} {purpose}"

    def is_in(self, path: Path, purpose: str) -> bool:
        """Whether a parquet file was written from these rows, and is whole."""
        import pyarrow
        from pyarrow import parquet

        try:
            found = parquet.read_metadata(path)
        except (OSError, pyarrow.lib.ArrowException):
            return False
        same = (found.metadata or {}).get(MADE_FROM.encode()) == self.name(purpose).encode()
        return same and found.num_rows == self.counted[purpose].kept

    def write_parquet(self, purpose: str, path: Path) -> None:
        """input_ids, labels, source and row of each document, in order."""
        import pyarrow
        from pyarrow import parquet

        made, numbers = self.documents(purpose), pyarrow.list_(pyarrow.int32())
        names = pyarrow.array(self.facts["sources"], type=pyarrow.string())
        schema = pyarrow.schema(
            [("input_ids", numbers), ("labels", numbers), ("source", pyarrow.string()), ("row", pyarrow.int64())],
            metadata={MADE_FROM: self.name(purpose)},
        )
        first = 0
        # Of a vocabulary's ids a dictionary would hold most; lz4 takes the runs of -100 at hardly any cost.
        kinds = {"compression": "lz4", "use_dictionary": ["source"], "write_statistics": False}
        with parquet.ParquetWriter(path, schema, **kinds) as writer:
            for ids, labels in self._batches(made, None, None):
                last = first + len(ids[0]) - 1
                sources = names.take(pyarrow.array(made.sources[first:last]))
                rows = pyarrow.array(made.rows[first:last], type=pyarrow.int64())
                columns = [_lists(*ids), _lists(*labels), sources, rows]
                writer.write_batch(pyarrow.record_batch(columns, schema=schema))
                first = last


def split(tokens: Any) -> tuple[Any, Any]:
    """(ids, labels) of stored tokens."""
    import numpy

    ids = (tokens & (LEARNED - 1)).astype(numpy.int32)
    return ids, numpy.where(tokens & LEARNED, ids, numpy.int32(IGNORED))


def _lists(places: Any, values: Any) -> Any:
    import numpy
    import pyarrow

    offsets = pyarrow.array(places.astype(numpy.int32))
    return pyarrow.ListArray.from_arrays(offsets, pyarrow.array(numpy.asarray(values, dtype=numpy.int32)))


def write(folder: Path, facts: Mapping[str, Any], purposes: Mapping[str, Documents]) -> None:
    """Everything but the tokens, which are there. The facts come last."""
    import numpy

    for purpose, made in purposes.items():
        for name in COLUMNS:
            numpy.save(folder / f"{purpose}.{name}.npy", getattr(made, name))
        if made.besides:
            (folder / f"{purpose}.besides.jsonl").write_text("".join(f"{line}\n" for line in made.besides), "utf-8")
    whole = {**facts, "bytes": (folder / TOKENS).stat().st_size}
    (folder / FACTS).write_text(json.dumps(whole), "utf-8")


def facts_of(purposes: Mapping[str, Documents], sources: Sequence[str]) -> dict[str, Any]:
    """Per purpose what was counted, and per source its documents, tokens, learned tokens and how long they are."""
    import numpy

    found: dict[str, Any] = {"sources": list(sources), "purposes": {}}
    for purpose, made in purposes.items():
        figures = {}
        for place in numpy.unique(made.sources):
            inside = made.sources == place
            lengths = made.lengths[inside]
            bins = numpy.bincount(numpy.ceil(numpy.log2(numpy.maximum(lengths, 1))).astype(int))
            figures[sources[place]] = {
                "documents": int(inside.sum()),
                "tokens": int(lengths.sum()),
                "learned": int(made.learned[inside].sum()),
                "at_most": {str(2**power): int(count) for power, count in enumerate(bins) if count},
            }
        found["purposes"][purpose] = {"counted": asdict(made.counted), "figures": figures}
    return found
