"""Every command, recipe, page, anchor and key that the page of guides names is there."""

import re
from pathlib import Path

import pytest

from finetune.cli import _parser
from finetune.commands import COMMANDS
from finetune.recipe.data import DatasetEntry
from finetune.recipe.header import Header
from finetune.recipe.load import load_recipe
from finetune.recipe.recipe import Recipe
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "guides_as_recipes.md"
TEXT = PAGE.read_text("utf-8")
TYPED = sorted({found[1].strip() for found in re.finditer(r"`finetune ([^`]*)`", TEXT)})
KEYS = {*Recipe.model_fields, *DatasetEntry.model_fields, *Header.model_fields, "loftq_config", "filter", "weight"}
OUTSIDE = {"bos_token", "method", "eval_strategy"}
"""Keys inside others, and a library's."""


@pytest.mark.parametrize("typed", TYPED)
def test_each_command_is_one_that_the_program_takes(typed: str) -> None:
    words = typed.replace("RUN", "outputs/x").split()
    if words[0] not in COMMANDS:
        words.insert(0, "train")
    if len(words) == 1:
        return
    if words[-1] == "--license":
        words.append("mit")
    parsed, rest = _parser().parse_known_args(words)
    assert parsed.command in COMMANDS and all("=" in word for word in rest)


def test_each_recipe_is_shipped_and_stands() -> None:
    named = sorted(set(re.findall(r"recipes/\w+\.yaml", TEXT)))
    assert len(named) > 15
    for name in named:
        assert load_recipe(ROOT / name).recipe.output_dir


def test_each_page_and_anchor_is_there() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        name, _, anchor = target.partition("#")
        page = PAGE.parent / name
        assert page.is_file(), target
        headings = [re.sub(r"[^\w -]", "", line.lstrip("# ").lower()) for line in _headings(page)]
        assert not anchor or anchor in [heading.strip().replace(" ", "-") for heading in headings], target


def _headings(page: Path) -> list[str]:
    return [line for line in page.read_text("utf-8").splitlines() if line.startswith("#")]


def test_each_key_is_one_of_the_recipes() -> None:
    for name in re.findall(r"`([a-z][a-z0-9_]*): ", TEXT):
        assert name in KEYS | OUTSIDE, name


def test_every_numbered_step_has_a_row() -> None:
    long = TEXT.split("## Fine-Tuning Large Language Models")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+)(?:\.\d)?[ ,]", long, re.M)
    assert set(map(int, rows)) == set(range(1, 13))
    kaggle = TEXT.split("in seven steps")[1].split("\n## ")[0]
    assert [int(number) for number in re.findall(r"^\| (\d) ", kaggle, re.M)] == list(range(1, 8))
    notes = TEXT.split("on FineTome-100k\n")[1]
    assert [int(number) for number in re.findall(r"^\| (\d) ", notes, re.M)] == list(range(1, 7))
