"""The tokenizer rebuilt in tiktoken gives the tokens and places of `tokenizers`, or is not used."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers

from finetune.data import bpe
from finetune.data.encoding import FastEncoder, QuickEncoder, RustEncoder, difference, encoder_of
from tests import tiny
from tests.conftest import ROOT

GOLDEN = ROOT.parent / "shared" / "golden"
KINDS = {"gpt2": (None, False), "llama3": (bpe.LLAMA3, False), "qwen2": (bpe.QWEN2, False), "nfc": (bpe.QWEN2, True)}


def tokenizer_json(kind: str = "gpt2") -> str:
    split, nfc = KINDS[kind]
    tokenizer = Tokenizer.from_str(tiny.tokenizer_of("chatml").backend_tokenizer.to_str())
    if split:
        last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        first = pre_tokenizers.Split(Regex(split), "isolated", False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([first, last])
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    return str(tokenizer.to_str())


@pytest.fixture(scope="module")
def pairs() -> dict[str, tuple[Any, RustEncoder]]:
    made = {kind: tokenizer_json(kind) for kind in KINDS}
    return {kind: (encoder_of(text)[0], RustEncoder(text)) for kind, text in made.items()}


bits = some.one_of(
    some.text(max_size=12),
    some.text(
        alphabet="aZsSdtl've019 \t\n\r\x0b\x0c\x1c\x85\xa0\u2028\u3000!?.é日\u0301\u200b😀\U0001f3fd٣½\u017f",
        max_size=12,
    ),
    some.sampled_from(
        ["<|im_end|>", "<|im_start|>", "<|im_", "the ", " the", "'ll", "'RE", "\r\n\r\n", "    ", "walk"]
    ),
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=400, deadline=None)
@given(some.lists(bits, max_size=10).map("".join))
def test_any_text_gives_the_same_tokens_at_the_same_places(kind: str, pairs: Any, text: str) -> None:
    fast, exact = pairs[kind]
    assert isinstance(fast, FastEncoder)
    assert difference([text], fast, exact) == ""


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden token sets are not beside this checkout")
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)], ids=["shared out", "all"])
@pytest.mark.parametrize("turn", range(4))
def test_the_golden_data_gives_the_same_tokens(turn: int, every: int) -> None:
    """Each row by one of the families in the ordinary suite, by all four in the slow one."""
    model = ("tiny-chatml", "tiny-llama3", "tiny-phi", "tiny-gemma")[turn]
    text = (GOLDEN / "models" / model / "tokenizer.json").read_text()
    fast, why = encoder_of(text)
    assert why == ""
    exact = RustEncoder(text)
    for file in sorted((GOLDEN / "data").glob("*.jsonl")):
        rows = file.read_text().strip().split("\n")[turn % every :: every]
        # As one string with its escapes, and as the strings that it holds.
        held = [word for row in rows for word in strings(json.loads(row))]
        assert difference([*rows, *held], fast, exact) == ""


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [word for part in parts for word in strings(part)]


def changed(change: Any) -> str:
    whole = json.loads(tokenizer_json())
    change(whole)
    return json.dumps(whole)


def swap_two_merges(whole: Any) -> None:
    merges = whole["model"]["merges"]
    merges[0], merges[-1] = merges[-1], merges[0]


def a_token_with_white_space(whole: Any) -> None:
    whole["added_tokens"][0]["lstrip"] = True


def a_token_within_another(whole: Any) -> None:
    first = whole["added_tokens"][0]
    whole["added_tokens"].append(first | {"id": 5000, "content": first["content"] + "x"})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda whole: whole.update(normalizer={"type": "Lowercase"}), "changes text"),
        (lambda whole: whole["model"].update(dropout=0.1), "dropout"),
        (lambda whole: whole["pre_tokenizer"].update(add_prefix_space=True), "space before"),
        (lambda whole: whole.update(pre_tokenizer={"type": "Whitespace"}), "not byte-level"),
        (lambda whole: whole["model"]["merges"].pop(0), "do not make its token"),
        (swap_two_merges, "do not rise"),
        (a_token_with_white_space, "white space"),
        (a_token_within_another, "begins with"),
    ],
)
def test_what_the_rules_do_not_know_is_left_to_the_tokenizer_itself(change: Any, says: str) -> None:
    with pytest.raises(bpe.NotTheSame, match=says):
        bpe.rebuild(changed(change))


@pytest.mark.parametrize("kind", ["digits apart", "merges that are not proved"])
@settings(max_examples=200, deadline=None)
@given(some.lists(bits, max_size=10).map("".join))
def test_places_follow_from_lengths_where_tokens_are_bytes(kind: str, text: str) -> None:
    if kind not in QUICK:
        whole = json.loads(tokenizer_json())
        if kind == "digits apart":
            steps = [{"type": "Digits", "individual_digits": True}, whole["pre_tokenizer"]]
            whole["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
        else:
            swap_two_merges(whole)
        QUICK[kind] = encoder_of(json.dumps(whole))[0]
    encoder = QUICK[kind]
    assert isinstance(encoder, QuickEncoder)
    assert difference([text], encoder, encoder.exact) == ""


QUICK: dict[str, Any] = {}


def test_a_token_that_takes_white_space_is_met_by_tokenizers() -> None:
    tokenizer = tiny.tokenizer_of("phi")
    tokenizer.add_tokens([AddedToken("<|x|>", rstrip=True, special=True)])
    encoder, why = encoder_of(tokenizer.backend_tokenizer.to_str())
    assert encoder.name == "tokenizers" and "white space" in why
