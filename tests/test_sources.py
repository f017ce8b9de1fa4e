"""Sources of every kind give the same rows; what is drawn, cut and left out is exact, deterministic and named."""

import gzip
import itertools
import json
import math
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from finetune.data import raw
from finetune.data.choosing import Draw, _rank, copies, spans_of
from finetune.data.files import Broken, byte_ranges, list_files, raw_rows
from finetune.data.sources import Taken, read_rows
from finetune.data.split import drop_duplicates, split_rows
from finetune.errors import DataError
from finetune.formats.meaning import Row, Segments
from finetune.recipe.expression import BadExpression, compiled

HUB = {"split": "train", "name": None, "revision": None}
ROWS = [{"instruction": f"q{n}", "output": "é🙂\u2028x", "lang": "en" if n % 3 else "de", "n": n} for n in range(40)]


def written(rows: Any, path: Path) -> Path:
    """The rows in a file of the kind that its name tells."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.Table.from_pylist(rows)
    match path.suffixes:
        case [".jsonl" | ".ndjson"]:
            path.write_text(text, "utf-8")
        case [".json"]:
            path.write_text(json.dumps(rows, indent=1), "utf-8")
        case [".jsonl", ".gz"]:
            path.write_bytes(gzip.compress(text.encode()))
        case [".jsonl", ".zst"]:
            with pyarrow.CompressedOutputStream(str(path), "zstd") as stream:
                stream.write(text.encode())
        case [".csv" | ".tsv"]:
            import pandas

            pandas.DataFrame(rows).to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
        case [".parquet"]:
            parquet.write_table(table, path, row_group_size=7)
        case [".arrow"]:
            with pyarrow.ipc.new_stream(path, table.schema) as stream:
                stream.write_table(table)
        case _:
            raise AssertionError(path)
    return path


def take(path: Path | str, *, split: str = "train", files: Any = None, take: Any = None, **others: Any) -> Taken:
    source = {"hub": HUB | {"split": split}, "files": files or {}, "take": take or {}, **others}
    return read_rows(purpose="train", path=str(path), form=None, source=source, fields={"roles": {}})


def questions(taken: Taken) -> list[int]:
    """Which of ROWS were taken."""
    found = []
    for row in taken.rows:
        assert isinstance(row.meaning, Segments)
        found.append(int(row.meaning.pieces[0][0].split("Instruction:\nq")[1].split("\n")[0]))
    return found


KINDS = [".jsonl", ".ndjson", ".json", ".jsonl.gz", ".jsonl.zst", ".csv", ".tsv", ".parquet", ".arrow"]


@pytest.mark.parametrize("ending", KINDS)
def test_every_kind_of_file_gives_the_same_rows(ending: str, tmp_path: Path) -> None:
    taken = take(written(ROWS, tmp_path / f"d{ending}"))
    assert questions(taken) == list(range(40))
    assert {row.meaning.pieces[1][0] for row in taken.rows} == {"é🙂\u2028x"}
    assert [row.number for row in taken.rows] == list(range(1, 41))


def test_arrows_file_format_is_read_like_its_stream_format(tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist(ROWS)
    with pyarrow.ipc.new_file(tmp_path / "d.arrow", table.schema) as file:
        file.write_table(table, max_chunksize=9)
    assert questions(take(tmp_path / "d.arrow")) == list(range(40))


def test_a_folder_a_pattern_and_named_files_are_read_in_order(tmp_path: Path) -> None:
    for part in range(4):
        written(ROWS[part * 10 : part * 10 + 10], tmp_path / "d" / f"part-{part}.jsonl")
    (tmp_path / "d" / "README.md").write_text("about the data")
    assert questions(take(tmp_path / "d")) == list(range(40))
    assert questions(take(f"{tmp_path}/d/part-[13].jsonl")) == [*range(10, 20), *range(30, 40)]
    assert questions(take(tmp_path / "d", files={"data_files": "part-2.*"})) == list(range(20, 30))
    assert questions(take("json", files={"data_files": [f"{tmp_path}/d/part-0.jsonl"]})) == list(range(10))
    row = take(tmp_path / "d").rows[25]
    assert row.source.endswith("part-2.jsonl") and row.number == 6
    with pytest.raises(DataError, match="no file matches"):
        take(f"{tmp_path}/d/*.parquet")


def test_a_folder_whose_names_tell_splits_gives_the_split_that_is_asked_for(tmp_path: Path) -> None:
    written(ROWS[:30], tmp_path / "train.jsonl")
    written(ROWS[30:], tmp_path / "test.jsonl")
    assert questions(take(tmp_path)) == list(range(30))
    assert questions(take(tmp_path, split="test")) == list(range(30, 40))
    with pytest.raises(DataError, match="names tell test, train"):
        take(tmp_path, split="validation")


def test_a_folder_of_several_kinds_asks_which(tmp_path: Path) -> None:
    written(ROWS[:5], tmp_path / "a.jsonl")
    written(ROWS[5:9], tmp_path / "b.parquet")
    with pytest.raises(DataError, match="several kinds"):
        take(tmp_path)
    assert questions(take(tmp_path, files={"ds_type": "parquet"})) == list(range(5, 9))


def test_ds_type_says_what_a_name_does_not(tmp_path: Path) -> None:
    path = written(ROWS, tmp_path / "d.jsonl").rename(tmp_path / "d.data")
    with pytest.raises(DataError, match="are not read"):
        take(path)
    assert questions(take(path, files={"ds_type": "json"})) == list(range(40))


@pytest.mark.parametrize(
    ("sample_by", "texts"),
    [(None, ["a", "b", "c"]), ("paragraph", ["a", "b\nc"]), ("document", ["a\n\nb\nc\n"])],
)
def test_text_is_read_by_lines_paragraphs_or_documents(sample_by: str | None, texts: list[str], tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_text("a\n\nb\nc\n")
    taken = take(tmp_path / "d.txt", files={"sample_by": sample_by})
    assert [row.meaning.pieces[0][0] for row in taken.rows] == texts
    (tmp_path / "d.md").write_text("# a\n\nb\n")
    assert [row.meaning.pieces[0][0] for row in take(tmp_path / "d.md").rows] == ["# a\n\nb\n"]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_a_file_behind_an_address_is_read(ending: str, tmp_path: Path, address: str) -> None:
    written(ROWS, tmp_path / f"d{ending}")
    assert questions(take(f"{address}/d{ending}?key=secret")) == list(range(40))
    with pytest.raises(DataError) as caught:
        take(f"{address}/gone.jsonl?key=secret")
    assert "there is no data file" in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_a_missing_driver_is_named_with_its_pip_line(scheme: str, package: str) -> None:
    pytest.importorskip("fsspec")
    try:
        __import__(package)
    except ImportError:
        with pytest.raises(DataError, match=f"pip install {package}"):
            take(f"{scheme}://bucket/d.jsonl")
    else:
        pytest.skip(f"{package} is installed")


@given(st.lists(st.text(alphabet="a\u00e9 \n", max_size=9), max_size=60), st.integers(1, 70), st.booleans())
@settings(max_examples=60, deadline=None)
def test_byte_ranges_together_are_the_file(tmp_path_factory: Any, lines: list[str], parts: int, end: bool) -> None:
    path = tmp_path_factory.mktemp("ranges") / "d.jsonl"
    path.write_text("\n".join(json.dumps(line) if line.strip() else line for line in lines) + "\n" * end, "utf-8")
    [file] = list_files(str(path)) or []
    whole = list(raw_rows(file))
    assert [row for part in byte_ranges(file, parts) for row in raw_rows(file, part)] == whole


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train[:10%]", range(4)),
        ("train[10:20]", range(10, 20)),
        ("train[-5:]", range(35, 40)),
        ("train[95%:]", range(38, 40)),
        ("train[:5]+train[38:]", [*range(5), 38, 39]),
    ],
)
@pytest.mark.parametrize("ending", [".jsonl", ".parquet", ".csv"])
def test_a_slice_of_a_local_file_is_taken_by_row_numbers(
    split: str, expected: Any, ending: str, tmp_path: Path
) -> None:
    assert questions(take(written(ROWS, tmp_path / f"d{ending}"), split=split)) == list(expected)


@given(st.integers(0, 500), st.lists(st.integers(0, 100), min_size=1, max_size=6))
def test_percentages_part_the_rows_without_gap_or_overlap(count: int, edges: list[int]) -> None:
    edges = [0, *sorted(edges), 100]
    spans = [span for a, b in itertools.pairwise(edges) for span in spans_of(f"train[{a}%:{b}%]", count) or ()]
    assert [place for start, end in spans for place in range(start, end)] == list(range(count))


@pytest.mark.parametrize("split", ["train[1:", "train[a:b]", "train[:200%]", ""])
def test_a_split_that_cannot_be_read_is_named(split: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"datasets\.split|no split"):
        take(written(ROWS, tmp_path / "d.jsonl"), split=split or "x[y]")


def test_shards_part_the_rows(tmp_path: Path) -> None:
    path = written(ROWS, tmp_path / "d.jsonl")
    parts = [questions(take(path, take={"shards": 3, "shards_idx": index})) for index in range(3)]
    assert sorted(itertools.chain(*parts)) == list(range(40)) and {len(part) for part in parts} == {13, 14}


def test_a_filter_keeps_the_rows_for_which_it_holds(tmp_path: Path) -> None:
    path = written(ROWS, tmp_path / "d.jsonl")
    taken = take(path, take={"filter": "{{ row.lang == 'en' and row.n < 10 }}"})
    assert questions(taken) == [n for n in range(10) if n % 3] and taken.left_out == 34
    with pytest.raises(DataError, match=r"rows 1, 2, 3, 4, 5 and 35 more: datasets\.filter: .*has no attribute 'gone'"):
        take(path, take={"filter": "row.gone > 1"})
    with pytest.raises(DataError, match="take none of its 40 rows"):
        take(path, take={"filter": "row.n > 100"})


@pytest.mark.parametrize(
    "text",
    [
        "'x' * 10**9",
        "9**9**9",
        "row.__class__.__mro__",
        "row.text.__class__",
        "'%1000000000d' % 1",
        "'x'.center(10**9)",
        "'{:99999999}'.format(1)",
        "range(10**9)|list",
        "lipsum()",
        "'x'|center(10**9)",
        "{% for x in row %}{% endfor %}",
        "row.text.encode()",
        "{{ 1 }} {{ 2 }}",
        "",
    ],
)
def test_a_filter_cannot_blow_up_or_look_around(text: str) -> None:
    with pytest.raises(BadExpression):
        compiled(text)({"text": "x"})


def test_a_column_may_have_the_name_of_a_method() -> None:
    assert compiled("row.items == 3 and row.keys is defined and row.gone is not defined")({"items": 3, "keys": 1})
    assert compiled("row.text.lower().startswith('a') and row.tags|length > 1")({"text": "Ab", "tags": [1, 2]})


DIGESTS = st.lists(st.sampled_from([f"{n:02}" for n in range(40)]), max_size=60)


@given(DIGESTS, st.decimals("0.01", "5", places=2), st.none() | st.integers(1, 70), st.integers(0, 3))
def test_drawing_is_exact_and_deterministic(digests: list[str], weight: Any, max_rows: int | None, seed: int) -> None:
    draw = Draw(max_rows, float(weight), seed)
    often = copies(digests, draw)
    taken = min(len(digests), max_rows or len(digests))
    assert sum(often) == taken * math.floor(weight) + math.floor(taken * (weight % 1) + type(weight)("0.5"))
    assert copies(digests, draw) == often
    assert max(often, default=0) - min((n for n in often if n), default=0) <= 1
    # Where the rows stand does not matter to which contents are drawn.
    backwards = copies(digests[::-1], draw)
    assert Counter(zip(digests, often, strict=True)) == Counter(zip(digests[::-1], backwards, strict=True))


@given(tokens=st.lists(st.integers(0, 50), min_size=1, max_size=30), weight=st.sampled_from([0.1, 0.25, 0.5, 2.5]))
def test_a_weight_by_tokens_comes_as_near_as_rows_can(tokens: list[int], weight: float) -> None:
    digests = [f"{number:04x}" for number in range(len(tokens))]
    drawn = copies(digests, Draw(weight=weight, unit="tokens"), tokens)
    order = sorted(range(len(tokens)), key=lambda place: (_rank(digests[place], 0), place))
    part = weight % 1
    sums = [sum(tokens[place] for place in order[:count]) for count in range(len(tokens) + 1)]
    have = sum(count * often for count, often in zip(tokens, drawn, strict=True)) - int(weight) * sum(tokens)
    assert abs(have - part * sum(tokens)) <= min(abs(one - part * sum(tokens)) for one in sums) + 1e-9
    assert set(drawn) <= {int(weight), int(weight) + 1}


def test_another_seed_draws_other_rows_and_all_are_drawn_equally_often() -> None:
    digests = [str(n) for n in range(50)]
    drawn = Counter(n for seed in range(400) for n, often in enumerate(copies(digests, Draw(10, 1.0, seed))) if often)
    assert set(drawn) == set(range(50)) and max(drawn.values()) < 2 * min(drawn.values())


def test_weight_and_max_rows_of_a_file(tmp_path: Path) -> None:
    path = written(ROWS, tmp_path / "d.jsonl")
    few = take(path, take={"max_rows": 7, "seed": 1})
    assert len(few.rows) == 7 and few.left_out == 33 and questions(few) == sorted(questions(few))
    assert len(take(path, take={"weight": 0.5}).rows) == 20
    assert Counter(Counter(questions(take(path, take={"weight": 2.25}))).values()) == {2: 30, 3: 10}


SMALL = st.lists(st.integers(0, 30), min_size=1, max_size=80)


def rows_of(numbers: list[int], source: str = "d") -> list[Row]:
    return [Row(source, place, Segments(((f"q{n}", False), ("a", True)))) for place, n in enumerate(numbers)]


@given(SMALL, SMALL, st.floats(0.1, 0.9))
def test_adding_rows_never_moves_one_from_validation_to_training(old: list[int], new: list[int], size: float) -> None:
    try:
        _, before = split_rows(val_set_size=size, rows=rows_of(old))
        training, _ = split_rows(val_set_size=size, rows=rows_of(old) + rows_of(new, "e"))
    except DataError:
        return  # one side is empty
    assert not {row.digest() for row in before} & {row.digest() for row in training}


@given(SMALL, SMALL, st.floats(0.1, 0.9))
def test_duplicates_are_dropped_across_sources_and_never_straddle(one: list[int], two: list[int], size: float) -> None:
    rows = rows_of(one) + rows_of(two, "e")
    kept, _ = drop_duplicates(training=rows, validation=[])
    assert sorted(row.digest() for row in kept) == sorted({row.digest() for row in rows})
    assert kept == [row for place, row in enumerate(rows) if row.digest() not in {r.digest() for r in rows[:place]}]
    try:
        training, validation = split_rows(val_set_size=size, rows=rows)
    except DataError:
        return
    assert not {row.digest() for row in training} & {row.digest() for row in validation}
    assert Counter(map(id, training + validation)) == Counter(map(id, rows))


def test_what_test_datasets_hold_is_not_trained_on() -> None:
    training, validation = drop_duplicates(training=rows_of([1, 2, 3, 3]), validation=rows_of([2, 2, 9], "test"))
    assert [row.number for row in training] == [0, 2] and [row.number for row in validation] == [0, 2]
    with pytest.raises(DataError, match="leaves none"):
        drop_duplicates(training=rows_of([1]), validation=rows_of([1], "test"))


def test_a_repeated_row_is_no_duplicate_and_is_measured_once() -> None:
    twice = [row for row in rows_of(list(range(50))) for _ in range(2)]
    assert len(drop_duplicates(training=twice, validation=[])[0]) == 100
    training, validation = split_rows(val_set_size=0.3, rows=twice)
    assert len(training) % 2 == 0 and len(training) // 2 + len(validation) == 50


def test_bad_rows_are_skipped_counted_and_listed(tmp_path: Path) -> None:
    good = "".join(json.dumps(row) + "\n" for row in ROWS)
    path = tmp_path / "d.jsonl"
    path.write_bytes(good.encode() + b'{bad}\n{"instruction": "\xff", "output": "x"}\n{"instruction": null}\n')
    taken = take(path, on_bad_row="skip", max_dropped_share=0.2)
    assert len(taken.rows) == 40
    assert [(bad.row, bad.source) for bad in taken.skipped] == [(41, str(path)), (42, str(path)), (43, str(path))]
    whys = [bad.why for bad in taken.skipped]
    assert "not JSON" in whys[0] and "not UTF-8" in whys[1] and "`instruction`" in whys[2]
    assert taken.skipped[0].as_json() == {"source": str(path), "row": 41, "why": whys[0]}
    with pytest.raises(DataError, match=r"3 of 43 rows are bad, more than max_dropped_share: 0\.05"):
        take(path, on_bad_row="skip", max_dropped_share=0.05)


def test_a_row_that_is_too_large_is_named_and_the_rows_after_it_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "ROW_BYTES", 2000)
    rows = [*ROWS[:3], {**ROWS[3], "output": "x" * 5000}, *ROWS[4:6]]
    for ending in (".jsonl", ".parquet", ".csv", ".arrow"):
        path = written(rows, tmp_path / f"d{ending}")
        with pytest.raises(DataError, match=r"(row 4|:5:1: error): this row has .* cut the document into several rows"):
            take(path)
        assert questions(take(path, on_bad_row="skip")) == [0, 1, 2, 4, 5]
    with pytest.raises(DataError, match="row 4: this row has"):
        take(written(rows, tmp_path / "d.json"))


def test_a_row_of_fifty_megabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n" + json.dumps({"instruction": "x" * 50_000_000, "output": "y"}) + "\n")
    with pytest.raises(DataError, match="row 2: this row has 48 MB, and a row has at most 32"):
        take(path)


def test_a_table_with_other_columns_is_named(tmp_path: Path) -> None:
    for part in range(3):
        written(ROWS, tmp_path / f"part-{part}.parquet")
    written([{"instruction": "q", "answer": "a", "lang": 1, "n": None}], tmp_path / "part-3.parquet")
    with pytest.raises(DataError) as caught:
        take(tmp_path)
    said = str(caught.value)
    assert f"{tmp_path}/part-3.parquet" in said and "answer: string here, missing there" in said
    assert "lang: int64 here, string there" in said and "\n" not in said and "n:" not in said.split("(")[1]


def test_fields_that_a_table_pads_with_null_are_left_out(tmp_path: Path) -> None:
    tools = [{"name": "f", "parameters": {"a": {"type": "string"}}}, {"name": "g", "parameters": {"b": {"type": "x"}}}]
    path = written([{"text": "x", "tools": [tool]} for tool in tools], tmp_path / "d.parquet")
    [file] = list_files(str(path)) or []
    assert [row["tools"][0] for _, row in raw_rows(file)] == tools


def test_ids_that_stand_twice_are_noted(tmp_path: Path) -> None:
    rows = [{"id": n % 35, **row} for n, row in enumerate(ROWS)]
    [note] = take(written(rows, tmp_path / "d.jsonl")).notes
    assert "5 rows have the `id` of an earlier row (first row 36" in note


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("d.jsonl.gz", b"no gzip", "cannot be read"),
        ("d.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 1000, mtime=0)[:-20], "ends too early"),
        ("d.jsonl.zst", b"no zstd", "cannot be read"),
        ("d.arrow", b"no arrow", "not an arrow file"),
        ("d.json", b'[{"instruction": "a", "output": "b"}, {bad}]', ":1:40: error: row 2: not JSON"),
        ("d.json", b'[{"instruction": "a", "output": "b"}', "row 2: Expecting ','"),
        ("d.csv", b"instruction,output\na,b\na,b,c\n", ":3:1: error: this record has 3 cells"),
        ("d.txt", b"a\n\xff\n", "not UTF-8"),
    ],
)
def test_a_damaged_file_is_named(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        take(tmp_path / name)
    assert says in str(caught.value) and str(tmp_path / name) in str(caught.value)


def test_rows_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    """A reader that read ahead would meet the damage behind the rows that are asked for."""
    for name, damage in (("d.jsonl", b"{bad}\n"), ("d.json", b", {bad}]")):
        rows = [json.dumps({"text": "x" * 5000, "n": n}) for n in range(1000)]
        text = "\n".join(rows) + "\n" if name == "d.jsonl" else "[" + ",\n".join(rows)
        (tmp_path / name).write_bytes(text.encode() + damage)
        [file] = list_files(str(tmp_path / name)) or []
        found = raw_rows(file)
        assert [next(found)[0] for _ in range(1000)] == list(range(1, 1001))
        if name == "d.jsonl":
            assert isinstance(next(found)[1], Broken)
        else:
            with pytest.raises(DataError, match="row 1001"):
                next(found)
