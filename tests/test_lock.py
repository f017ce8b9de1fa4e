"""What a recipe trains is written down beside it, and a run can be held to that."""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune.data import kept_digests
from finetune.locking import digests
from tests.conftest import ROOT


@pytest.fixture
def team(tmp_path: Path, tiny_models: dict[str, Path], sharegpt: Path) -> Path:
    """A recipe on top of another, with everything that it reads beside it, as in a repository; locked."""
    folder = tmp_path / "team"
    (folder / "data").mkdir(parents=True)
    shutil.copytree(tiny_models["chatml"], folder / "model")
    rows = sharegpt.read_text().splitlines(keepends=True)
    (folder / "data" / "train-a.jsonl").write_text("".join(rows[:20]))
    (folder / "data" / "train-b.jsonl").write_text("".join(rows[20:30]))
    (folder / "more.jsonl").write_text("".join(rows[30:40]))
    template = (folder / "model" / "chat_template.jinja").read_text()
    (folder / "own.jinja").write_text(template)
    (folder / "base.yaml").write_text("adapter: lora\nlearning_rate: 1e-3\nmicro_batch_size: 2\nmax_steps: 2\n")
    recipe = """
extends: base.yaml
base_model: model
chat_template: jinja
chat_template_jinja: own.jinja
datasets:
  - path: data
    type: chat_template
  - path: more.jsonl
    type: chat_template
output_dir: outputs/run
wandb_name: ${oc.env:USER,nobody}
sample_prompts: []
sequence_len: 256
logging_steps: 1
"""
    (folder / "recipe.yaml").write_text(recipe)
    return folder / "recipe.yaml"


def swap(path: Path, old: str, new: str) -> None:
    text = path.read_bytes().decode()
    assert old in text, f"{old!r} is not in {path}"
    path.write_bytes(text.replace(old, new, 1).encode())


def test_a_lock_hangs_on_no_folder_no_comment_no_order_and_no_line_end(
    team: Path, finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = finetune("lock", team)
    assert code == 0, err
    lock = team.with_suffix(".lock")
    text = lock.read_text()
    assert str(tmp_path) not in text and "nobody" not in text
    assert finetune("lock", team)[1] == f"{lock}: holds, nothing moved\n"
    other = tmp_path / "elsewhere" / "deeper"
    shutil.copytree(team.parent, other)
    head, *lines = (other / "recipe.yaml").read_text().strip().splitlines()
    values = "\r\n".join(["# a comment", *lines[9:], head, *lines[:9]])
    (other / "recipe.yaml").write_bytes(values.encode())
    (other / "recipe.lock").unlink()
    monkeypatch.chdir(other)
    monkeypatch.setenv("USER", "somebody")
    assert finetune("lock", "recipe.yaml")[0] == 0
    assert (other / "recipe.lock").read_text() == text
    for key in ("output_dir=x", "logging_steps=7", "wandb_project=p", "save_steps=1", "dataset_num_proc=2"):
        code, _, err = finetune("plan", "recipe.yaml", "--frozen", key)
        assert code == 0, (key, err)


MOVES = {
    "a value": (
        "recipe.yaml",
        "sequence_len: 256",
        "sequence_len: 128",
        ["recipe.yaml:14:1", "sequence_len: 256 → 128"],
    ),
    "a value below it": ("base.yaml", "1e-3", "2e-3", ["base.yaml:2:1", "learning_rate: 0.001 → 0.002"]),
    "a value that is new": ("base.yaml", "adapter", "seed: 7\nadapter", ["base.yaml:1:1", "seed: not written → 7"]),
    "a byte of the model": ("model/config.json", " ", "  ", ["recipe.yaml:3:1", "model.config.json: "]),
    "a row of a folder": ("data/train-b.jsonl", "e", "E", ["recipe.yaml:7:5", "datasets.0.train-b.jsonl: "]),
    "a row of a file": ("more.jsonl", "e", "E", ["recipe.yaml:9:5", "datasets.1: "]),
    "the template": ("own.jinja", "<|im_start|>", " <|im_start|>", ["recipe.yaml:5:1", "chat_template_jinja: "]),
}


@pytest.fixture
def locked(team: Path, finetune: Any) -> Path:
    code, _, err = finetune("lock", team)
    assert code == 0, err
    return team


def test_frozen_names_each_thing_that_moved_where_it_is_written(locked: Path, finetune: Any) -> None:
    assert finetune("validate", locked, "--frozen")[0] == 0
    for what, (name, old, new, says) in MOVES.items():
        kept = (locked.parent / name).read_bytes()
        swap(locked.parent / name, old, new)
        code, _, err = finetune("plan", locked, "--frozen")
        found = [line for line in err.splitlines() if "[FT041]" in line]
        assert code == 10 and len(found) == 1, (what, err)
        assert all(words in found[0] for words in says) and f"finetune lock {locked}" in found[0], (what, found)
        assert finetune("validate", locked, "--frozen")[0] == 3, what
        assert finetune("prove", locked, "--frozen")[0] == 10
        (locked.parent / name).write_bytes(kept)
    (locked.parent / "own.jinja").write_bytes((locked.parent / "own.jinja").read_bytes().replace(b"\n", b"\r\n"))
    assert finetune("plan", locked, "--frozen")[0] == 0, "jinja reads any line end as the same"
    code, _, err = finetune("plan", locked, "--frozen", "learning_rate=1e-4", "lora_r=4")
    assert code == 10 and err.count("[FT041]") == 2 and "write it into the recipe" in err


def test_what_is_not_on_this_machine_is_said_and_not_refused(locked: Path, finetune: Any) -> None:
    shutil.rmtree(locked.parent / "model")
    (locked.parent / "more.jsonl").unlink()
    code, out, _ = finetune("validate", locked, "--frozen", "--format", "json")
    told = {fault["code"]: fault["message"] for fault in json.loads(out)["recipes"][0]["faults"]}
    assert code == 0 and told["FT044"].endswith("model, datasets.1")
    code, _, err = finetune("lock", locked)
    assert code == 5 and "model" in err and "not on this machine" in err


def test_without_a_lock_that_can_be_read_frozen_is_refused(team: Path, finetune: Any) -> None:
    code, _, err = finetune("plan", team, "--frozen")
    assert code == 10 and f"finetune lock {team}" in err and "[FT040]" in err
    lock = team.with_suffix(".lock")
    for text, says in {
        "version: 1\n<<<<<<< HEAD\n": "recipe.lock:2:1",
        "version: 2\n": "newer",
        "version: 1\nrecipe: 3\n": "no lock",
        "a: [": "cannot be read",
        "version: 1\nrecipe: {keys: {}}\ninputs: {model: 3}\ntrained: {}\nplan: {}\nlibraries: {}\n": "no lock",
    }.items():
        lock.write_text(text)
        code, _, err = finetune("plan", team, "--frozen")
        assert code == 10 and says in err and "[FT040]" in err, text
    assert finetune("lock", team)[0] == 0, "a damaged lock is what it is written anew for"


def test_other_tokens_or_labels_are_refused_before_a_model_is_loaded(locked: Path, finetune: Any) -> None:
    lock = locked.with_suffix(".lock")
    values = yaml.safe_load(lock.read_text())
    assert values["trained"]["training"]["rows"] == 40
    assert set(values["trained"]["training"]["sources"]) == {"datasets.0", "datasets.1"}
    values["trained"]["training"]["sources"]["datasets.1"]["sha256"] = "0" * 64
    values["trained"]["stops"] = ["</s>"]
    lock.write_text(yaml.safe_dump(values))
    assert finetune("plan", locked, "--frozen")[0] == 0, "the rows are not looked at here"
    (locked.parent / "model" / "model.safetensors").unlink()
    values["inputs"]["model"]["files"].pop("model.safetensors")
    lock.write_text(yaml.safe_dump(values))
    for command in (["preview", locked], ["preprocess", locked], ["train", locked]):
        code, _, err = finetune(*command, "--frozen", f"output_dir={locked.parent / 'run'}")
        assert code == 10 and err.count("[FT041]") == 2, (command, err)
        assert "trained.stops: </s> → " in err and "(datasets.1)" in err, err
    assert not (locked.parent / "run").exists()


def test_versions_count_where_it_is_trained_and_may_be_allowed(locked: Path, finetune: Any) -> None:
    lock = locked.with_suffix(".lock")
    values = yaml.safe_load(lock.read_text())
    assert "+" not in values["libraries"]["torch"], "a build for CPUs is the same version as one for GPUs"
    values["libraries"]["torch"] = "1.0.0"
    values["libraries"]["unknown-here"] = "3"
    lock.write_text(yaml.safe_dump(values))
    code, _, err = finetune("plan", locked, "--frozen")
    assert code == 0 and "warning: libraries.torch: 1.0.0 → " in err and "[FT042]" in err
    out = f"output_dir={locked.parent / 'run'}"
    code, _, err = finetune(locked, "--frozen", out)
    assert code == 10 and "error: libraries.torch" in err and "torch==1.0.0" in err and "--other-versions" in err
    assert finetune("lock", locked, "--check")[0] == 10
    assert finetune("lock", locked, "--check", "--other-versions")[0] == 0


def test_each_run_keeps_the_lock_of_what_it_trained_and_says_where_it_is_another(locked: Path, finetune: Any) -> None:
    run = locked.parent / "run"
    code, _, err = finetune(locked, "--frozen", f"output_dir={run}")
    assert code == 0 and "FT04" not in err, err
    texts = [path.read_text() for path in (run / "lock.yaml", locked.with_suffix(".lock"))]
    # They say the same, under a head that says what each is for.
    assert len({text[text.index("version:") :] for text in texts}) == 1
    assert "this run trained" in texts[0] and "finetune lock" not in texts[0]
    swap(locked.parent / "base.yaml", "1e-3", "2e-3")
    code, _, err = finetune(locked, f"output_dir={run}", "max_steps=1")
    assert code == 7, "it is not refused: it comes as far as the folder that holds the first run"
    assert "warning" in err and "[FT043]" in err
    assert "learning_rate: 0.001 → 0.002" in err and "max_steps: 2 → 1" in err
    locked.with_suffix(".lock").write_text("<<<<<<< HEAD\n")
    code, _, err = finetune(locked, f"output_dir={run}")
    assert code == 7 and "warning: the lock cannot be read" in err


def test_a_variable_with_another_value_is_noticed_and_its_value_is_not_written(
    locked: Path, finetune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap(locked, "sequence_len: 256", "sequence_len: ${oc.env:TOKENS}")
    monkeypatch.setenv("TOKENS", "250")
    assert finetune("lock", locked)[0] == 0
    assert "250" not in locked.with_suffix(".lock").read_text()
    assert finetune("plan", locked, "--frozen")[0] == 0
    monkeypatch.setenv("TOKENS", "240")
    code, _, err = finetune("plan", locked, "--frozen")
    assert code == 10 and "recipe.yaml:14:1" in err and "sequence_len" in err and err.count("[FT041]") == 1


COMMITS = ("1" * 40, "2" * 40)


@pytest.fixture
def downloaded(tmp_path: Path, tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with two commits of a model; main is the first."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "models--org--tiny"
    for commit in COMMITS:
        shutil.copytree(tiny_models["chatml"], folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMITS[0])
    return folder / "refs"


def test_locked_commits_are_those_that_are_loaded_and_stay_until_they_are_updated(
    downloaded: Path, write_recipe: Any, finetune: Any
) -> None:
    recipe = write_recipe(base_model="org/tiny", tokenizer_config="org/tiny")

    def planned(*words: str) -> set[str]:
        code, out, err = finetune("plan", recipe, "--json", *words)
        assert code == 0, err
        calls = json.loads(out)["stages"]["load"]
        return {call["arguments"]["revision"] for call in calls if "revision" in call["arguments"]}

    code, _, err = finetune("lock", recipe)
    assert code == 0, err
    assert planned() == {"main"} and planned("--frozen") == {COMMITS[0]}
    (downloaded / "main").write_text(COMMITS[1])
    assert planned("--frozen") == {COMMITS[0]}, "a branch that moved on is no drift"
    swap(recipe, "sequence_len: 256", "sequence_len: 255")
    assert finetune("lock", recipe)[0] == 0
    assert planned("--frozen") == {COMMITS[0]}, "a lock keeps its commits"
    assert finetune("lock", recipe, "--check", "--offline")[0] == 0
    code, out, err = finetune("lock", recipe, "--update", "--offline")
    assert code == 0 and f"model.commit: {COMMITS[0]} → {COMMITS[1]}" in out, out + err
    assert planned("--frozen") == {COMMITS[1]}


def test_a_revision_of_the_recipe_and_its_commit_belong_together(
    downloaded: Path, write_recipe: Any, finetune: Any
) -> None:
    recipe = write_recipe(base_model="org/tiny", revision_of_model=COMMITS[1])
    assert finetune("lock", recipe)[0] == 0
    assert yaml.safe_load(recipe.with_suffix(".lock").read_text())["inputs"]["model"]["commit"] == COMMITS[1]
    swap(recipe, COMMITS[1], COMMITS[0])
    code, _, err = finetune("plan", recipe, "--frozen")
    assert code == 10 and f'revision_of_model: "{COMMITS[1]}" → "{COMMITS[0]}"' in err
    assert err.count("[FT041]") == 1, err
    code, _, err = finetune("lock", write_recipe(base_model="org/gone"))
    assert code == 5 and "hf download org/gone" in err and "commit" in err


def test_a_digest_that_is_kept_is_taken_anew_when_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_digests, "LARGE", 10)
    monkeypatch.setattr(kept_digests, "SETTLED_S", -1.0)
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"a" * 64)
    first, times = digests.of_file(str(file)), file.stat()
    kept = list((tmp_path / "cache" / "digests").iterdir())
    assert first == f"sha256:{hashlib.sha256(b'a' * 64).hexdigest()}" and len(kept) == 1
    kept[0].write_text("0" * 64)
    assert digests.of_file(str(file)).endswith("0" * 64), "it was read once"
    time.sleep(0.02)  # the clock of a file system ticks slowly
    file.write_bytes(b"b" * 64)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert digests.of_file(str(file)) == f"sha256:{hashlib.sha256(b'b' * 64).hexdigest()}", "as long, and as old"


def test_many_files_are_told_by_one_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "LISTED", 3)
    for number in range(5):
        (tmp_path / f"{number}.jsonl").write_text(str(number))
    names = digests.named_alike(str(path) for path in tmp_path.iterdir())
    found = digests.listed(names)
    assert found["count"] == 5 and len(found["sha256"]) == 64
    (tmp_path / "3.jsonl").write_text("x")
    assert digests.listed(names) != found
    (tmp_path / "README.md").write_text("x")
    assert "README.md" not in digests.model_files(str(tmp_path)), "what no library reads does not count"


def test_a_hub_that_cannot_be_reached_leaves_what_was_downloaded(
    downloaded: Path, write_recipe: Any, finetune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    from finetune.locking.commits import Repository, commit_of

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert commit_of(Repository("model", "org/tiny", None, "model")) == COMMITS[0]
    code, _, err = finetune("lock", write_recipe(base_model="org/gone"))
    assert code == 5 and "the hub cannot be asked" in err and "hf download org/gone" in err
    code, _, err = finetune("lock", write_recipe(base_model="no/such/folder"))
    assert code == 5 and "no local file or folder" in err


@pytest.mark.slow
def test_every_shipped_recipe_that_runs_offline_can_be_locked(
    finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where nothing was trained yet
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    for recipe in sorted((tmp_path / "recipes").glob("quickstart*.yaml")):
        code, _, err = finetune("lock", recipe)
        if recipe.name == "quickstart_rloo.yaml":
            assert code == 5 and "outputs/quickstart/adapter" in err, "its adapter is trained by another recipe"
            continue
        assert code == 0, (recipe.name, err)
        assert finetune("lock", recipe, "--check")[0] == 0, recipe.name
