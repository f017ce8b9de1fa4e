"""`finetune new`: every recipe that it writes stands, explains itself and trains; and what it says where it cannot."""

import csv
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.commands import new
from finetune.commands.new import gigabytes
from finetune.data.files import DataFile, raw_rows
from finetune.errors import FinetuneError, UsageError
from finetune.formats import FORMATS
from finetune.formats.meaning import Fields
from finetune.recipe.source import read_file
from finetune.starting.choices import SHARE, choose, needed
from finetune.starting.data import Data, look_at_data
from finetune.starting.model import Model, billions_in, look_at_model
from finetune.starting.text import scalar
from tests.conftest import ROOT

GPUS = ("none", "8", "16", "24", "80")
HUB_MODELS = ("Qwen/Qwen1.5-1.8B-Chat", "unsloth/Meta-Llama-3.1-8B-Instruct")
ALPACA = [{"instruction": f"Say {number}", "input": "", "output": str(number)} for number in range(40)]


def write_data(folder: Path, kind: str) -> str:
    """A data file of a kind, or the hub id that it stands for."""
    talk = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "good day"}]
    rows: dict[str, list[dict[str, Any]]] = {
        "sharegpt.jsonl": [{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}] * 300,
        "messages.jsonl": [{"messages": talk, "id": number} for number in range(30)],
        "alpaca.json": ALPACA,
        "alpaca.csv": ALPACA,
        "text.jsonl": [{"text": f"Chapter {number}."} for number in range(30)],
        "unknown.jsonl": [{"question of\nthe day": "x # y", "reply": "z"}] * 5,
    }
    if kind == "hub":
        return "mlabonne/FineTome-100k"
    path = folder / kind
    if kind.endswith(".csv"):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[kind][0])
            writer.writeheader()
            writer.writerows(rows[kind])
    elif kind.endswith(".json"):
        path.write_text(json.dumps(rows[kind]))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows[kind]))
    return str(path)


DATA_KINDS = ("sharegpt.jsonl", "messages.jsonl", "alpaca.json", "alpaca.csv", "hub", "text.jsonl", "unknown.jsonl")


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
@pytest.mark.parametrize("model", ["tiny", *HUB_MODELS])
def test_every_recipe_it_writes_validates_without_a_word_and_plans(
    model: str, method: str, tmp_path: Path, tiny_models: dict[str, Path], finetune: Callable[..., tuple[int, str, str]]
) -> None:
    name = str(tiny_models["chatml"]) if model == "tiny" else model
    recipe = tmp_path / "recipe.yaml"
    for kind in DATA_KINDS:
        data = write_data(tmp_path, kind)
        for gpu in GPUS:
            options = ("--model", name, "--data", data, "--method", method, "--gpu", gpu, "--force")
            code, out, err = finetune("new", recipe, *options)
            assert code == 0 and "taken" not in out, err
            assert ("not fit" in err) == ("not fit" in recipe.read_text())
            # `new` says on the way what validate would; once a kind, validate itself is asked.
            assert all("TO DO" in recipe.read_text() or "not fit" in line for line in err.splitlines())
            if gpu == "16":
                assert finetune("validate", "--strict", recipe) == (0, f"{recipe}: valid\n", "")
            assert finetune("plan", recipe, *(() if gpu == "none" else ("--gpu", gpu)))[0] == 0
            assert all(len(line) <= 120 or str(tmp_path) in line for line in recipe.read_text().splitlines())
            values = read_file(recipe).data
            wanted = {"lora": ("lora", 2e-4), "qlora": ("qlora", 2e-4), "full": (None, 1e-5)}[method]
            assert (values.get("adapter"), values["learning_rate"]) == wanted
            assert {"seed", "output_dir", "val_set_size", "warmup_ratio", "lr_scheduler", "save_steps"} <= set(values)
            rows = values["micro_batch_size"] * values["gradient_accumulation_steps"]
            assert rows in (8, 16) if kind in ("hub", "sharegpt.jsonl") else rows <= 4


def test_the_recipe_trains(
    tmp_path: Path, tiny_models: dict[str, Path], sharegpt: Path, finetune: Callable[..., tuple[int, str, str]]
) -> None:
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    assert finetune("new", recipe, "--model", tiny_models["chatml"], "--data", sharegpt, "--gpu", "none")[0] == 0
    code, _, err = finetune(recipe, "max_steps=2", f"output_dir={run}", "generation_max_new_tokens=4")
    assert code == 0, err
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert (run / "adapter").is_dir()


@pytest.fixture
def written(tmp_path: Path, finetune: Callable[..., tuple[int, str, str]]) -> Callable[..., dict[str, Any]]:
    """The dataset entry that is written for rows."""

    def write(*rows: Any) -> dict[str, Any]:
        (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        recipe = tmp_path / "r.yaml"
        assert finetune("new", recipe, "--model", "a/b-1B", "--data", tmp_path / "d.jsonl", "--force")[0] == 0
        entry: dict[str, Any] = read_file(recipe).data["datasets"][0]
        return entry | {"text": recipe.read_text()}

    return write


def test_columns_and_roles_of_its_own_are_mapped(written: Callable[..., dict[str, Any]]) -> None:
    turns = [{"speaker": "customer", "text": "hi"}, {"speaker": "support", "text": "hello"}]
    entry = written({"id": 1, "the talk": turns})
    assert (entry["type"], entry["field_messages"]) == ("chat_template", "the talk")
    assert entry["message_property_mappings"] == {"role": "speaker", "content": "text"}
    assert entry["roles"] == {"user": ["customer"], "assistant": ["support"]}
    assert "TO DO" not in entry["text"]


def test_what_training_would_refuse_is_said_in_the_recipe(written: Callable[..., dict[str, Any]]) -> None:
    good = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    odd = {"messages": [{"role": "narrator", "content": "c"}]}
    text = written(good, odd, odd)["text"]
    assert "TO DO: Row 2 would be refused" in text and "'narrator' is not known" in text and "1 more" in text
    text = written({"ask": "a", "tell": "b", "score": 3})["text"]
    assert "its rows have `ask`, `tell`, `score`" in text and "TO DO" in text and "field_prompt" in text
    text = written({"messages": [{"who": "me", "words": ["b"]}]})["text"]
    assert "type" in text and "TO DO" in text


def test_long_rows_are_cut_and_said(written: Callable[..., dict[str, Any]]) -> None:
    text = written({"instruction": "a" * 20_000, "output": "b"})["text"]
    assert "excess_length_strategy: truncate" in text and "about 5,0" in text


TABLES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "a comma": (",", ("question", "answer"), "question_answer"),
    "capitals": (",", ("Question", "Answer"), "Question Answer"),
    "a German spreadsheet": (";", ("Frage", "Antwort"), "Frage Antwort"),
    "tabs": ("\t", ("Anfrage (Kunde)", "Rückmeldung"), "Anfrage (Kunde)|Rückmeldung"),
    "Alpaca's": (",", ("instruction", "output"), "alpaca"),
    "no space between": (",", ("prompt", "completion"), "prompt completion"),
    "a prompt and a response": ("|", ("prompt", "response"), "prompt response"),
    "unlike any": (",", ("left", "right"), "left right"),
    "input and output": (";", ("input", "output"), "input output"),
    "others beside": (",", ("id", "user_message", "bot_reply", "date"), "user_message bot_reply"),
    "a system message": (",", ("system", "user", "assistant"), "user assistant"),
    "plain text": (",", ("Text",), "Text"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_with_any_usual_names_becomes_a_recipe_that_reads_it(
    name: str, tmp_path: Path, tiny_models: dict[str, Path], finetune: Callable[..., tuple[int, str, str]]
) -> None:
    """With a mark of byte order, quoted line ends and delimiters in cells, as a spreadsheet writes them."""
    delimiter, names, expected = TABLES[name]
    table, recipe = tmp_path / "table.csv", tmp_path / "r.yaml"
    with table.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(names)
        for row in range(30):
            writer.writerow([f'{column} "{row}",\nof; many' for column in names])
    code, _, err = finetune("new", recipe, "--model", tiny_models["chatml"], "--data", table, "--gpu", "none")
    entry = read_file(recipe).data["datasets"][0]
    assert code == 0 and not err and "TO DO" not in recipe.read_text()
    columns = [entry[key] for key in ("field_prompt", "field_completion", "field") if key in entry]
    assert entry["type"] == expected or columns == expected.split("|" if "|" in expected else " ")
    fields = Fields(text=entry.get("field"), columns=dict(zip(("prompt", "completion"), columns, strict=False)))
    rows = [row for _, row in raw_rows(DataFile(str(table), "csv", None, "line"))]
    assert [FORMATS[entry["type"]].read(row, fields) for row in rows] and len(rows) == 30
    assert finetune("validate", "--strict", recipe)[0] == 0


def test_what_the_columns_of_a_table_leave_open_is_said(written: Callable[..., dict[str, Any]]) -> None:
    text = written({"left": "a", "right": "b"})["text"]
    assert "`left` asks and `right` answers" in text and "Swap the names" in text
    text = written({"Question": "a", "Context": "b", "Answer": "c", "date": "d"})["text"]
    text = " ".join(text.replace("\n# ", " ").split())
    assert "Not read: `Context`, `date`" in text and "Rename `Context` to context" in text
    text = written({"How are you?": "And you?", "Well.": "So so."})["text"]
    assert "TO DO: The first line reads like a row" in text


def test_paths_are_written_as_they_are_found_from_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finetune: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "my data: 2.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    assert finetune("new", "recipes/a.yml", "--model", "a/b-1B", "--data", "my data: 2.jsonl")[0] == 0
    assert read_file(Path("recipes/a.yml")).data["datasets"][0]["path"] == "../my data: 2.jsonl"
    monkeypatch.chdir("/")
    assert finetune("validate", "--strict", tmp_path / "recipes" / "a.yml")[0] == 0


def test_without_a_terminal_defaults_are_taken_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finetune: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = finetune("new")
    assert code == 0 and Path("recipe.yaml").is_file()
    for option in (f"--model {new.MODEL}", f"--data {new.DATA}", "--gpu ", "--method "):
        assert f"taken, since it was not named: {option}" in out
    Path("talks.csv").write_text("instruction,output\na,b\n")
    assert "--data talks.csv" in finetune("new", "b.yaml")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["there.yaml"], 2, "replace it with --force"),
        (["gone/r.yaml"], 2, "there is no folder gone"),
        (["folder.yaml"], 2, "is a folder"),
        (["/proc/r.yaml"], 2, "cannot be written"),
        (["r.txt"], 2, "ends in .yaml"),
        (["x" * 300 + ".yaml"], 2, "cannot be written"),
        (["r.yaml", "--gpu", "big"], 2, "write the size in GB"),
        (["r.yaml", "--gpu", "-3"], 2, "no GPU has that size"),
        (["r.yaml", "--model", "./gone"], 5, "there is no folder ./gone"),
        (["r.yaml", "--model", "a b"], 2, "neither a folder nor a hub id"),
        (["r.yaml", "--model", ""], 2, "neither a folder nor a hub id"),
        (["r.yaml", "--model", "folder.yaml"], 5, "no readable config.json"),
        (["r.yaml", "--data", "gone.jsonl"], 4, "there is no data file gone.jsonl"),
        (["r.yaml", "--data", "folder.yaml"], 4, "is a folder"),
        (["r.yaml", "--data", "empty.jsonl"], 4, "holds no rows"),
        (["r.yaml", "--data", "broken.jsonl"], 4, "broken.jsonl:2:"),
        (["r.yaml", "--data", "latin.csv"], 4, "not UTF-8"),
        (["r.yaml", "--data", "there.yaml"], 4, "are not read"),
        (["r.yaml", "--data", "a\0b"], 2, "neither a file nor a hub id"),
    ],
)
def test_mistakes_are_said_and_leave_nothing_behind(
    arguments: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    finetune: Callable[..., tuple[int, str, str]],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.yaml").write_text("mine")
    Path("folder.yaml").mkdir()
    Path("empty.jsonl").write_text("\n")
    Path("broken.jsonl").write_text('{"a": 1}\n{"a": \n')
    Path("latin.csv").write_bytes(b"instruction,output\n\xe9,b\n")
    before = sorted(tmp_path.rglob("*"))
    found, _, err = finetune("new", *arguments)
    assert (found, says in err) == (code, True), err
    assert sorted(tmp_path.rglob("*")) == before and Path("there.yaml").read_text() == "mine"


def test_a_recipe_that_would_not_stand_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finetune: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.setattr("finetune.starting.text.recipe_text", lambda *_: "base_model: m\nlora_rank: 3\n")
    code, _, err = finetune("new", tmp_path / "r.yaml", "--model", "a/b", "--data", "c/d", "--gpu", "8")
    assert code == 2 and "unknown key `lora_rank`" in err and not list(tmp_path.iterdir())


def on_a_terminal(folder: Path, answers: bytes, *options: str) -> tuple[int, str]:
    """Run `finetune new` on a pseudo-terminal and type the answers."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "dumb", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        [sys.executable, "-m", "finetune", "new", *options],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=environment,
        start_new_session=True,
        preexec_fn=_own_terminal,
    )
    os.close(theirs)
    shown, typed, deadline = b"", 0, time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            # A key that falls between the question and the waiting for it may be lost: like a person, press it again.
            if select.select([ours], [], [], 0.5)[0]:
                shown += os.read(ours, 4096)
            elif typed and len(answers) == 1:
                os.write(ours, answers)
            if b"): " in shown and not typed:
                typed = os.write(ours, answers)
    except OSError:
        pass  # the terminal is gone with the process
    try:
        return process.wait(20), shown.decode()
    finally:
        process.kill()  # does nothing to one that has ended
        os.close(ours)


def _own_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_on_a_terminal_it_asks_until_an_answer_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "talks.csv").write_text("instruction,output\na,b\n")
    answers = b"Qwen/Qwen2.5-7B-Instruct\ngone.jsonl\ntalks.csv\n24\nfull\n\n"
    code, shown = on_a_terminal(tmp_path, answers)
    assert code == 0, shown
    assert "there is no data file gone.jsonl" in shown and "This does not fit: full needs about" in shown
    values = read_file(tmp_path / "recipe.yaml").data
    assert (values["base_model"], values["adapter"]) == ("Qwen/Qwen2.5-7B-Instruct", "qlora")
    assert values["datasets"] == [{"path": "talks.csv", "type": "alpaca"}]


def test_ctrl_c_and_the_end_of_input_leave_nothing_behind(tmp_path: Path) -> None:
    for key in (b"\x03", b"\x04"):
        code, shown = on_a_terminal(tmp_path, key, "--gpu", "8")
        assert code == 130 and "nothing was written" in shown and "Traceback" not in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("unsloth/Llama-3.2-3B-Instruct", 3),
        ("unsloth/llama-3-8b-bnb-4bit", 8),
        ("Qwen/Qwen1.5-1.8B-Chat", 1.8),
        ("HuggingFaceTB/SmolLM2-135M", 0.135),
        ("mistralai/Mixtral-8x7B-v0.1", 56),
        ("Qwen/Qwen3-30B-A3B", 30),
        ("unsloth/Phi-3.5-mini-instruct", 3.8),
        ("70b-lovers/some-model", None),
        ("some-4bit", None),
    ],
)
def test_the_size_is_read_from_the_name(name: str, billions: float | None) -> None:
    assert billions_in(name) == billions


def test_a_folder_tells_size_limit_and_template(tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    tiny = look_at_model(str(tiny_models["chatml"]))
    assert (tiny.positions, tiny.template, tiny.size_from) == (1024, "own", "by its config.json")
    llama = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}
    llama |= {"intermediate_size": 14336, "vocab_size": 128256, "tie_word_embeddings": False}
    (tmp_path / "config.json").write_text(json.dumps(llama))
    (tmp_path / "tokenizer_config.json").write_text('{"added_tokens_decoder": {"1": {"content": "<|im_start|>"}}}')
    found = look_at_model(str(tmp_path))
    assert round(found.billions, 1) == 8.0 and (found.template, found.fitting) == ("none", "chatml")
    (tmp_path / "config.json").write_text('{"hidden_size": "x", "vocab_size": []}')
    assert look_at_model(str(tmp_path)).size_from.startswith("assumed")


def test_an_address_of_the_hub_is_its_id() -> None:
    assert look_at_model("https://huggingface.co/Qwen/Qwen2.5-7B/").name == "Qwen/Qwen2.5-7B"
    assert look_at_data("https://huggingface.co/datasets/a/b").path == "a/b"


@pytest.mark.parametrize("size", ["0.1B", "1.8B", "3.8B", "8B", "14B", "70B"])
@pytest.mark.parametrize("gpu", [8, 12, 16, 24, 48, 80])
def test_what_is_chosen_fits_by_the_rule_or_says_that_it_does_not(size: str, gpu: float) -> None:
    model, data = look_at_model(f"some/model-{size}"), Data("a/b")
    for method in (None, "lora", "qlora", "full"):
        chosen = choose(model, data, gpu, method)
        assert chosen.effective_batch in (8, 16) and chosen.sequence_len >= 512
        assert bool(chosen.fault) == (chosen.needs > SHARE * gpu)
        assert chosen.needs == needed(chosen.method, model.billions, chosen.micro_batch, chosen.sequence_len)
    free, full = choose(model, data, gpu), choose(model, data, gpu, "full")
    assert free.method == "qlora" or not free.fault
    assert not full.fault or ("--method qlora" in full.fault) == (not choose(model, data, gpu, "qlora").fault)


def test_weights_published_in_4_bit_are_for_qlora_alone() -> None:
    model = look_at_model("unsloth/llama-3-8b-bnb-4bit")
    assert choose(model, Data("a/b"), 80).method == "qlora"
    assert "only QLoRA trains on" in choose(model, Data("a/b"), 80, "lora").fault


def test_the_top_of_a_large_array_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    path.write_text("\ufeff[" + ",\n".join(json.dumps({"instruction": "x" * 400, "output": "y"}) for _ in range(9000)))
    found = look_at_data(str(path))  # the array is not even closed
    assert found.form == "alpaca" and not found.exact and found.rows == pytest.approx(9000, rel=0.1)


def test_any_text_survives_the_way_into_a_recipe(tmp_path: Path) -> None:
    for text in (
        "a b",
        "no",
        "null",
        "1e3",
        "# x",
        "é: ü",
        "a${b}c\n",
        '"',
        "- x",
        "{a}",
        "~/x",
        "[a, b]",
        "日本.jsonl",
    ):
        (tmp_path / "r.yaml").write_text(f"key: {scalar(text)}\nlist: [{scalar(text)}]\n", "utf-8")
        expected = text.replace("${", "\\${")
        assert read_file(tmp_path / "r.yaml").data == {"key": expected, "list": [expected]}


def test_the_first_line_names_the_schema_where_it_lies(
    tmp_path: Path, finetune: Callable[..., tuple[int, str, str]]
) -> None:
    def first(place: Path) -> str:
        assert finetune("new", place, "--model", "a/b-1B", "--data", "c/d", "--gpu", "8")[0] == 0
        return place.read_text().splitlines()[0]

    if not new.schema_of(tmp_path):
        assert "finetune schema > recipe.schema.json" in first(tmp_path / "a.yaml")
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "recipe.schema.json").write_text("{}")
    (tmp_path / "mine").mkdir()
    assert first(tmp_path / "mine" / "b.yaml") == "# yaml-language-server: $schema=../schemas/recipe.schema.json"


def test_sizes_of_a_gpu() -> None:
    assert [gigabytes(text) for text in ("24", "24GB", "7.5g", "none")] == [24, 24, 7.5, None]
    with pytest.raises(UsageError):
        gigabytes("nan")


def test_it_imports_no_heavy_library(tmp_path: Path) -> None:
    heavy = ("torch", "transformers", "trl", "peft", "datasets", "unsloth", "pyarrow")
    code = (
        "import sys; from finetune.cli import main; code = main(['new', 'r.yaml']); "
        f"print('HEAVY', [name for name in {heavy!r} if name in sys.modules]); sys.exit(code)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0 and "HEAVY []" in done.stdout, done.stderr


def test_faults_of_looking_are_the_programs_own() -> None:
    for name in ("", "  ", "a\nb", "x" * 5000, "../..//nowhere", "~nobody/x", "\ud800"):
        for look in (look_at_model, look_at_data):
            with pytest.raises(FinetuneError):
                look(name)
    assert look_at_model("gpt2") == Model("gpt2", 0.12, "by its name")


def test_a_folder_or_a_pattern_is_told_by_its_first_file(tmp_path: Path) -> None:
    for name, rows in (("a.jsonl", 2), ("b.jsonl", 6)):
        (tmp_path / name).write_text('{"prompt": "q ", "completion": "a"}\n' * rows)
    for path in (str(tmp_path), str(tmp_path / "*.jsonl")):
        found = look_at_data(path)
        assert (found.path, found.form, found.rows, found.exact) == (path, "prompt_completion", 8, False)
