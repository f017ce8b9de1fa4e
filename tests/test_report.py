"""What a run left behind, as a page, beside others and in a table: of finished runs, and of all others."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from finetune.report import looking
from finetune.report.comparison import comparison
from finetune.report.curves import Line, Scale, chart, thinned
from finetune.report.page import page
from finetune.report.reading import Run, runs_in
from finetune.report.writing import keep_rows, write_page
from finetune.rundir import RunDir


class Balanced(HTMLParser):
    """Every tag that is opened is closed, in its order."""

    ALONE = ("meta", "link", "br", "rect", "line", "circle", "polyline")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in self.ALONE:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.ALONE:
            assert self.open.pop() == tag


def whole(text: str) -> str:
    """The page, if it is one, and loads nothing."""
    reader = Balanced()
    reader.feed(text)
    assert reader.open == [] and text.startswith("<!doctype html>")
    assert not re.search(r"(src|href)=\"(?!#|data:,)|url\(|@import|<script", text)
    return text


@pytest.fixture
def copied(trained_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained_run, tmp_path / "run"))


def test_every_run_writes_its_page(trained_run: Path) -> None:
    text = whole((trained_run / "report.html").read_text())
    for part in ("Curves", "Answers before and after", "Data", "Recipe", "Plan", "Machine and versions"):
        assert f">{part}</h2>" in text
    for drawn in (
        ">Loss",
        ">Learning rate",
        ">Throughput",
        "validation perplexity",
        "finished",
        "prefers-color-scheme",
    ):
        assert drawn in text
    assert "the sea is &lt;b&gt;calm&lt;/b&gt;" in text and "<b>calm" not in text
    assert 'class="t l s e"' in text and "&lt;|im_end|&gt;" in text  # the token that ends what is learned


def test_a_failed_and_a_killed_run_say_why(copied: Path) -> None:
    marker = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps(marker | {"status": "failed", "why": "loss is <nan> at step 3"}))
    write_page(copied)
    text = whole((copied / "report.html").read_text())
    assert 'class="why">loss is &lt;nan&gt; at step 3' in text and "lines of run.log" in text and ">failed<" in text
    (copied / "run.json").write_text(json.dumps(marker | {"status": "training", "birth": "another"}))
    assert "The process that trained is gone" in page(Run(copied))


def test_no_fault_of_the_page_is_one_of_the_run(copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    def broken(*given: Any) -> Any:
        raise RuntimeError("a fault of the page")

    before = (copied / "report.html").read_text()
    monkeypatch.setattr("finetune.report.page.page", broken)
    monkeypatch.setattr("finetune.report.writing.looked_at", broken)
    write_page(copied)
    keep_rows(RunDir(copied), None, None)
    assert (copied / "report.html").read_text() == before and caplog.text.count("RuntimeError: a fault") == 2


FILES = ("run.json", "metrics.jsonl", "data.json", "plan.json", "data_rows.json", "answers.json")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_damaged_is_named_and_the_rest_is_shown(name: str, copied: Path) -> None:
    text = (copied / name).read_text()
    (copied / name).write_text(text[: len(text) // 2])
    run = Run(copied)
    shown = whole(page(run))
    assert list(run.damaged) == [name] and "Files that could not be read" in shown and name in shown


@pytest.mark.parametrize("content", ["[]", '{"stages": 3}', '{"train": {"rows": [{}], "sources": {"a": 3}}}', "{}"])
def test_a_file_of_something_else_ends_no_page(content: str, copied: Path) -> None:
    for name in (*FILES[2:], "machine.json", "scores.json", "origin.json"):
        (copied / name).write_text(content)
    (copied / "evaluations").mkdir(exist_ok=True)
    (copied / "evaluations" / "x.json").write_text(content)
    whole(page(Run(copied)))


def test_a_run_that_blew_up_at_once_has_its_page_and_a_place_beside_others(copied: Path) -> None:
    lines = [{"step": step, "loss": value, "learning_rate": 1e-4} for step, value in ((1, "NaN"), (2, "1e400"))]
    (copied / "metrics.jsonl").write_text(
        "".join(re.sub('"(NaN|1e400)"', r"\1", json.dumps(line)) + "\n" for line in lines)
    )
    shown = whole(page(Run(copied)))
    assert "Learning rate" in shown and "cannot be shown" not in shown
    assert "Learning rate" in whole(comparison([Run(copied), Run(copied)]))


def test_no_file_of_a_run_brings_its_own_html_to_the_page(copied: Path) -> None:
    """A run's folder may come from anybody."""
    evil = '"><img alt=x>'
    row = {"source": evil, "number": 1, "tokens": 1, "learned": 1, "pieces": [[evil, [5], "l"]]}
    bar = {"low": 0, "high": 2, "rows": 1}
    broken = [row, row | {"number": evil}, row | {"pieces": [["a", [evil], "l"]]}]
    for purpose in (
        *({"rows": [one], "lengths": [bar]} for one in broken),
        {"rows": [row], "lengths": [bar | {"low": evil}]},
    ):
        (copied / "data_rows.json").write_text(json.dumps({"train": purpose | {"longest": 1}}))
        assert "<img" not in whole(page(Run(copied))), purpose


def test_runs_are_compared_by_what_differs(trained_run: Path, copied: Path, finetune: Any, tmp_path: Path) -> None:
    origin = json.loads((copied / "origin.json").read_text())
    origin["keys"]["learning_rate"] = 0.5
    origin["keys"]["datasets"][0]["weight"] = 2.0
    (copied / "origin.json").write_text(json.dumps(origin))
    code, _, err = finetune("report", trained_run, copied, "--output", tmp_path / "both.html")
    assert code == 0, err
    text = whole((tmp_path / "both.html").read_text())
    keys = text.split(">What their recipes differ in</h2>")[1].split("<h2")[0]
    assert re.findall(r"<tr><td class=\"\"><code>([\w.]+)", keys) == ["datasets.0.weight", "learning_rate"]
    assert text.count('class="key r0"') >= 3 and text.count('class="key r1"') >= 3
    assert finetune("report", tmp_path)[0] == 7


def test_the_table_of_runs_takes_folders_in_any_state(copied: Path, finetune: Any, tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    marker = json.loads((copied / "run.json").read_text())
    states = {
        "alive": json.dumps(marker | {"status": "training"}),
        "dead": json.dumps(marker | {"status": "training", "process": gone.pid}),
        "half": json.dumps(marker)[:30],
        "empty": "",
    }
    for name, text in states.items():
        folder = tmp_path / "more" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(text)
        (folder / "plan.json").write_text("{")
        (folder / "metrics.jsonl").write_text('{"step": 3, "loss": 1.5, "seconds": 2}\n{"step": 4, "lo')
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "run.json").write_text('{"status": "ok", "scripts": []}')
    (tmp_path / "loop").symlink_to(tmp_path)
    code, out, err = finetune("runs", tmp_path, "--format", "json")
    assert code == 0, err
    found = {row["run"]: row for row in json.loads(out)}
    assert {name: row["status"] for name, row in found.items()} == {
        "run": "finished",
        "more/alive": "training",
        "more/dead": "killed",
        "more/half": "damaged",
        "more/empty": "damaged",
    }
    assert found["run"]["steps"] == 6 and found["run"]["recipe"] == "recipe.yaml" and found["run"]["bytes"] > 10_000
    assert found["more/alive"]["loss"] == 1.5 and "metrics.jsonl" in found["more/alive"]["damaged"]
    code, out, _ = finetune("runs", tmp_path)
    assert code == 0 and "more/dead" in out and "killed" in out
    assert [run.name for run in runs_in(copied)] == ["run"]
    assert finetune("runs", tmp_path / "nowhere")[0] == 2


def test_a_chart_keeps_its_ends_and_says_its_values() -> None:
    many = [(float(step), 1.0 / step) for step in range(1, 5000)]
    assert len(thinned(many)) <= 240 and thinned(many)[-1][0] == 4999
    drawn = chart("Loss", [Line("training", [*many, (5000.0, float("nan"))], "train")], wide=True)
    assert "log scale" in drawn and "step 4999" in drawn and "nan" not in drawn
    assert chart("Loss", [Line("training", [], "train")]) == ""
    assert "circle" in chart("Loss", [Line("training", [(1.0, 2.0)], "train")])
    for values in ([0.0, 1.0], [-3.0, 1e6], [5.0, 5.0], [1e-9, 3e-9]):
        ticks = Scale(values, 0, 100).ticks()
        assert 2 <= len(ticks) <= 9


def test_of_large_data_only_what_is_shown_is_read(trained_run: Path) -> None:
    rows = json.loads((trained_run / "data_rows.json").read_text())
    assert set(rows) == {"train", "validation"} and len(rows["train"]["rows"]) == looking.ROWS
    assert (
        sum(bar["rows"] for bar in rows["train"]["lengths"])
        == json.loads((trained_run / "data.json").read_text())["train"]["kept"]
    )
