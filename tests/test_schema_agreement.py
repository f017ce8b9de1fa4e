"""The JSON Schema, asked by an independent validator, and the program agree on what may be written: key by key, and on
recipes with a slip in them."""

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from finetune.commands.checking import resolved
from finetune.errors import Fault, RecipeError
from finetune.recipe import dataset_spellings, foreign, spellings
from finetune.recipe.data import DatasetEntry
from finetune.recipe.header import Header
from finetune.recipe.load import load_recipe
from finetune.recipe.model import BnbConfig, SpecialTokens
from finetune.recipe.recipe import Recipe
from finetune.recipe.rows import MessageProperties
from tests.conftest import ROOT
from tests.covering import MACHINES
from tests.legal_values import number_of
from tests.mutations import KINDS, Mutation
from tests.outcomes import answer, read
from tests.test_mutations import Corpus, corpus, mutations, shown

__all__ = ["corpus"]  # the fixture
SCHEMA = ROOT / "schemas" / "recipe.schema.json"
GOOD: dict[str, Any] = {"base_model": "m", "datasets": [{"path": "org/d"}], "output_dir": "o"}
POOL: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 8, 0.5, 0.0, 1.0, 3.0, 2.5, 1e-4, 4294967296, 10**30, 1e30),
    *("", "text", "a_b", "no", "None", "false", "true", "auto", "8", "0.5", "2e-4", " 3 ", "1_000", "3 epochs", "-1"),
    *("lora", "chatml", "cosine", "epoch", "unsloth", "gradients", "nf4", "bfloat16", "alpaca", "json", "end"),
    *("LlamaForCausalLM", "rank=8, eps=1e-8", "all_linear", "${output_dir}", "a ${base_model} b"),
    *([], ["a"], [1], [0, 2], ["1"], [1.0], [[0, 2]], [[0]], [None], [True], [{"path": "x"}], [{"paht": "x"}]),
    *({}, {"a": 1}, {"a": "b"}, {"a": "8"}, {"a": [1]}, {"a": None}, {"a": {"b": 1}}, {"user": "me"}, {"": 0}),
    *({"use_reentrant": True}, {"role": "from"}, {"path": "x"}, {"pad_token": "x"}, {"pad_token": ["x"]}),
    *({"FT012": "as it should be"}, {"FT099": "no such"}, {"ft012": "because"}, {"FT012": ""}),
)
"""Values of every kind, tried with every key."""
# What is written into a file for YAML is what is tried; a text among them is quoted there.
ON_OFF: tuple[Any, ...] = (None, False, True, 0, 1, 2, 0.5, "", "no", "None", "x", [], ["x"], {}, {"a": None}, {"a": 1})
"""Values tried with keys that are only on or off: old switches, and keys of Axolotl that are not honoured."""
BEYOND = {
    "FT001": "what is not YAML, or holds a key twice",
    "FT005": "lines that contradict each other",
    "FT006": "secrets",
    "FT007": "files that are extended, and ${...} that cannot be filled in",
    "FT008": "what a backend refuses",
}
"""Codes of what a schema cannot express."""
OLD = (
    *spellings.RENAMED,
    *spellings.ATTENTION,
    *spellings.NUMBER_TYPES,
    *spellings.QUANTIZATION,
    *spellings.OTHER_OLD_KEYS,
)
OLD_IN_ENTRIES = (*dataset_spellings.RENAMED, *dataset_spellings.PROPERTIES, "ds_type", "conversation")
Case = tuple[str, dict[str, Any], Any]
"""The key, the recipe that holds it, and the value that was tried."""
Validator = jsonschema.Draft202012Validator


@pytest.fixture(scope="session")
def schema() -> Validator:
    return Validator(json.loads(SCHEMA.read_text()))


def errors_of(path: Path, text: str) -> tuple[Fault, ...]:
    path.write_text(text, encoding="utf-8")
    try:
        checked = load_recipe(path)
        for machine in MACHINES:
            resolved(checked, machine)
    except RecipeError as error:
        return error.faults
    return ()


def disagreement(values: Any, errors: Sequence[Fault], schema: Validator, tried: Any = None) -> str:
    """What is wrong between the two; empty where they agree, or where a schema cannot know."""
    found = next(schema.iter_errors(values), None)
    if found is not None and not errors:
        return f"only the schema refuses {json.dumps(values)[:300]}: {found.message[:200]}"
    beyond = all(fault.code in BEYOND or "should be a range" in fault.message for fault in errors)
    beyond = beyond or cannot_be_judged(tried)
    if found is None and errors and not beyond:
        return f"only the program refuses {json.dumps(values)[:300]}: {[str(fault) for fault in errors]}"
    return ""


def cannot_be_judged(tried: Any) -> bool:
    """Whether a schema cannot know what the value is: the size of a number that is text, what ${...} will be, and
    numbers that JSON does not have."""
    if isinstance(tried, str):
        return "${" in tried or number_of(tried) is not None
    return isinstance(tried, float) and not math.isfinite(tried)


def cases() -> Iterator[Case]:
    for key, pool in (
        *((key, POOL) for key in (*Recipe.model_fields, *Header.model_fields, *OLD)),
        *((key, ON_OFF) for key in sorted(foreign.RECIPE_KEYS)),
    ):
        for value in pool:
            yield key, GOOD | {key: value}, value
    for key, pool in (
        *((key, POOL) for key in (*DatasetEntry.model_fields, *OLD_IN_ENTRIES)),
        *((key, ON_OFF) for key in sorted(foreign.DATASET_KEYS)),
    ):
        for value in pool:
            yield f"datasets.{key}", GOOD | {"datasets": [{"path": "org/d", key: value}]}, value
    for model, name in ((SpecialTokens, "special_tokens"), (BnbConfig, "bnb_config_kwargs")):
        for key, value in itertools.product(model.model_fields, POOL):
            yield f"{name}.{key}", GOOD | {"adapter": "lora", "load_in_4bit": True, name: {key: value}}, value
    for key, value in itertools.product(MessageProperties.model_fields, POOL):
        entry = {"path": "org/d", "message_property_mappings": {key: value}}
        yield f"message_property_mappings.{key}", GOOD | {"datasets": [entry]}, value


PARTS = 8


# Every second part in the ordinary suite, each with every PARTS-th case of every key; all of them in the slow one.
@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=[pytest.mark.slow] if part % 2 else []) for part in range(PARTS)]
)
def test_each_key_has_the_same_legal_values_for_both(part: int, schema: Validator, tmp_path: Path) -> None:
    faults: list[str] = []
    tally: Counter[tuple[bool, bool]] = Counter()
    for key, values, tried in itertools.islice(cases(), part, None, PARTS):
        text = yaml.safe_dump(values, sort_keys=False)
        errors = errors_of(tmp_path / "r.yaml", text)
        read_back = read(text)
        tally[not errors, schema.is_valid(read_back)] += 1
        # A value that YAML 1.2 reads as another is judged as that one.
        if found := disagreement(read_back, errors, schema, tried):
            faults.append(f"{key}: {found}")
    print(f"accepted by both {tally[True, True]}, refused by both {tally[False, False]}")
    assert not faults, f"{len(faults)} disagreements:\n" + "\n".join(faults[:20])
    assert tally[True, True] > 100 and tally[False, False] > 100 and not tally[True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_both_judge_a_slip_alike(kind: str, corpus: Corpus, schema: Validator) -> None:
    path, recipes = corpus
    faults = []
    for number, mutation in itertools.islice(mutations([recipe for recipe, _ in recipes], kind), 50):
        values = read(mutation.text)
        if values is not None:
            errors = errors_of(path, mutation.text)
            tried = next((value for value in scalars(values) if value_stands_in(value, mutation)), None)
            if found := disagreement(values, errors, schema, tried):
                faults.append(shown(recipes[number][0].text, mutation, answer(path, mutation.text)) + "\n" + found)
    assert not faults, "\n\n".join(faults)


def scalars(values: Any) -> Iterator[Any]:
    if isinstance(values, dict | list):
        for item in values.values() if isinstance(values, dict) else values:
            yield from scalars(item)
    else:
        yield values


def value_stands_in(value: Any, mutation: Mutation) -> bool:
    """Whether a value that a schema cannot judge was written by the slip: no recipe holds one by itself."""
    return cannot_be_judged(value) and mutation.kind.startswith(("value of another type", "bracket", "trailing"))


def test_the_recipes_that_stand_pass_the_schema(corpus: Corpus, schema: Validator) -> None:
    for recipe, _ in corpus[1]:
        assert not list(schema.iter_errors(read(recipe.text)))


def test_a_value_from_elsewhere_may_stand_at_every_key(schema: Validator) -> None:
    for key in (*Recipe.model_fields, *OLD, *foreign.RECIPE_KEYS):
        assert schema.is_valid(GOOD | {key: "${from_elsewhere}"}), key
    for key in (*DatasetEntry.model_fields, *OLD_IN_ENTRIES, *foreign.DATASET_KEYS):
        assert schema.is_valid(GOOD | {"datasets": [{"path": "org/d", key: "${from_elsewhere}"}]}), key


def test_the_schema_lists_what_can_be_silenced_and_stays_small(schema: Validator) -> None:
    assert schema.is_valid(GOOD | {"silence": {"FT012": "a small model"}})
    assert not schema.is_valid(GOOD | {"silence": {"FT003": "an error"}})
    assert SCHEMA.stat().st_size < 400_000
