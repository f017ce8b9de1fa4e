"""The notebook for free GPUs: a valid file whose commands parse, whose recipe fits a T4 and whose cells run."""

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from finetune.commands import COMMANDS
from tests.conftest import ROOT

NOTEBOOK = ROOT / "notebooks" / "finetune_colab.ipynb"
PROGRAM = "!python -m finetune "


@pytest.fixture(scope="module")
def cells() -> list[Any]:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def commands(cells: list[Any]) -> Iterator[list[str]]:
    """What each line that starts the program gives it, up to a pipe."""
    for cell in cells:
        for line in cell.source.splitlines():
            if line.startswith(PROGRAM):
                yield shlex.split(line.removeprefix(PROGRAM).split(" | ")[0])


def recipe_of(cells: list[Any]) -> tuple[str, str]:
    """The recipe that a cell writes: its name and its text."""
    (source,) = (cell.source for cell in cells if cell.source.startswith("%%writefile"))
    first, text = source.split("\n", 1)
    return first.split()[1], text + "\n"


def test_nothing_of_a_run_is_kept_in_it(cells: list[Any]) -> None:
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
    text = NOTEBOOK.read_text()
    assert "hf_" not in text and "/root" not in text and "constraints.txt" in text


def test_its_recipe_passes_and_fits_a_t4_without_a_word(
    cells: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finetune: Callable[..., tuple[int, str, str]]
) -> None:
    name, text = recipe_of(cells)
    (tmp_path / name).write_text(text)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    for arguments in (("validate", name, "--strict"), ("plan", name, "--gpu", "T4"), ("plan", name, "--gpu", "15GB")):
        code, out, err = finetune(*arguments)
        assert (code, err) == (0, "")
    assert "fits GPU of 15 GB" in out and "backend: unsloth" in out and "float16" in out


def test_every_line_that_starts_the_program_is_understood(cells: list[Any]) -> None:
    named = set()
    for name, *options in commands(cells):
        named.add(name)
        parser = argparse.ArgumentParser()
        COMMANDS["train" if name.endswith(".yaml") else name].arguments(parser)
        parser.parse_args([name, *options] if name.endswith(".yaml") else options)
    assert {"doctor", "validate", "plan", "preview", "chat", "evaluate", "export", recipe_of(cells)[0]} <= named


@pytest.mark.slow
def test_its_cells_run_with_a_tiny_model(cells: list[Any], tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    """On this machine: the tiny model in 16 bits, for a few steps; everything else as the cells have it."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    name, text = recipe_of(cells)
    model = str(tiny_models["chatml"])
    for old, new in (("base_model: .*", f"base_model: {model}"), ("load_in_4bit: .*", "max_steps: 4")):
        text = re.sub(old, new, text)
    text = text.replace("adapter: qlora", "adapter: lora").replace("adamw_8bit", "adamw_torch")
    program = tmp_path / "bin" / "python"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "FINETUNE_CACHE": str(tmp_path / "cache")}
    environment["PATH"] = f"{program.parent}{os.pathsep}{environment['PATH']}"
    for cell in cells:
        if "install" in cell.metadata.get("tags", []):
            continue
        if cell.source.startswith("%%writefile"):
            (tmp_path / name).write_text(text)
            continue
        lines = cell.source.splitlines()
        assert all(line.startswith("!") for line in lines)
        script = "set -e\n" + "\n".join(line[1:] for line in lines)
        script = script.replace(" --strict", "")  # four steps of a run are fewer than its warm-up
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{cell.source}\n{done.stdout}{done.stderr}"
    assert list((tmp_path / "outputs" / "colab" / "gguf").glob("*.gguf"))
