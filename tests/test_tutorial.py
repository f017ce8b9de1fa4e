"""The tutorial is true: its blocks are run one by one in a fresh folder, and print what stands below them."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "tutorial.md"
FENCED = re.compile(
    r"(?P<skip><!-- not run: [^>]+ -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
BEFORE_TRAINING = "## Prove it"
FIGURE = re.compile(r"\d[\d,]*(\.\d+)?(e[+-]?\d+)?")


@dataclass
class Block:
    """A command of the page and what the page says it prints."""

    line: int
    command: str
    shown: str = ""


def blocks(text: str) -> Iterator[Block]:
    """The blocks that are run, in order."""
    found: list[Block] = []
    for fenced in FENCED.finditer(text):
        if fenced["kind"] == "bash" and not fenced["skip"]:
            found.append(Block(text[: fenced.start()].count("\n") + 1, fenced["text"]))
        elif fenced["kind"] == "text":
            assert found and not found[-1].shown, "an output without its command"
            found[-1].shown = fenced["text"]
    return iter(found)


def loosened(line: str) -> str:
    """A line without what differs between machines: figures, spaces, the lines of tables, colours."""
    line = re.sub(r"\x1b\[[0-9;]*m", "", line)
    return FIGURE.sub("0", " ".join(re.sub(r"[┃│┌┐└┘├┤─━]", " ", line).split()))


def missing(shown: str, printed: str) -> str | None:
    """The first line that is shown and was not printed, in order; `…` stands for any lines."""
    lines = iter([loosened(line) for line in printed.splitlines()])
    for line in shown.splitlines():
        wanted = loosened(line)
        if wanted not in ("…", "") and not any(have.startswith(wanted) for have in lines):
            return line
    return None


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what a clone has that the page uses, and nothing else."""
    for name in ("recipes", "docs", "schemas", "constraints.txt"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def test_what_the_tutorial_says_before_training_is_so(
    fresh: Path, finetune: Callable[..., tuple[int, str, str]]
) -> None:
    """The commands of the program run in this process, for speed; the others by the shell."""
    run = 0
    page = PAGE.read_text().split(BEFORE_TRAINING)[0]
    for block in blocks(page):
        if "quickstart.yaml" in block.command:
            continue
        printed = ""
        for line in block.command.splitlines():
            command, _, rest = line.partition(" | ") if " | " in line else line.partition(" || ")
            if not command.startswith("finetune "):
                printed += subprocess.run(line, shell=True, capture_output=True, text=True, check=True).stdout
                continue
            code, out, err = finetune(*shlex.split(command)[1:])
            assert code == 0 or rest.startswith("echo"), err
            printed += f"{out}{err}exit code {code}\n"
            run += 1
        line = missing(block.shown, printed)
        assert line is None, f"{PAGE.name}:{block.line}: {line!r} not in\n{printed}"
    assert run >= 5


def test_a_line_that_is_not_printed_is_found() -> None:
    assert missing("loss 3.1\n…\nend", "a\n│ loss │ 0.25\nb\nend of it") is None
    assert missing("end\nloss", "loss\nend") == "loss"
    assert missing("valid", "invalid") == "valid" and missing("3 of 3 x", "2 of 7") == "3 of 3 x"


@pytest.mark.slow
def test_the_whole_tutorial_runs_as_it_stands(fresh: Path) -> None:
    program = fresh / "bin" / "finetune"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m finetune "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "FINETUNE_CACHE": str(fresh / "cache")}
    for block in blocks(PAGE.read_text()):
        done = subprocess.run(
            ["bash", "-euc", block.command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{PAGE.name}:{block.line}:\n{done.stdout}"
        line = missing(block.shown, done.stdout)
        assert line is None, f"{PAGE.name}:{block.line}: {line!r} not in\n{done.stdout}"
