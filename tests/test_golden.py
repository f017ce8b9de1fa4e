"""Token parity with Axolotl, on recipes and data kept outside the repository; says so where it had to skip."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune import stages
from finetune.backends.loaded import load_tokenizer, tokenizer_part
from finetune.data import shapes
from finetune.machine import Machine
from finetune.recipe.load import load_recipe
from finetune.rendering.examples import Example
from finetune.resolve import resolve
from tests.conftest import ROOT

GOLDEN = ROOT.parent / "shared" / "golden" / "variants"
IGNORED = -100


NO_EOT = ("phi_3", "gemma")
"""Families whose turns do not end with the tokenizer's end of sequence."""
ENDS = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>")
ELSEWHERE = {"dpo_chatml_intel"}
"""Pairs of answers, which other tests compare."""
HEADERS = (
    *(f"<|im_start|>{role}\n" for role in ("system", "user", "assistant")),
    "<|end_header_id|>\n\n",
    "<|assistant|>\n",
    "<start_of_turn>model\n",
)


def after_an_empty_turn(before: str) -> bool:
    """Axolotl finds a turn by its content, and so leaves the end token of an empty turn unlearned. A model that may
    answer with nothing must still learn to stop."""
    return before.endswith(HEADERS)


def after_any_turn(before: str) -> bool:
    """Without eot_tokens, Axolotl looks for Phi's <|endoftext|> only and leaves every <|end|> unlearned."""
    return True


# variant -> rows in which we learn an end token that Axolotl does not, and after what. In every other token, and
# in every other row, ids and labels are equal; nowhere does Axolotl learn a token that we do not.
DIFFERENT: dict[str, tuple[int, Callable[[str], bool]]] = {
    "chatml": (9, after_an_empty_turn),
    "chatml_drop_system": (9, after_an_empty_turn),
    "chatml_eos_all": (13, after_an_empty_turn),
    "chatml_eos_none": (0, after_an_empty_turn),
    "chatml_len1024_drop": (7, after_an_empty_turn),
    "chatml_msg_training": (0, after_an_empty_turn),
    "chatml_packing": (9, after_an_empty_turn),
    "chatml_roles_both": (12, after_an_empty_turn),
    "chatml_train_on_inputs": (13, after_an_empty_turn),
    "llama3": (11, after_an_empty_turn),
    "phi_35": (250, after_any_turn),
    "phi_35_eot": (9, after_an_empty_turn),
    "tokenizer_default": (9, after_an_empty_turn),
}
# Axolotl keeps rows whose own flags let nothing be learned; a batch of only such rows has no loss at all (0/0). We
# leave them out, and count them.
UNLEARNED = {"chatml_msg_training": 57}
# Rows, in order, in which we end an empty answer with the end token and Axolotl with nothing at all: from those a model
# could not learn that it may answer with nothing.
WITHOUT_MESSAGES = {
    "alpaca": [58],
    "alpaca_train_on_inputs": [58],
    "user_defined": [58],
    "input_output": [],
    "completion": [],
}
# Keys of those recipes that are not honoured here and change no token of a row.
DROPPED = ("shuffle_merged_datasets", "dataset_prepared_path", "attn_implementation")


def ours(variant: str, tmp_path: Path) -> tuple[list[Example], Any]:
    text = "".join(
        line for line in (GOLDEN / variant / "recipe.yaml").read_text().splitlines(True) if not line.startswith(DROPPED)
    ).replace("../../", f"{GOLDEN.parent}/")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    plan = resolve(load_recipe(recipe).recipe, Machine())
    tokenizer, _ = load_tokenizer(tokenizer_part(plan.stage("load")))
    # Half of the rows of one set are longer than its sequence_len, which a run would stop at.
    prepared = stages.prepare(plan, stages.open_sources(plan), tokenizer)
    return [Example(ids, labels) for _, _, ids, labels in prepared.rows("train")], tokenizer


def variants() -> list[str]:
    return sorted(path.name for path in GOLDEN.iterdir()) if GOLDEN.is_dir() else []


def rows_of(variant: str) -> list[dict[str, Any]]:
    from pyarrow import parquet

    found: list[dict[str, Any]] = parquet.read_table(GOLDEN / variant / "expected.parquet").to_pylist()
    return found


def test_the_golden_sets_are_there() -> None:
    if not GOLDEN.is_dir():
        warnings.warn(f"no {GOLDEN}: TOKEN PARITY WITH AXOLOTL WAS NOT CHECKED", stacklevel=1)
        pytest.skip(f"token parity was not checked: there is no {GOLDEN}")
    assert set(DIFFERENT) | set(WITHOUT_MESSAGES) | ELSEWHERE <= set(variants())


@pytest.mark.parametrize("variant", [name for name in variants() if name not in {*WITHOUT_MESSAGES, *ELSEWHERE}])
def test_tokens_and_labels_equal_axolotls_but_for_the_end_tokens_it_forgets(variant: str, tmp_path: Path) -> None:
    """A set that is not in the table may differ in the same way; its rows are not counted."""
    examples, tokenizer = ours(variant, tmp_path)
    by_ids = {tuple(example.input_ids): example.labels for example in examples}
    different = unlearned = 0
    for row in rows_of(variant):
        ids, theirs = row["input_ids"], row["labels"]
        labels = by_ids.get(tuple(ids))
        if labels is None:
            assert all(label == IGNORED for label in theirs), "a row of Axolotl's has no row of ours with its tokens"
            unlearned += 1
            continue
        places = [place for place, (one, other) in enumerate(zip(labels, theirs, strict=True)) if one != other]
        is_known = DIFFERENT.get(variant, (0, after_any_turn if variant.startswith(NO_EOT) else after_an_empty_turn))[1]
        assert all(theirs[place] == IGNORED for place in places), "Axolotl learns a token that we do not"
        assert all(tokenizer.convert_ids_to_tokens(ids[place]) in ENDS for place in places), "it is no end token"
        assert all(is_known(tokenizer.decode(ids[:place][-10:])) for place in places), "a difference that has no name"
        different += bool(places)
    if variant in DIFFERENT:
        assert (different, unlearned) == (DIFFERENT[variant][0], UNLEARNED.get(variant, 0))


@pytest.mark.parametrize("variant", [name for name in WITHOUT_MESSAGES if name in variants()])
def test_formats_without_messages_give_axolotls_tokens_row_by_row(variant: str, tmp_path: Path) -> None:
    examples, tokenizer = ours(variant, tmp_path)
    different = []
    for number, (row, example) in enumerate(zip(rows_of(variant), examples, strict=False)):
        if (example.input_ids, example.labels) != (row["input_ids"], row["labels"]):
            end = [tokenizer.eos_token_id]
            assert (example.input_ids, example.labels) == (row["input_ids"] + end, row["labels"] + end), number
            different.append(number)
    assert different == WITHOUT_MESSAGES[variant]


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden token sets are not beside this checkout")
def test_pairs_give_the_tokens_that_trl_makes_of_axolotls_texts(tmp_path: Path) -> None:
    """Axolotl hands TRL texts; TRL tokenizes the question alone and with each answer, and parts them where they do."""
    from pyarrow import parquet

    variant = "dpo_chatml_intel"
    text = "".join(
        line for line in (GOLDEN / variant / "recipe.yaml").read_text().splitlines(True) if not line.startswith(DROPPED)
    ).replace("../../", f"{GOLDEN.parent}/")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    plan = resolve(load_recipe(recipe).recipe, Machine())
    tokenizer, _ = load_tokenizer(tokenizer_part(plan.stage("load")))
    prepared = stages.prepare(plan, stages.open_sources(plan), tokenizer)
    expected = parquet.read_table(GOLDEN / variant / "expected.parquet").to_pylist()
    ours_ = shapes.pairs(purpose="train", prepared=prepared).to_list()
    assert len(ours_) >= len(expected)
    for row, pair in zip(expected, ours_, strict=False):
        question, chosen, rejected = (
            tokenizer(row["prompt"] + row[side] if side else row["prompt"])["input_ids"]
            for side in ("", "chosen", "rejected")
        )
        shared = min(common(question, chosen), common(question, rejected))
        assert pair == {
            "prompt_ids": question[:shared],
            "chosen_ids": chosen[shared:],
            "rejected_ids": rejected[shared:],
        }


def common(one: list[int], other: list[int]) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
