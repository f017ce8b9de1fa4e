"""One typo, wrong type or misplaced key, put at random into any valid recipe, is caught on its line or changes
nothing."""

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean

import pytest

from finetune.recipe.data import DatasetEntry
from finetune.recipe.model import BnbConfig, SpecialTokens
from finetune.recipe.recipe import Recipe as RecipeModel
from finetune.recipe.rows import MessageProperties, PromptFormat
from tests import covering
from tests.conftest import RECIPES, ROOT
from tests.legal_values import DATASET_SET, DATASET_UNSET, INSIDE, SET, UNSET
from tests.mutations import KINDS, Mutation, Recipe
from tests.outcomes import MISSED, PROVEN, REFUSED, Answer, answer, outcome, read

EACH = 130
"""Mutations of a kind that must be caught, noticed or harmless. Those that make another legal recipe come on top."""
GUIDES = ("llama32_finetome", "llama3_alpaca", "phi35_samantha", "qwen15_full_guide")
MUTATED = [path for path in RECIPES if path.stem.startswith("quickstart") or path.stem in GUIDES]
"""Enough to hold every kind of line: the others say the same of other models."""
MEAN_S, LONGEST_S = 0.060, 1.0
Corpus = tuple[Path, list[tuple[Recipe, Answer]]]


def corpus_in(folder: Path) -> Corpus:
    """Where a recipe is written to be asked about, and valid recipes with what is said about them as they are."""
    path = folder / "recipe.yaml"
    (folder / "base.yaml").write_text(covering.BASE)
    shutil.copytree(ROOT / "recipes" / "quickstart", folder / "quickstart")  # rewards must lie beside the recipe
    for file in MUTATED:  # some extend others
        (folder / file.name).write_text(file.read_text())
    files = [*MUTATED, *sorted((ROOT / "tests" / "data").glob("*.yaml"))]
    texts = [*(file.read_text() for file in files), *covering.recipes()]
    return path, [(Recipe.of(text), answer(path, text)) for text in texts]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return corpus_in(tmp_path_factory.mktemp("mutations"))


def mutations(recipes: Sequence[Recipe], kind: str) -> Iterator[tuple[int, Mutation]]:
    """Mutations of a kind without end, always the same, each with the number of the recipe it was made of."""
    rng = random.Random(kind)
    while True:
        number = rng.randrange(len(recipes))
        mutation = KINDS[kind](recipes[number], rng)
        if mutation is not None and mutation.text != recipes[number].text:
            yield number, mutation


def tally_of(corpus: Corpus, kind: str) -> tuple[Counter[str], list[float], list[str]]:
    """Until EACH are proven: how many had which outcome, the seconds that each took, and those that were missed."""
    path, recipes = corpus
    tally: Counter[str] = Counter()
    seconds: list[float] = []
    missed: list[str] = []
    for number, mutation in mutations([recipe for recipe, _ in recipes], kind):
        recipe, was = recipes[number]
        found, now = outcome(path, recipe.text, was, mutation)
        tally[found] += 1
        seconds.append(now.seconds)
        if found in (MISSED, REFUSED):
            missed.append(shown(recipe.text, mutation, now))
        if sum(tally[name] for name in (*PROVEN, MISSED, REFUSED)) >= EACH:
            return tally, seconds, missed
    raise AssertionError("mutations have no end")


def shown(before: str, mutation: Mutation, now: Answer) -> str:
    """What a person needs to judge a mutation that was not caught."""
    old, new = before.splitlines(), mutation.text.splitlines()
    lines = [f"{number}: {line}" for number, line in enumerate(new, 1) if line not in old or number in mutation.lines]
    return "\n".join([mutation.kind, *lines, *map(str, now.errors), *map(str, now.said)])


def test_there_are_five_thousand_mutations_that_must_be_proven() -> None:
    assert len(KINDS) * EACH >= 5000


def test_the_recipes_that_are_mutated_stand_and_hold_every_key(corpus: Corpus) -> None:
    _, recipes = corpus
    written: set[str] = set()
    for recipe, now in recipes:
        assert not now.errors, now.errors
        values = read(recipe.text)
        entries = [entry for key in ("datasets", "test_datasets") for entry in values.get(key) or ()]
        inside = [*entries, *(entry.get("message_property_mappings", {}) for entry in entries)]
        inside += [entry["type"] for entry in entries if isinstance(entry.get("type"), dict)]
        for mapping in (values, *inside, *(values.get(key) or {} for key in INSIDE)):
            written |= set(mapping)
    for model in (RecipeModel, DatasetEntry, MessageProperties, PromptFormat, SpecialTokens, BnbConfig):
        assert set(model.model_fields) <= written


def test_the_judge_of_legal_values_knows_every_key() -> None:
    sections = {
        "test_datasets",
        "special_tokens",
        "fsdp_config",
        "bnb_config_kwargs",
        "peft",
        "trl",
        "dynamic_checkpoint",
    }
    sections.add("model_quantization_config_kwargs")
    assert set(RecipeModel.model_fields) == {*UNSET, *SET} | sections
    assert set(DatasetEntry.model_fields) == {*DATASET_UNSET, *DATASET_SET, "message_property_mappings"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_slip_is_caught_on_its_line_or_changes_nothing(kind: str, corpus: Corpus) -> None:
    tally, seconds, missed = tally_of(corpus, kind)
    print(f"{kind}: {dict(tally)}; mean {mean(seconds) * 1000:.1f} ms, longest {max(seconds) * 1000:.0f} ms")
    assert not missed, "\n\n".join(missed)
    assert mean(seconds) <= MEAN_S and max(seconds) <= LONGEST_S


if __name__ == "__main__":  # python -m tests.test_mutations: the tally of all kinds
    with tempfile.TemporaryDirectory() as folder:
        recipes = corpus_in(Path(folder))
        whole: Counter[str] = Counter()
        times: list[float] = []
        for each in KINDS:
            counted, took, _ = tally_of(recipes, each)
            whole += counted
            times += took
        print(dict(whole), f"mean {mean(times) * 1000:.1f} ms, longest {max(times) * 1000:.0f} ms")
