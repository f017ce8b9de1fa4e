"""People see before the run what it will train on, and CI sees when that changes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest


def parquet_rows(path: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet

    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def test_the_preview_shows_rows_figures_and_where_generation_stops(write_recipe: Any, finetune: Any) -> None:
    code, out, err = finetune("preview", write_recipe(val_set_size=0.2), "--rows", "1")
    assert code == 0, err
    assert "<|im_end|>◀" in out and "training: " in out and "validation: " in out
    assert "generation stops at: " in out and "'<|im_end|>'" in out
    assert "learned stretches end with" in out


def test_the_page_is_written_whole_or_not_at_all(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    code, out, err = finetune("preview", write_recipe(), "--html", tmp_path / "p.html")
    assert code == 0 and "wrote" in err and out == ""
    assert (tmp_path / "p.html").read_text().startswith("<!doctype html>")
    code, _, err = finetune("preview", write_recipe(), "--html", tmp_path / "gone" / "p.html")
    assert code == 2 and "cannot be written" in err


def test_validate_notices_when_what_is_trained_is_no_longer_what_was_reviewed(
    write_recipe: Any, finetune: Any, tmp_path: Path, sharegpt: Path
) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(sharegpt.read_text())
    recipe = write_recipe(datasets=[{"path": str(data), "type": "chat_template"}])
    code, _, err = finetune("validate", "--snapshot", recipe)
    assert code == 3 and "preview" in err
    assert finetune("preview", recipe, "--snapshot", "--rows", "2")[0] == 0
    assert finetune("validate", "--snapshot", recipe)[0] == 0
    kept = recipe.with_suffix(".snapshot").read_text()
    assert kept.count("### ") == 2
    data.write_text(sharegpt.read_text().replace("warm", "cold"))
    code, _, err = finetune("validate", "--snapshot", recipe)
    assert code == 3 and "[FT009]" in err and "cold" in err
    data.write_text(sharegpt.read_text())
    changed = write_recipe(datasets=[{"path": str(data), "type": "chat_template"}], train_on_inputs=True)
    assert changed == recipe
    code, _, err = finetune("validate", "--snapshot", recipe)
    assert code == 3 and "[FT009]" in err


def test_a_form_that_was_detected_is_named_with_the_reason(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"question": "q", "answer": "a"}\n' * 3)
    _, out, _ = finetune("preview", write_recipe(datasets=[{"path": str(data)}]))
    assert "`type: question_answer`, detected: the rows have `question`, `answer`" in out
    _, out, _ = finetune("preview", write_recipe(datasets=[{"path": str(data), "type": "alpaca_chat.load_qa"}]))
    assert "form of" not in out


def test_another_template_or_tokenizer_is_noticed_where_no_row_changes(
    write_recipe: Any, finetune: Any, tmp_path: Path, sharegpt: Path, tiny_models: dict[str, Path]
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_models["chatml"], base)
    data = {"base_model": str(base), "datasets": [{"path": str(sharegpt), "type": "chat_template"}]}
    recipe = write_recipe(**data)
    assert finetune("preview", recipe, "--snapshot")[0] == 0
    template, config = base / "chat_template.jinja", base / "tokenizer_config.json"
    for file, old, new in (
        (template, "{% for", "{# the same #}{% for"),
        (config, '"eos_token": "<|endoftext|>"', '"eos_token": "<pad>"'),
    ):
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        code, _, err = finetune("validate", "--snapshot", recipe)
        assert code == 3 and "[FT009]" in err, file.name
        file.write_text(text)
    assert finetune("validate", "--snapshot", recipe)[0] == 0


def test_preprocess_writes_what_the_trainer_gets_with_its_origin(
    write_recipe: Any, finetune: Any, tmp_path: Path, sharegpt: Path
) -> None:
    code, out, err = finetune("preprocess", write_recipe(val_set_size=0.25), "--output", tmp_path / "p")
    assert code == 0, err
    train, validation = (parquet_rows(tmp_path / "p" / f"{name}.parquet") for name in ("train", "validation"))
    numbers = [row["row"] for row in train + validation]
    assert sorted(numbers) == list(range(1, 1 + len(sharegpt.read_text().splitlines())))
    assert {row["source"] for row in train} == {str(sharegpt)}
    assert f"{len(train)} of {len(train)}" in out and f"{len(validation)} of {len(validation)}" in out
    for row in train + validation:
        assert len(row["input_ids"]) == len(row["labels"])
        assert any(label != -100 for label in row["labels"])
        assert all(label in (-100, token) for label, token in zip(row["labels"], row["input_ids"], strict=True))


def test_preprocess_leaves_nothing_of_an_older_run_and_nothing_where_data_is_bad(
    write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    assert finetune("preprocess", write_recipe(val_set_size=0.25), "--output", tmp_path / "p")[0] == 0
    assert finetune("preprocess", write_recipe(), "--output", tmp_path / "p")[0] == 0
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["train.parquet"]
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"conversations": []}) + "\n")
    recipe = write_recipe(datasets=[{"path": str(bad)}])
    code, _, err = finetune("preprocess", recipe, "--output", tmp_path / "q")
    assert code == 4 and "bad.jsonl" in err
    assert not (tmp_path / "q").exists()


@pytest.mark.parametrize("command", ["preview", "preprocess"])
def test_the_recipe_is_checked_first(command: str, write_recipe: Any, finetune: Any) -> None:
    code, _, err = finetune(command, write_recipe(), "lora_rank=8")
    assert code == 3 and "lora_r" in err
