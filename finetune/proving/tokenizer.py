"""A made-up tokenizer: a small byte-level BPE vocabulary learned from the rows at hand, with a family's special tokens
and chat template. Stands in for a real one that is not on this machine; knows no recipe and no model."""

from collections.abc import Iterable, Sequence
from typing import Any

from finetune.proving.families import TokenizerFacts
from finetune.rendering.layouts import SHIPPED
from finetune.rendering.templates import MARKS, set_template

VOCABULARY = 640
TEXTS = 400
CHARACTERS = 4_000
"""Of a text at most."""
GENERAL = TokenizerFacts(("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"), eos="<|im_end|>", pad="<|pad|>")
"""Of a model of no family known here, which gets the marks of ChatML and those of the recipe's own template."""


def marks_of(template: str) -> tuple[str, ...]:
    """The tokens that a chat template kept by name writes."""
    return MARKS[template] if template in MARKS else SHIPPED[template][1] if template in SHIPPED else ()


def made_tokenizer(facts: TokenizerFacts, texts: Iterable[str], positions: int) -> Any:
    """The tokenizer. `positions`: tokens that the model can take."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(_short(texts), trainer)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in facts.special])
    backend.add_tokens([AddedToken(token, special=False, normalized=False) for token in facts.words])
    if facts.adds_bos and facts.bos:
        begin = [(facts.bos, backend.token_to_id(facts.bos))]
        backend.post_processor = processors.TemplateProcessing(single=f"{facts.bos} $A", special_tokens=begin)
    names = {"bos_token": facts.bos, "eos_token": facts.eos, "pad_token": facts.pad, "unk_token": facts.unk}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=positions,
        clean_up_tokenization_spaces=False,
        **{name: token for name, token in names.items() if token},
    )
    if facts.template:
        set_template(name=facts.template, jinja=None, tokenizer=tokenizer)
    return tokenizer


def _short(texts: Iterable[str]) -> Sequence[str]:
    """Sorted, so that the vocabulary hangs on the texts alone."""
    return sorted({text[:CHARACTERS] for _, text in zip(range(TEXTS), texts, strict=False)})
