"""docs/keys.md tells of every key, and what it says is what the code does."""

import re

import pytest

from finetune.backends import BACKENDS
from finetune.judge import section_of
from finetune.keys import OWN, keys_page, reach
from finetune.recipe import foreign
from finetune.recipe.base import key_texts, reach_of
from finetune.recipe.data import DatasetEntry
from finetune.recipe.recipe import Recipe
from finetune.recipe.spellings import RENAMED
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def page() -> str:
    return keys_page()


def part(page: str, key: str) -> str:
    return page.split(f"### {key}\n")[1].split("\n##")[0]


def test_the_page_is_fresh(page: str) -> None:
    assert (ROOT / "docs" / "keys.md").read_text() == page, "run: make docs"


def test_every_key_has_its_meaning_and_both_backends(page: str) -> None:
    for key, text in key_texts(Recipe).items():
        told = part(page, key)
        assert text in told, key
        assert all(f"- {backend}: " in told for backend in BACKENDS), key


def test_keys_inside_sections_are_told_too(page: str) -> None:
    for key in DatasetEntry.model_fields:
        assert f"#### datasets.N.{key}\n" in page
    section = section_of(Recipe.model_fields["special_tokens"].annotation)
    assert section is not None
    for key in section.model_fields:
        assert f"#### special_tokens.{key}\n" in page


def test_types_and_defaults_read_as_words(page: str) -> None:
    assert "whole number ≥ 1 · default: 8" in part(page, "lora_r")
    assert "number ≥ 0 and < 1 · default: 0 · counts with `adapter: lora`" in part(page, "lora_dropout")
    assert "one of `drop`, `truncate`, `split`, `error` · default: drop" in part(page, "excess_length_strategy")
    assert "true or false or `auto` · default: auto" in part(page, "bf16")
    assert "text · must be written" in part(page, "base_model")
    assert "any value" not in "".join(part(page, key) for key in ("lora_r", "learning_rate", "save_steps", "datasets"))


def test_the_calls_differ_by_backend_as_the_plans_do(page: str) -> None:
    told = part(page, "lora_r")
    assert "- transformers: `peft.LoraConfig(r)`" in told
    assert "- unsloth: `unsloth.FastLanguageModel.get_peft_model(r)`" in told
    assert "- unsloth: without effect: Unsloth picks the class" in part(page, "model_type")
    assert "- unsloth: refused: Unsloth's checkpointing" in part(page, "gradient_checkpointing_kwargs")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("key", Recipe.model_fields)
def test_a_key_is_told_to_reach_the_stages_it_declares(key: str, backend: str) -> None:
    """Law 1 holds the declarations against the Plan; here they hold the page."""
    if key == "backend" or key in BACKENDS[backend].REFUSES:
        return
    found = {change.stage for change in reach((key,), backend)}
    assert found <= reach_of(Recipe, key).on(backend)
    assert bool(found) == bool(reach_of(Recipe, key).on(backend)) or any(
        need in BACKENDS[backend].REFUSES for need in reach_of(Recipe, key).needs
    )


def test_every_old_spelling_is_there_with_todays(page: str) -> None:
    old = page.split("## Old spellings")[2 if page.count("## Old spellings") > 1 else 1].split("\n## ")[0]
    for key, today in RENAMED.items():
        assert re.search(rf"- `{key}: .*`{today}: ", old), key
    assert "`type: sharegpt` is written `type: chat_template`" in old


def test_every_foreign_key_is_there_with_a_reason(page: str) -> None:
    told = page.split("\n## Accepted without effect")[1]
    for key in (foreign.RECIPE_KEYS - set(Recipe.model_fields)) | (
        foreign.DATASET_KEYS - set(DatasetEntry.model_fields)
    ):
        assert f"`{key}`" in told, key
    assert "is not spread over several GPUs" in told


def test_own_keys_are_those_that_axolotl_does_not_have(page: str) -> None:
    lines = (ROOT / "tests" / "data" / "axolotl_keys.txt").read_text().splitlines()
    theirs = {name for line in lines if not line.startswith("#") for name in line.split()}
    assert {key for key in Recipe.model_fields if key not in theirs} == OWN
    for key in Recipe.model_fields:
        assert ("own key" in part(page, key)) == (key in OWN), key
