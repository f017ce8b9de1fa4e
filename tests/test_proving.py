"""`finetune prove`: a tiny model of the recipe's architecture goes the whole way, and each promise is measured."""

import pytest

from finetune.memory.known import _MODELS
from finetune.proving.families import family_of
from finetune.proving.tokenizer import marks_of
from finetune.rendering.layouts import SHIPPED
from finetune.rendering.templates import MARKS, TRL


@pytest.mark.parametrize("model", sorted(_MODELS))
def test_every_model_of_known_size_has_a_family_whose_tokenizer_can_write_its_template(model: str) -> None:
    for name in (f"unsloth/{model}", f"google/{model}-it"):
        family = family_of(name)
        assert family is not None and family.config["hidden_size"] and family.tokenizer.eos
        template = family.tokenizer.template
        assert template is None or template in {*MARKS, *SHIPPED} or template.startswith(TRL)
        assert set(marks_of(template or "")) <= {*family.tokenizer.special, *family.tokenizer.words}


@pytest.mark.parametrize(
    ("name", "family", "eos"),
    [
        ("unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", "llama-3.1", "<|eot_id|>"),
        ("unsloth/llama-3-8b-bnb-4bit", "llama-3", "<|end_of_text|>"),
        ("unsloth/Qwen3-8B-unsloth-bnb-4bit", "qwen-3", "<|im_end|>"),
        ("unsloth/gemma-3-4b-it", "gemma-3", "<eos>"),
        ("mistralai/Mistral-Nemo-Instruct-2407", "mistral-nemo", "</s>"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2", "<|im_end|>"),
    ],
)
def test_mirrors_and_4_bit_copies_are_of_the_family(name: str, family: str, eos: str) -> None:
    found = family_of(name)
    assert found is not None and (found.name, found.tokenizer.eos) == (family, eos)


def test_a_name_that_nobody_knows_has_no_family() -> None:
    assert family_of("somebody/some-model") is None
