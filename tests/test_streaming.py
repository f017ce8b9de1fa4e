"""Streamed, a source is read no further than the steps need; what is taken hangs on nothing but the recipe."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.data.prepared import Prepared
from finetune.errors import DataError
from finetune.machine import assumed
from finetune.recipe.load import load_recipe
from finetune.resolve import resolve
from tests.test_prepare import conversations, prepared, source

LONG = {"sequence_len": 600}


def streamed(path: Path, **enough: int) -> dict[str, Any]:
    one = source(path)
    one["source"]["stream"] = {"max_rows": None, "examples": None, "tokens": None} | enough
    return one


def taken(made: Prepared) -> list[tuple[str, int]]:
    return [(Path(name).name, row) for name, row, _, _ in made.rows("train")]


def test_no_more_is_read_than_is_needed(tmp_path: Path) -> None:
    path = conversations(tmp_path / "d.jsonl", 3000)
    with path.open("a") as file:
        file.write("this is no JSON\n" * 10)
    made = prepared(tmp_path / "cache", [streamed(path, examples=7)], lengths=LONG)
    assert taken(made) == [("d.jsonl", row) for row in range(1, 8)]
    assert (made.folder / "tokens.bin").stat().st_size < 4 * 600 * 256
    assert made.notes == [f"{path}: streamed, its first 7 rows are used"]


@pytest.mark.parametrize("processes", [1, 2])
def test_the_same_rows_are_taken_by_any_number_of_processes(processes: int, tmp_path: Path) -> None:
    paths = [conversations(tmp_path / f"{name}.jsonl", 900, seed) for seed, name in enumerate("ab")]
    made = prepared(tmp_path / "cache", [streamed(path, tokens=9000) for path in paths], processes, lengths=LONG)
    tokens = dict.fromkeys("ab", 0)
    for name, _, ids, _ in made.rows("train"):
        tokens[Path(name).stem] += len(ids)
    assert all(9000 <= count < 9000 + 600 for count in tokens.values())
    assert [row for name, row in taken(made) if name == "a.jsonl"] == list(
        range(1, 1 + sum(name == "a.jsonl" for name, _ in taken(made)))
    )


def test_a_source_that_ends_early_gives_all_it_has(tmp_path: Path) -> None:
    made = prepared(tmp_path / "cache", [streamed(conversations(tmp_path / "d.jsonl", 5), examples=100)], lengths=LONG)
    assert len(taken(made)) == 5


def test_a_share_of_rows_is_refused(tmp_path: Path) -> None:
    one = streamed(conversations(tmp_path / "d.jsonl", 5), examples=100)
    one["source"]["hub"] |= {"split": "train[:10%]"}
    with pytest.raises(DataError, match="counting all rows, which streaming: true does not"):
        prepared(tmp_path / "cache", [one])


def test_steps_and_weights_say_how_much(write_recipe: Any) -> None:
    entries = [{"path": "a.jsonl", "weight": 3}, {"path": "b.jsonl", "max_rows": 5}]
    shape = {"max_steps": 10, "micro_batch_size": 2, "gradient_accumulation_steps": 2, "sequence_len": 64}
    recipe = write_recipe(datasets=entries, streaming=True, **shape)
    plan = resolve(load_recipe(recipe, []).recipe, assumed())
    found = [call.arguments["source"]["stream"] for call in plan.stage("format") if "open_source" in call.target]
    assert found == [
        {"max_rows": None, "examples": 30, "tokens": None},
        {"max_rows": 5, "examples": 10, "tokens": None},
    ]
    packed = write_recipe(datasets=entries, streaming=True, sample_packing=True, **shape)
    plan = resolve(load_recipe(packed, []).recipe, assumed())
    found = [
        call.arguments["source"]["stream"]["tokens"] for call in plan.stage("format") if "open_source" in call.target
    ]
    assert found == [30 * 64, 10 * 64]


def test_streaming_needs_max_steps(write_recipe: Any, finetune: Any) -> None:
    code, _, err = finetune("validate", write_recipe(streaming=True, max_steps=None, num_epochs=1))
    assert code == 3 and "say how many with `max_steps`" in err


def test_a_run_streams(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    path = conversations(tmp_path / "d.jsonl", 2000)
    code, out, err = finetune(
        "train", write_recipe(datasets=[{"path": str(path)}], streaming=True, sample_packing=True)
    )
    assert code == 0, err
    assert "streamed, its first" in out + err
    counted = json.loads((tmp_path / "run" / "data.json").read_text())["train"]
    assert counted["kept"] < 40
