"""Rows are read as they are meant; a bad one is named by file, row and turn; splitting hangs on content alone."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.data.packing import pack_documents
from finetune.data.sources import read_rows
from finetune.data.split import split_rows
from finetune.errors import DataError
from finetune.formats import FORMATS
from finetune.formats.meaning import Conversation, Message, Row, Segments

HUB = {"split": "train", "name": None, "revision": None}
NO_FIELDS: dict[str, Any] = {"messages": None, "role": None, "content": None, "roles": {}}
ROWS = {
    "chat_template": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    "alpaca": {"instruction": "q", "input": "", "output": "a"},
    "completion": {"text": "once upon a time"},
}
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_(text: str | bytes, name: str = "d.jsonl") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_


def read(path: Path | str, form: str | None = None, **fields: Any) -> list[Row]:
    return read_rows(purpose="train", path=str(path), form=form, source={"hub": HUB}, fields=NO_FIELDS | fields).rows


def test_sharegpt_openai_and_a_mapping_of_ones_own_mean_the_same(write: Any) -> None:
    meaning = Conversation((Message("user", "q"), Message("assistant", "a")))
    openai = write('{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}', "a.jsonl")
    sharegpt = write(json.dumps(ROWS["chat_template"]), "b.jsonl")
    own = write('{"talk": [{"who": "me", "says": "q"}, {"who": "bot", "says": "a"}]}', "c.jsonl")
    mapped = {"messages": "talk", "role": "who", "content": "says", "roles": {"user": ["me"], "assistant": ["bot"]}}
    assert read(openai)[0].meaning == read(sharegpt)[0].meaning == meaning
    assert read(own, "chat_template", **mapped)[0].meaning == meaning


def test_alpaca_keeps_the_papers_wording_and_learns_only_the_output(write: Any) -> None:
    path = write('{"instruction": "Add {input}", "input": "1", "output": "2"}\n{"instruction": "Hi", "output": "Ho"}\n')
    with_input, without = (row.meaning for row in read(path))
    assert isinstance(with_input, Segments) and isinstance(without, Segments)
    assert with_input.apart
    assert with_input.pieces[0][0].endswith("### Instruction:\nAdd {input}\n\n### Input:\n1\n\n### Response:\n")
    assert without.pieces == ((without.pieces[0][0], False), ("Ho", True))
    assert "### Input" not in without.pieces[0][0]


@pytest.mark.parametrize("ending", [".json", ".jsonl", ".csv", ".parquet"])
def test_a_local_file_of_every_kind_gives_the_same_rows(ending: str, tmp_path: Path) -> None:
    rows = [
        {"instruction": 'a, "b"\nc', "input": "", "output": "é🙂"},
        {"instruction": "x", "input": "y", "output": "z"},
    ]
    path = tmp_path / f"d{ending}"
    if ending == ".json":
        path.write_text(json.dumps(rows))
    elif ending == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        import pandas

        frame = pandas.DataFrame(rows)
        frame.to_csv(path, index=False) if ending == ".csv" else frame.to_parquet(path)
    assert [row.meaning for row in read(path)] == [FORMATS["alpaca"].read(row, None) for row in rows]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no rows"),
        ("\n\n", "holds no rows"),
        ('{"a": 1}\n', "fits no known form"),
        ('{"messages": []}\n', "row 1: `messages` is empty"),
        ('{"messages": null, "conversations": [1]}\n', "row 1: `messages` is null"),
        ('{"messages": [1]}\n', "turn 1 is a number"),
        ('{"messages": [{"role": "user"}]}\n', "turn 1 has no content"),
        ('{"messages": [{"content": "x"}]}\n', "turn 1 has no role"),
        ('{"messages": [{"role": "user", "content": null}]}\n', "turn 1: the content is null"),
        ('{"messages": [{"role": "user", "content": "a"}, {"role": "et", "content": "b"}]}\n', "turn 2: role 'et'"),
        ('{"instruction": 5, "output": "x"}\n', "`instruction` is a number"),
        ('{"instruction": "a", "output": "x"}\n[1]\n', "row 2: a row must be an object"),
        ('{"instruction": "a", "output": "x"}\n{"instruction": "a"}\n', "row 2: column `output` is missing"),
        ('{"instruction": "a", "output": "x"}\n{bad}\n', ":2:2: error: this line is not JSON"),
        (b'{"instruction": "\xff"}\n', "not UTF-8"),
        ('{"messages": [{"role": ["user"], "content": "x"}]}\n', "turn 1: role ['user']"),
        ('{"messages": [{"role": "assistant", "content": "x", "tool_calls": [1]}]}\n', "no list of calls"),
        ('{"messages": [{"role": "assistant", "content": "x", "train": "no"}]}\n', "`train: 'no'` should be true or"),
        ('{"a": ' + "[" * 100_000, "cannot be read"),
    ],
)
def test_bad_data_is_named_by_file_row_and_turn(text: str, says: str, write: Any) -> None:
    path = write(text)
    with pytest.raises(DataError) as caught:
        read(path)
    assert says in str(caught.value) and str(path) in str(caught.value)


def test_reasons_are_listed_once_with_the_rows_they_hold_of(write: Any) -> None:
    reasons = [f'{{"messages": [{{"role": "r{number}", "content": "x"}}]}}\n' for number in range(10)]
    with pytest.raises(DataError) as caught:
        read(write('{"messages": []}\n' * 25 + "".join(reasons * 2)))
    assert len(caught.value.faults) == 11 and "on_bad_row: skip" in str(caught.value)
    assert "rows 1, 2, 3, 4, 5 and 20 more: `messages` is empty" in str(caught.value)
    assert "rows 26, 36: turn 1: role 'r0'" in str(caught.value) and "2 more rows are bad too" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("./gone.jsonl", "there is no data file"),
        ("gone.parquet", "there is no data file"),
        ("some/dataset-nobody-has", "cannot be read from the hub"),
    ],
)
def test_a_source_that_is_not_there_says_where_it_was_looked_for(path: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(path)


@pytest.mark.parametrize("change", [{"split": "validation"}, {"name": "en"}, {"revision": "v2"}])
def test_a_file_is_not_asked_for_what_only_the_hub_has(change: dict[str, str], write: Any) -> None:
    path = write(json.dumps(ROWS["alpaca"]))
    with pytest.raises(DataError, match="is a file, which has no"):
        read_rows(purpose="train", path=str(path), form=None, source={"hub": HUB | change}, fields=NO_FIELDS)


def test_csv_with_long_cells_is_read_and_with_a_column_twice_refused(write: Any) -> None:
    long = "x" * 200_000
    assert read(write(f"instruction,output\nq,{long}\n", "a.csv"))[0].meaning.pieces[1] == (long, True)
    with pytest.raises(DataError, match="is there twice"):
        read(write("instruction,output,output\nq,a,b\n", "b.csv"))


def test_an_empty_folder_or_an_unread_kind_of_file_says_what_to_name(tmp_path: Path, write: Any) -> None:
    with pytest.raises(DataError, match="holds no data files"):
        read(tmp_path)
    with pytest.raises(DataError, match="are not read"):
        read(write("x", "d.pdf"))
    with pytest.raises(DataError, match="not a parquet file"):
        read(write("x", "d.parquet"))


def rows_of(count: int) -> list[Row]:
    return [Row("d", n, Segments(((f"q{n}", False), ("a", True)))) for n in range(count)]


def test_validation_rows_stay_validation_rows_when_others_are_added() -> None:
    _, few = split_rows(val_set_size=0.2, rows=rows_of(200))
    training, many = split_rows(val_set_size=0.2, rows=rows_of(400))
    assert {row.number for row in few} == {row.number for row in many if row.number < 200}
    assert 0.1 < len(many) / 400 < 0.3
    assert len(training) + len(many) == 400


def test_equal_rows_never_stand_on_both_sides() -> None:
    rows = rows_of(50) + [Row("other", row.number + 500, row.meaning) for row in rows_of(50)]
    training, validation = split_rows(val_set_size=0.3, rows=rows)
    assert not {row.meaning for row in training} & {row.meaning for row in validation}


def test_a_number_of_validation_rows_is_that_number() -> None:
    assert len(split_rows(val_set_size=7, rows=rows_of(50))[1]) == 7


@pytest.mark.parametrize("size", [0.001, 50])
def test_a_split_that_leaves_one_side_empty_is_refused(size: float) -> None:
    with pytest.raises(DataError, match="leaves none"):
        split_rows(val_set_size=size, rows=rows_of(10))


def test_packing_keeps_every_example_whole_and_rows_full() -> None:
    import random

    rng = random.Random(3)
    lengths = [min(512, max(8, int(rng.lognormvariate(4.7, 0.7)))) for _ in range(2000)]
    packed = pack_documents(purpose="train", sequence_len=512, lengths=lengths)
    assert sorted(packed.order.tolist()) == list(range(2000))
    rows = [packed.order[start:end].tolist() for start, end in itertools.pairwise(packed.bounds.tolist())]
    totals = [sum(lengths[number] for number in row) for row in rows]
    assert max(totals) <= 512 and min(totals) > 0
    assert sum(totals) / (512 * len(totals)) == pytest.approx(packed.fill) and packed.fill > 0.98
    again = pack_documents(purpose="train", sequence_len=512, lengths=lengths)
    assert (again.order == packed.order).all() and (again.bounds == packed.bounds).all()
