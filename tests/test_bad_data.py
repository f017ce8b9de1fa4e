"""Whatever is wrong with a file is said with its place and with what to do; no damage shows a traceback."""

import bz2
import gzip
import io
import json
import lzma
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from finetune.data.entries import open_source
from finetune.data.sources import read_rows
from finetune.errors import DataError
from tests.test_prepare import prepared, source


def conversation(number: int) -> dict[str, Any]:
    turns = [{"role": "user", "content": f"hello {number} é"}, {"role": "assistant", "content": f"good day {number}"}]
    return {"id": f"r{number}", "messages": turns}


GOOD = [conversation(number) for number in range(12)]
LINES = "".join(json.dumps(row) + "\n" for row in GOOD).encode()
WHOLE = json.dumps(GOOD).encode()
CSV = b"instruction,output\na,b\nc,d\n"


def with_line(line: bytes, number: int = 4) -> bytes:
    lines = LINES.splitlines(keepends=True)
    return b"".join([*lines[: number - 1], line + b"\n", *lines[number - 1 :]])


def table(rows: Any = GOOD, **settings: Any) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), sink, **settings)
    return sink.getvalue()


def answered(*turns: tuple[str, str]) -> bytes:
    return json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}).encode()


FAULTS: dict[str, tuple[str, bytes, str]] = {
    "not JSON": ("d.jsonl", with_line(b'{"messages": ['), r"d\.jsonl:4:\d+: error: this line is not JSON"),
    "not UTF-8": ("d.jsonl", with_line(b'{"messages": "\xff"}'), r"d\.jsonl:4:15: error: this line is not UTF-8"),
    "cut off": ("d.jsonl", LINES[:-20], r"d\.jsonl:12:\d+: error: this line is not JSON: Unterminated string"),
    "UTF-16": ("d.jsonl", LINES.decode().encode("utf-16"), "is UTF-16 or binary.*iconv -f UTF-16"),
    "UTF-16 without a mark": ("d.json", WHOLE.decode().encode("utf-16-le"), "is UTF-16 or binary"),
    "UTF-16 CSV": ("d.csv", CSV.decode().encode("utf-16"), "is UTF-16 or binary"),
    "a name twice": ("d.jsonl", with_line(b'{"a": 1, "a": 2}'), r"d\.jsonl:4:1: error: .*'a' stands twice"),
    "a name twice, array": (
        "d.json",
        b'[{"a": 1},\n {"a": 1, "a": 2}]',
        r"d\.json:2:2: error: row 2: 'a' stands twice",
    ),
    "too deep": ("d.jsonl", with_line(b"[" * 99_999 + b"]" * 99_999), "4:1: error: .*lie too deep in each other"),
    "a number too long": (
        "d.jsonl",
        with_line(b'{"a": ' + b"9" * 5000 + b"}"),
        "4:1: error: .*a number that is too long",
    ),
    "no column": ("d.jsonl", with_line(b'{"foo": 1}'), "row 4: .*the row has `foo`"),
    "null": ("d.jsonl", with_line(b'{"messages": null}'), "row 4: `messages` is null"),
    "no object": ("d.jsonl", with_line(b"[1]"), "row 4: a row must be an object of columns"),
    "an unknown role": (
        "d.jsonl",
        with_line(answered(("wizard", "x"))),
        "row 4: turn 1: role 'wizard'.*datasets.roles",
    ),
    "no turn": ("d.jsonl", with_line(b'{"messages": []}'), "row 4: `messages` is empty"),
    "a number as content": ("d.jsonl", with_line(b'{"messages": [{"role": "user", "content": NaN}]}'), "row 4: turn 1"),
    "an array in .jsonl": ("d.jsonl", WHOLE, r"d\.jsonl:1:1: error: this is one JSON array.*\.json"),
    "an object of columns": ("d.json", b'{"instruction": ["a", "b"], "output": ["c", "d"]}', "one object of columns"),
    "pandas columns": (
        "d.json",
        b'{"instruction": {"0": "a"}, "output": {"0": "c"}}',
        "one object of columns.*records",
    ),
    "rows under a name": ("d.json", json.dumps({"data": GOOD}, indent=1).encode(), "whose rows are under 'data'"),
    "text behind an array": ("d.json", WHOLE + b"x", r"d\.json:1:\d+: error: row 13: after the array there is more"),
    "no comma": ("d.json", b'[{"a": 1} {"a": 2}]', r"1:11: error: row 2: Expecting ',' or '\]'"),
    "a comma too many": ("d.json", b'[{"a": 1},\n]', "2:1: error: row 2: not JSON"),
    "an array cut off": ("d.json", WHOLE[:-30], r"d\.json:1:\d+: error: row 12: not JSON"),
    "an array not UTF-8": ("d.json", WHOLE[:150] + b"\xff" + WHOLE[150:], r"d\.json:1:151: error: not UTF-8"),
    "CSV not UTF-8": ("d.csv", CSV + b"caf\xe9,x\n", r"d\.csv:4:4: error: not UTF-8"),
    "a record too long": ("d.csv", CSV + b"e,f,g\n", r"d\.csv:4:1: error: this record has 3 cells"),
    "a record too short": ("d.csv", CSV + b"e\n", r"d\.csv:4:1: error: this record has 1 cells"),
    "an open quote": ("d.csv", b'instruction,output\n"a,b\nc,d\n', r"d\.csv:2:1: error: .*a quote may be open"),
    "a semicolon in the names alone": ("d.csv", b"a;b\nc\n", r"d\.csv:2:1: error: this record has 1 cells"),
    "commas in TSV": ("d.tsv", CSV, r"parted by a comma, not by a tab: name the file \.csv"),
    "a column twice": ("d.csv", b"a,a\n1,2\n", "the column a is there twice"),
    "no names": ("d.csv", b"", "holds no rows"),
    "nothing": ("d.jsonl", b"", "holds no rows"),
    "white space": ("d.json", b"\n \n", "holds no rows"),
    "an empty parquet": ("d.parquet", b"", "is not a parquet file"),
    "a parquet cut off": ("d.parquet", table()[:-30], "is not a parquet file"),
    "no parquet": ("d.parquet", LINES, "is not a parquet file"),
    "no arrow": ("d.arrow", LINES, "cannot be read|is not an arrow file"),
    "a gz cut off": ("d.jsonl.gz", gzip.compress(LINES * 9)[:-20], "ends too early: it was cut off"),
    "an xz cut off": ("d.jsonl.xz", lzma.compress(LINES * 9)[:-20], "ends too early: it was cut off"),
    "a bz2 cut off": ("d.jsonl.bz2", bz2.compress(LINES * 9)[:-20], "ends too early: it was cut off"),
    "no gz": ("d.jsonl.gz", LINES, "cannot be read: Not a gzipped file"),
    "no zst": ("d.jsonl.zst", LINES, "cannot be read"),
}


def read(path: Path) -> Any:
    return read_rows(**source(path))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_its_place_and_a_way_out(name: str, tmp_path: Path) -> None:
    file, content, says = FAULTS[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError, match=f"(?s){says}"):
        read(tmp_path / file)


@pytest.mark.parametrize(
    ("file", "content"),
    {
        "a mark before the text": ("d.jsonl", b"\xef\xbb\xbf" + LINES),
        "a mark before an array": ("d.json", b"\xef\xbb\xbf" + WHOLE),
        "Windows' line ends": ("d.jsonl", LINES.replace(b"\n", b"\r\n")),
        "no line end at the end": ("d.jsonl", LINES[:-1]),
        "a row a line in .json": ("d.json", LINES),
        "objects over several lines": ("d.json", b"\n".join(json.dumps(row, indent=2).encode() for row in GOOD)),
        "not a number, where nobody looks": ("d.jsonl", LINES.replace(b'{"id"', b'{"score": NaN, "id"')),
        "gz": ("d.jsonl.gz", gzip.compress(LINES)),
        "two gz, one behind the other": ("d.jsonl.gz", gzip.compress(LINES[:600]) + gzip.compress(LINES[600:])),
        "parquet": ("d.parquet", table()),
    }.values(),
)
def test_what_only_looks_odd_is_read(file: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(content)
    assert [row.meaning for row in read(tmp_path / file).rows] == [row.meaning for row in whole(tmp_path)]


def whole(folder: Path) -> Any:
    (folder / "good.jsonl").write_bytes(LINES)
    return read(folder / "good.jsonl").rows


def test_bad_rows_that_are_left_out_do_not_come_back_as_questions(tmp_path: Path) -> None:
    broken = answered(("user", "x"), ("assistant", "y")).replace(b'"x"', b'"\\ud800"')
    (tmp_path / "d.jsonl").write_bytes(broken + b"\n" + LINES)
    kept = prepared(tmp_path / "cache", [source(tmp_path / "d.jsonl", on_bad_row="skip")], on_bad_row="skip")
    assert [bad.why for bad in kept.skipped] == ["half a surrogate pair at character 17"]
    assert kept.first_rows("train")[0].number == 2


def test_a_source_whose_rows_are_all_bad_says_why(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(b'{"messages": []}\n' * 5)
    with pytest.raises(DataError, match=r"(?s)row 1: `messages` is empty.*all 5 rows are bad, so none is left"):
        prepared(tmp_path / "cache", [source(tmp_path / "d.jsonl", on_bad_row="skip")], on_bad_row="skip")


def test_a_long_row_takes_bounded_time_and_memory(tmp_path: Path) -> None:
    import time
    import tracemalloc

    long = answered(("user", "a b " * 400_000), ("assistant", "y"))
    (tmp_path / "d.jsonl").write_bytes(LINES + long + b"\n")
    tracemalloc.start()
    began = time.process_time()
    try:
        made = prepared(tmp_path / "cache", [source(tmp_path / "d.jsonl")])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert made.counted["train"].dropped == 1
    assert peak < 100 * len(long) and time.process_time() - began < 20


SEEDS = {
    "d.jsonl": LINES,
    "d.json": WHOLE,
    "d.csv": b"instruction,output\n" + b'"a, b",c\nd,"e\nf"\n' * 5,
    "d.tsv": b"instruction\toutput\na\tb\n",
    "d.txt": "one é\n\ntwo\n".encode(),
    "d.parquet": table(compression="snappy"),
    "d.jsonl.gz": gzip.compress(LINES),
    "d.jsonl.xz": lzma.compress(LINES),
    "d.jsonl.bz2": bz2.compress(LINES),
}


def damaged(content: bytes, seed: int) -> bytes:
    """The bytes with a few of them changed, removed, doubled or moved."""
    rng = random.Random(seed)
    found = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(found) + 1)
        end = min(len(found), start + rng.choice([1, 1, 2, 8, 200]))
        match rng.randrange(6):
            case 0:
                found[start:end] = rng.randbytes(end - start)
            case 1:
                del found[start:end]
            case 2:
                found[start:start] = found[start:end] * rng.randint(1, 3)
            case 3:
                del found[start:]
            case 4:
                found[start:start] = rng.choice(
                    [b'"', b"{", b"[", b",", b"\n", b"\0", b"\\ud800", b"NaN", b"null", b"1e999"]
                )
            case _:
                found[start:start] = rng.choice(
                    [b"\xff", b"\xef\xbb\xbf", b"\r", b"\xe2\x80\xa8", b"]", b"}", b": ", b"9" * 30]
                )
    return bytes(found)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(SEEDS)), seed=st.integers(0, 10**9), policy=st.sampled_from(["error", "skip"]))
def test_no_damage_shows_a_traceback(name: str, seed: int, policy: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(damaged(SEEDS[name], seed))
    one = source(path, on_bad_row=policy)
    for work in (lambda: read_rows(**one), lambda: open_source(**one), lambda: all_of(tmp_path, one, policy)):
        try:
            work()
        except DataError as error:
            assert str(error) and all(fault.message for fault in error.faults)


def all_of(folder: Path, one: dict[str, Any], policy: str) -> None:
    made = prepared(folder / "cache", [one], on_bad_row=policy)
    list(made.rows("train"))
    made.first_rows("train")


class Server(BaseHTTPRequestHandler):
    """Gives whole files only, leads astray, refuses, and hangs up."""

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        name = self.path.split("?")[0].strip("/")
        if name == "moved.jsonl":
            self.send_response(302)
            self.send_header("Location", "/good.jsonl")
            self.end_headers()
        elif name == "good.jsonl" or name.startswith("cut"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(LINES)))
            self.end_headers()
            self.wfile.write(LINES[:200] if name.startswith("cut") else LINES)
        else:
            self.send_error({"gone": 404, "private": 401}.get(name.split(".")[0], 500))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()
    serving.server_close()


@pytest.mark.parametrize("name", ["good.jsonl", "moved.jsonl", "good.jsonl?token=secret"])
def test_a_server_that_gives_whole_files_only_will_do(name: str, server: str) -> None:
    assert len(read_rows(**source(Path("x")) | {"path": f"{server}/{name}"}).rows) == 12


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gone.jsonl", "there is no data file http"),
        ("private.jsonl?token=secret", r"private\.jsonl cannot be read: 401 Unauthorized"),
        ("faulty.jsonl", "cannot be read: 500"),
        ("cut.jsonl", "cannot be read: .*not completed"),
        ("table.parquet", "cannot be read: 500"),
    ],
)
def test_what_goes_wrong_at_an_address_is_named_without_its_secrets(name: str, says: str, server: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        read_rows(**source(Path("x")) | {"path": f"{server}/{name}"})
    assert "secret" not in str(caught.value)
