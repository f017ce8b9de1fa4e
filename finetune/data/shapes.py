"""Prepared documents -> the datasets that trainers of preferences, judgements and questions take: finished tokens under
TRL's names. Decides nothing about tokens."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from finetune.data.prepared import Prepared
from finetune.errors import DataError
from finetune.rendering.lengths import IGNORED

BATCH = 1024
Columns = dict[str, Any]


def pairs(*, purpose: str, prepared: Prepared) -> Any:
    """prompt_ids, chosen_ids and rejected_ids of each row, as DPO's trainers have them."""
    return _dataset(_pairs(prepared, purpose))


def scored_pairs(*, purpose: str, prepared: Prepared) -> Any:
    """chosen_ids and rejected_ids of each row, each whole, as a reward model reads them."""
    return _dataset(
        {"chosen_ids": one["prompt_ids"] + one["chosen_ids"], "rejected_ids": one["prompt_ids"] + one["rejected_ids"]}
        for one in _pairs(prepared, purpose)
    )


def judged(*, purpose: str, prepared: Prepared) -> Any:
    """prompt_ids, completion_ids and label of each row. DataError if all rows to train on are good, or all are bad."""
    rows = list(_judged(prepared, purpose))
    kinds = {row["label"] for row in rows}
    if purpose == "train" and len(kinds) == 1:
        what, other = ("good", "bad") if kinds.pop() else ("bad", "good")
        raise DataError(
            f"all {len(rows)} answers are {what}: rl: kto learns what tells good from bad. Add {other} ones"
            + (", or imitate these (remove rl)" if what == "good" else "")
        )
    return _dataset(rows)


def questions(*, purpose: str, prepared: Prepared) -> Any:
    """prompt as TRL asks it, and the rows' other columns; a column that a row lacks is null there."""
    rows = prepared.besides(purpose)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return _dataset({name: row.get(name) for name in names} for row in rows)


def _pairs(prepared: Prepared, purpose: str) -> Iterator[Columns]:
    documents = _documents(prepared, purpose)
    for (source, row, chosen, start), (other_source, other_row, rejected, other) in zip(
        documents, documents, strict=True
    ):
        assert (source, row, start) == (other_source, other_row, other), "the sides of a pair were parted"
        yield {"prompt_ids": chosen[:start], "chosen_ids": chosen[start:], "rejected_ids": rejected[start:]}


def _judged(prepared: Prepared, purpose: str) -> Iterator[Columns]:
    for (_, _, ids, start), label in zip(_documents(prepared, purpose), prepared.besides(purpose), strict=True):
        yield {"prompt_ids": ids[:start], "completion_ids": ids[start:], "label": label}


def _documents(prepared: Prepared, purpose: str) -> Iterator[tuple[str, int, list[int], int]]:
    """(source, row, token ids, where the answer begins) of each document."""
    for source, row, ids, labels in prepared.rows(purpose):
        yield source, row, ids, next((at for at, label in enumerate(labels) if label != IGNORED), len(ids))


def _dataset(rows: Iterable[Columns]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(list(rows))


def write_parquet(prepared: Prepared, purpose: str, path: Path, tokenizer: Any) -> None:
    """Each row as the trainer gets it, with source and row, and the same as text."""
    import pyarrow
    from pyarrow import parquet

    kind = prepared.facts["kind"]
    documents = list(_documents(prepared, purpose))
    places = documents[::2] if kind == "pair" else documents
    if kind == "pair":
        rows: list[Columns] = list(_pairs(prepared, purpose))
    elif kind == "judged":
        rows = list(_judged(prepared, purpose))
    else:
        columns = (json.dumps(one, ensure_ascii=False) for one in prepared.besides(purpose))
        rows = [{"prompt_ids": ids, "columns": one} for (_, _, ids, _), one in zip(documents, columns, strict=True)]
    for row, (source, number, _, _) in zip(rows, places, strict=True):
        for name in [name for name in row if name.endswith("_ids")]:
            row[name.removesuffix("_ids")] = tokenizer.decode(row[name], skip_special_tokens=False)
        row |= {"source": source, "row": number}
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
