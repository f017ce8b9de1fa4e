"""The shipped recipes: headers that say what the plan says, data as the hub has it, and a way through `prove`."""

import re
from pathlib import Path
from typing import Any

import pytest

from finetune.commands.checking import resolved
from finetune.data.bad_rows import BadOne
from finetune.data.sources import Reading, meanings
from finetune.formats.meaning import Fields
from finetune.gallery import LABELS, TFLOPS, figures_of, header_of, machine_of, with_figures
from finetune.gallery_page import gallery_page
from finetune.machine import Machine
from finetune.memory.gpus import machine_with
from finetune.recipe.load import load_recipe
from finetune.recipe.shipped import purpose
from finetune.resolve import resolve
from tests.conftest import RECIPES, ROOT, in_turn
from tests.gallery_rows import ROWS

FOLDER = ROOT / "recipes"
WITH_GPU = [path for path in RECIPES if not path.stem.startswith("quickstart")]


def test_every_recipe_is_valid_without_a_warning(finetune: Any) -> None:
    code, out, err = finetune("validate", "--strict", FOLDER)
    assert code == 0 and f"{len(RECIPES)} of {len(RECIPES)} recipes are valid" in out, err
    assert "warning" not in err


def test_every_recipe_is_planned_with_a_gpu_and_without() -> None:
    for path in RECIPES:
        checked = load_recipe(path)
        for machine in (machine_with("80"), Machine()):
            assert resolved(checked, machine).stage("train"), path.name


def test_every_recipe_begins_with_what_it_is_and_what_it_takes() -> None:
    for path in RECIPES:
        header = header_of(path.read_text(), path.name)
        assert f"recipes/{path.name}" in header.command, path.name
        assert f"output_dir: outputs/{path.stem}" in path.read_text(), path.name
        assert ("GiB" in header.gpu) == (path in WITH_GPU), path.name
        hub = [entry.path for entry in load_recipe(path).recipe.datasets if not Path(entry.path).exists()]
        assert all(name in header.data for name in hub), path.name
        assert path not in WITH_GPU or load_recipe(path).recipe.base_model in header.model, path.name


def test_the_list_of_recipes_says_what_each_is_in_a_sentence() -> None:
    for path in RECIPES:
        said = purpose(path)
        assert 30 < len(said) < 250 and ": " + header_of(path.read_text(), path.name).source not in said
        assert header_of(path.read_text(), path.name).what.startswith(said)


@pytest.mark.parametrize("label", ["what", *LABELS])
def test_a_header_without_one_of_its_parts_is_told(label: str) -> None:
    text = (FOLDER / "llama31_8b_qlora.yaml").read_text()
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(f"# {label}:")]
    if label == "what":
        kept = [lines[0], *lines[lines.index("#\n", 2) :]]
    with pytest.raises(ValueError, match=f"lacks {label}"):
        header_of("".join(kept), "r.yaml")


def test_the_memory_that_a_header_names_is_the_plans_and_fits_the_gpu_it_names() -> None:
    for path in WITH_GPU:
        header = header_of(path.read_text(), path.name)
        figures = figures_of(path, header)
        assert figures is not None and figures.fits, path.name
        assert f"{figures.needed_gib:.1f} GiB" in header.gpu, f"{path.name}: run make docs"
        assert with_figures(path) == path.read_text(), f"{path.name}: run make docs"


def test_what_a_header_calls_measured_is_in_the_page_of_performance() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    figures = [re.search(r"measured .*: ([\d,]+) tokens/s", path.read_text()) for path in RECIPES]
    told = [found[1] for found in figures if found]
    assert told and all(f" {figure} " in page for figure in told)


def test_several_gpus_in_the_header_are_those_of_the_command() -> None:
    for path in WITH_GPU:
        header = header_of(path.read_text(), path.name)
        machine = machine_of(header)
        assert machine is not None and machine.gpus[0].name in TFLOPS
        several = f" --nproc {machine.processes}" if machine.processes > 1 else ""
        assert header.command == f"finetune recipes/{path.name}{several}"


def test_a_header_that_is_out_of_date_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    text = (FOLDER / "llama31_8b_qlora.yaml").read_text()
    path.write_text(text.replace("sequence_len: 2048", "sequence_len: 8192"))
    fresh = with_figures(path)
    assert fresh != path.read_text() and "GiB estimated" in fresh
    path.write_text(fresh)
    assert with_figures(path) == fresh


def test_the_table_of_recipes_is_fresh_and_names_each_once() -> None:
    page = (FOLDER / "README.md").read_text()
    assert page == gallery_page(FOLDER), "run: make docs"
    assert all(page.count(f"]({path.name})") == 1 for path in RECIPES)


@pytest.mark.parametrize("path", WITH_GPU, ids=lambda path: path.stem)
def test_rows_as_the_hub_has_them_are_what_the_recipe_says(path: Path) -> None:
    recipe = load_recipe(path).recipe
    plan = resolve(recipe.model_copy(update={"gradient_checkpointing": True, "tokens_per_pass": None}), Machine())
    opened = [call.arguments for call in plan.stage("format") if call.target.endswith("open_source")]
    assert opened
    for given in opened:
        found = [(given["path"], number, row) for number, row in enumerate(ROWS[given["path"]], 1)]
        reading = Reading(given["path"], given["form"], Fields(**given["fields"]), given["source"]["take"]["filter"])
        read = list(meanings(iter(found), reading))
        assert len(read) == len(found) and not [row for row in read if isinstance(row, BadOne)], read


@pytest.mark.parametrize("path", in_turn(2))
def test_a_recipe_goes_the_whole_way_on_a_tiny_model_of_its_architecture(path: Path, finetune: Any) -> None:
    code, out, err = finetune("prove", path)
    assert code == 0 and f"{path}: proved" in out, out + err
