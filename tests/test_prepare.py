"""What several processes make of the data is what one pass in memory makes of it, row by row; and it is kept."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from finetune.data.entries import open_source
from finetune.data.prepare import Place
from finetune.data.prepared import Prepared
from finetune.data.sources import read_rows
from finetune.data.split import drop_duplicates, split_rows
from finetune.errors import DataError
from finetune.rendering.examples import tokenize_rows
from tests import tiny

SELECTION = {"val_set_size": 0, "deduplicate": False, "on_bad_row": "error", "shuffle": None}
LENGTHS = {"sequence_len": 96}
WORDS = ["ok", "é日本", "😀", "<|im_end|>", "ſ", "a\u0301", "  two\n\n", "'ll", "١٢", "the sun is warm"]


def conversations(path: Path, count: int, seed: int = 0) -> Path:
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        turns = []
        for _ in range(rng.randint(1, 3)):
            for role in ("human", "gpt"):
                value = tiny.sentence(rng, rng.randint(0, 12)) + rng.choice(WORDS)
                turns.append({"from": role, "value": value if number % 7 else "the same"})
        rows.append({"id": f"r{number}", "conversations": turns})
    path.write_text("".join(json.dumps(row, ensure_ascii=number % 2 == 0) + "\n" for number, row in enumerate(rows)))
    return path


def texts(path: Path, count: int) -> Path:
    rng = random.Random(1)
    path.write_text("".join(json.dumps({"text": tiny.sentence(rng, rng.randint(1, 60))}) + "\n" for _ in range(count)))
    return path


def source(path: Path, purpose: str = "train", group: int = 0, **take: Any) -> dict[str, Any]:
    inner = {"hub": {"split": "train", "name": None, "revision": None}, "take": take}
    inner |= {"on_bad_row": take.pop("on_bad_row", "error")}
    return {
        "purpose": purpose, "path": str(path), "form": None, "source": inner, "fields": {"group": group, "roles": {}}
    }  # fmt: skip


def prepared(folder: Path, sources: list[Any], processes: int = 1, **changes: Any) -> Prepared:
    selection = SELECTION | {name: value for name, value in changes.items() if name in SELECTION}
    lengths = LENGTHS | changes.get("lengths", {})
    labels = changes.get("labels", [{}] * len(sources))
    return Place(str(folder), processes).prepare(
        selection=selection,
        lengths=lengths,
        labels=labels,
        sources=[open_source(**one) for one in sources],
        tokenizer=changes.get("tokenizer") or tiny.tokenizer_of("chatml"),
    )


def in_memory(sources: list[Any], **changes: Any) -> dict[str, Any]:
    selection = SELECTION | {name: value for name, value in changes.items() if name in SELECTION}
    rows: dict[str, list[Any]] = {"train": [], "validation": []}
    for one in sources:
        rows[one["purpose"]] += read_rows(**one).rows
    training, validation = rows["train"], rows["validation"]
    if selection["deduplicate"]:
        training, validation = drop_duplicates(training=training, validation=validation)
    training, held_out = split_rows(val_set_size=selection["val_set_size"], rows=training)
    made = {"train": training, "validation": validation or held_out}
    return {
        purpose: tokenize_rows(
            rows=found,
            tokenizer=changes.get("tokenizer") or tiny.tokenizer_of("chatml"),
            lengths=LENGTHS | changes.get("lengths", {}),
            labels=changes.get("labels", [{}] * len(sources)),
            on_bad_row=selection["on_bad_row"],
        )
        for purpose, found in made.items()
        if found
    }


def assert_equal(found: Prepared, wanted: dict[str, Any]) -> None:
    assert found.purposes == list(wanted)
    for purpose, tokenized in wanted.items():
        rows = list(found.rows(purpose))
        assert [row[2:] for row in rows] == [(one.input_ids, one.labels) for one in tokenized.examples]
        assert found.counted[purpose] == tokenized.counted
        dataset = found.dataset(purpose)
        assert [(row["input_ids"], row["labels"]) for row in dataset] == [row[2:] for row in rows]


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "a share for validation": {"val_set_size": 0.2},
    "a number for validation": {"val_set_size": 11},
    "without duplicates": {"deduplicate": True, "val_set_size": 0.1},
    "cut": {"lengths": {"sequence_len": 40, "excess_length_strategy": "truncate", "truncation_side": "left"}},
    "divided": {"lengths": {"sequence_len": 40, "excess_length_strategy": "split", "min_sample_len": 5}},
    "dropped": {"lengths": {"sequence_len": 60, "max_dropped_share": 1.0}},
    "joined": {"lengths": {"text_chunks": "joined"}},
    "exploded": {"labels": [{"multiturn": "explode"}, {"special_tokens_in_content": "text"}, {}]},
    "inputs too": {"labels": [{"train_on_inputs": True}] * 3},
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_what_one_pass_in_memory_makes(name: str, tmp_path: Path) -> None:
    sources = [
        source(conversations(tmp_path / "a.jsonl", 200), weight=1.5, seed=3),
        source(conversations(tmp_path / "b.jsonl", 90, 5), group=1, max_rows=70),
        source(texts(tmp_path / "c.jsonl", 50), group=2),
    ]
    assert_equal(prepared(tmp_path / "cache", sources, **CASES[name]), in_memory(sources, **CASES[name]))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_it_is_the_same_for_every_family_and_number_of_processes(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune.data import entries, prepare

    monkeypatch.setattr(entries, "STRETCH", 2000)
    monkeypatch.setattr(prepare, "SMALL", 0)
    tokenizer = tiny.tokenizer_of(family)
    sources = [source(conversations(tmp_path / "a.jsonl", 120))]
    wanted = in_memory(sources, tokenizer=tokenizer)
    for processes in (1, 2, 3) if family == "chatml" else (2,):
        assert_equal(prepared(tmp_path / str(processes), sources, processes, tokenizer=tokenizer), wanted)


def test_bad_rows_stop_it_or_are_left_out(tmp_path: Path) -> None:
    path = conversations(tmp_path / "a.jsonl", 60)
    lines = path.read_text().splitlines()
    lines[3], lines[9] = "{bad}", '{"conversations": []}'
    lines[20] = json.dumps({"conversations": [{"from": "human", "value": "x"}]})
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=":4:2: error"):
        prepared(tmp_path / "cache", [source(path)])
    assert not list((tmp_path / "cache").iterdir()), "a stopped run leaves nothing"
    skipping = [source(path, on_bad_row="skip")]
    found = prepared(tmp_path / "cache", skipping, on_bad_row="skip")
    assert [bad.row for bad in found.skipped] == [4, 10, 21]
    assert_equal(found, in_memory(skipping, on_bad_row="skip"))


def test_the_same_data_is_prepared_once_and_other_data_anew(tmp_path: Path) -> None:
    path = conversations(tmp_path / "a.jsonl", 30)
    first = prepared(tmp_path / "cache", [source(path)])
    again = prepared(tmp_path / "cache", [source(path)])
    assert (first.again, again.again, first.folder) == (False, True, again.folder)
    path.write_text(path.read_text().replace("the same", "no more the same"))
    assert prepared(tmp_path / "cache", [source(path)]).folder != first.folder
    changed = prepared(tmp_path / "cache", [source(path)], lengths={"sequence_len": 95})
    assert not changed.again and len(list((tmp_path / "cache").iterdir())) == 3


def test_a_weight_by_tokens_halves_the_tokens(tmp_path: Path) -> None:
    one = source(texts(tmp_path / "t.jsonl", 400))
    whole = prepared(tmp_path / "cache", [one]).counted["train"].tokens
    one["source"]["take"] |= {"weight": 0.5, "unit": "tokens"}
    assert abs(prepared(tmp_path / "cache", [one]).counted["train"].tokens - whole / 2) <= 96


def test_sources_are_shuffled_one_by_one_and_the_same_each_time(tmp_path: Path) -> None:
    entries = [source(texts(tmp_path / f"{name}.jsonl", 50), group=group) for group, name in enumerate("ab")]

    def order(folder: str, seed: int | None) -> list[tuple[str, int]]:
        made = prepared(tmp_path / folder, entries, shuffle=seed)
        return [(Path(name).stem, row) for name, row, _, _ in made.rows("train")]

    plain, shuffled = order("one", None), order("one", 7)
    assert sorted(shuffled) == plain and shuffled != plain and shuffled == order("two", 7) != order("one", 8)
    assert [name for name, _ in shuffled] == [name for name, _ in plain]


def test_what_was_left_half_is_not_taken(tmp_path: Path) -> None:
    path = conversations(tmp_path / "a.jsonl", 30)
    first = prepared(tmp_path / "cache", [source(path)])
    (first.folder / "facts.json").write_text('{"purposes"')
    assert not prepared(tmp_path / "cache", [source(path)]).again
    (first.folder.parent / "partial-elsewhere-1-abc").mkdir()
    prepared(tmp_path / "cache", [source(path)])
    assert (first.folder.parent / "partial-elsewhere-1-abc").is_dir(), "another machine's is not ours to remove"


def test_a_tokenizer_that_is_not_byte_level_gives_its_own_tokens(tmp_path: Path) -> None:
    from tokenizers import pre_tokenizers

    tokenizer = tiny.tokenizer_of("chatml")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    sources = [source(conversations(tmp_path / "a.jsonl", 60))]
    found = prepared(tmp_path / "cache", sources, tokenizer=tokenizer)
    assert found.facts["tokenized_by"] == "tokenizers" and "pattern" in found.facts["because"]
    assert_equal(found, in_memory(sources, tokenizer=tokenizer))


def test_parquet_holds_tokens_labels_source_and_row(tmp_path: Path) -> None:
    from pyarrow import parquet

    found = prepared(tmp_path / "cache", [source(conversations(tmp_path / "a.jsonl", 60))])
    found.write_parquet("train", tmp_path / "train.parquet")
    table = parquet.read_table(tmp_path / "train.parquet")
    assert str(table.schema.field("input_ids").type) == "list<element: int32>"
    rows = [(row["source"], row["row"], row["input_ids"], row["labels"]) for row in table.to_pylist()]
    assert rows == list(found.rows("train"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_leaves_no_process_and_nothing_that_counts(
    number: signal.Signals, tmp_path: Path, write_recipe: Any
) -> None:
    path = conversations(tmp_path / "a.jsonl", 400)
    path.write_text(path.read_text() * 150)
    recipe = write_recipe(
        datasets=[{"path": str(path)}],
        dataset_num_proc=2,
        dataset_prepared_path=str(tmp_path / "cache"),
        val_set_size=0.1,
    )
    command = [sys.executable, "-m", "finetune", "preprocess", str(recipe), "--output", str(tmp_path / "out")]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    waited(lambda: len(psutil.Process(running.pid).children(recursive=True)) == 2)
    workers = psutil.Process(running.pid).children(recursive=True)
    waited(lambda: [file for file in (tmp_path / "cache").rglob("tokens.bin") if file.stat().st_size])
    running.send_signal(number)
    code = running.wait(20)
    assert code in (128 + number, -number)
    waited(lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in workers))
    left = list((tmp_path / "cache").iterdir())
    assert left == [] or (number == signal.SIGKILL and all(one.name.startswith("partial-") for one in left))
    found = prepared(tmp_path / "cache", [source(conversations(tmp_path / "b.jsonl", 5))])
    assert [one.name for one in (tmp_path / "cache").iterdir()] == [found.folder.name], "what is left is swept up"


def waited(true: Any, seconds: float = 180) -> Any:
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return found


def test_two_runs_at_once_share_a_folder(tmp_path: Path, write_recipe: Any) -> None:
    path = conversations(tmp_path / "a.jsonl", 200)
    recipe = write_recipe(datasets=[{"path": str(path)}], dataset_prepared_path=str(tmp_path / "cache"))
    command = [sys.executable, "-m", "finetune", "preprocess", str(recipe), "--output"]
    runs = [subprocess.Popen([*command, str(tmp_path / name)], stdout=subprocess.DEVNULL) for name in ("x", "y")]
    assert [run.wait(60) for run in runs] == [0, 0]
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert (tmp_path / "x" / "train.parquet").read_bytes() == (tmp_path / "y" / "train.parquet").read_bytes()


def test_an_entry_that_is_cut_off_is_made_anew(tmp_path: Path) -> None:
    one = source(conversations(tmp_path / "a.jsonl", 20))
    made = prepared(tmp_path / "cache", [one])
    whole = (made.folder / "tokens.bin").read_bytes()
    (made.folder / "tokens.bin").write_bytes(whole[:-4])
    again = prepared(tmp_path / "cache", [one])
    assert not again.again and (again.folder / "tokens.bin").read_bytes() == whole


def test_what_nobody_used_for_a_month_is_removed(tmp_path: Path) -> None:
    import os

    sources = [source(conversations(tmp_path / f"{name}.jsonl", 5, seed)) for seed, name in enumerate("abc")]
    old, used = (prepared(tmp_path / "cache", [one]).folder for one in sources[:2])
    for folder in (old, used):
        os.utime(folder, (time.time() - 40 * 24 * 3600,) * 2)
    assert prepared(tmp_path / "cache", [sources[1]]).again
    prepared(tmp_path / "cache", [sources[2]])
    assert not old.exists() and used.exists()


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, write_recipe: Any) -> None:
    import resource

    path = conversations(tmp_path / "a.jsonl", 3000)
    recipe = write_recipe(datasets=[{"path": str(path)}], dataset_prepared_path=str(tmp_path / "cache"))
    command = [sys.executable, "-m", "finetune", "preprocess", str(recipe), "--output", str(tmp_path / "out")]
    limit = (20_000, 20_000)
    done = subprocess.run(
        command, capture_output=True, text=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    )
    assert done.returncode == 7 and "is full. Free some, or name another with dataset_prepared_path" in done.stderr
    assert list((tmp_path / "cache").iterdir()) == [] and "Traceback" not in done.stderr


def test_parquet_that_is_there_is_not_written_again(tmp_path: Path, write_recipe: Any, finetune: Any) -> None:
    recipe, out = write_recipe(), tmp_path / "out"
    assert finetune("preprocess", recipe, "--output", out)[0] == 0
    before = (out / "train.parquet").stat()
    assert finetune("preprocess", recipe, "--output", out)[0] == 0
    assert (out / "train.parquet").stat().st_ino == before.st_ino
    assert finetune("preprocess", recipe, "--output", out, "min_sample_len=20")[0] == 0
    assert (out / "train.parquet").stat().st_ino != before.st_ino
    code, _, err = finetune("preprocess", recipe, "--output", out / "train.parquet")
    assert code == 2 and "name a folder" in err


def test_a_cache_that_may_only_be_read_serves_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    one = source(conversations(tmp_path / "a.jsonl", 20))
    prepared(tmp_path / "cache", [one])
    monkeypatch.setattr(
        os, "access", lambda _, mode: mode != os.W_OK
    )  # whoever runs the tests may be allowed everything
    found = prepared(tmp_path / "cache", [one])
    before = sorted(found.folder.iterdir())
    assert found.again and len(found.dataset("train")) == found.counted["train"].kept
    assert sorted(found.folder.iterdir()) == before
