"""Tiny real models and tokenizers for tests: byte-level BPE, two-layer Llama, the special tokens of a family."""

import random
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from finetune.rendering.layouts import LAYOUTS

WORDS = "the sun is warm and the sea is calm today we walk home and talk about small things you ask I answer".split()
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# A trailing end-of-text after the last turn only, as Phi-3.5's own template writes it.
PHI = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
FAMILIES = {
    "chatml": (["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "<|endoftext|>", None, CHATML),
    "phi": (["<s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"], "<|endoftext|>", None, PHI),
    "llama3": (
        ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        "<|end_of_text|>",
        "<|begin_of_text|>",
        LLAMA3,
    ),
    "gemma": (["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"], "<eos>", "<bos>", GEMMA),
}

MORE_FAMILIES = {
    "mistral": (["<s>", "</s>", "[INST]", "[/INST]"], "</s>", "<s>", LAYOUTS["mistral_v3_tekken"].jinja),
    "phi_3": (
        ["<s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"],
        "<|endoftext|>",
        "<s>",
        LAYOUTS["phi_3"].jinja,
    ),
    "llama2": (["<s>", "</s>"], "</s>", "<s>", LAYOUTS["llama2"].jinja),
}
SENTENCEPIECE = {
    "llama2, SentencePiece": ([], "prepend", "llama2"),
    "mistral, SentencePiece": (["[INST]", "[/INST]"], "first", "mistral_v2v3"),
    "gemma, SentencePiece": (["<start_of_turn>", "<end_of_turn>"], "none", "gemma"),
}
"""Special tokens beside <unk>, <s> and </s>; where text gets a leading space; the layout of the template."""


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def tokenizer_of(family: str) -> PreTrainedTokenizerFast:
    return tokenizer_with(*FAMILIES[family])


def tokenizer_with(specials: list[str], eos: str, bos: str | None, template: str) -> PreTrainedTokenizerFast:
    rng = random.Random(0)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator((sentence(rng, 20) for _ in range(200)), trainer)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in [*specials, "<pad>"]])
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    names = {"eos_token": eos, "pad_token": "<pad>"} | ({"bos_token": bos} if bos else {})
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=4096, **names)
    tokenizer.chat_template = template
    return tokenizer


def sentencepiece_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Bytes for what has no token, and every pair that makes a token among the merges, as SentencePiece's models are
    converted."""
    more, spaced, layout = SENTENCEPIECE[family]
    rng = random.Random(0)
    seen = Tokenizer(models.BPE())
    seen.normalizer = normalizers.Replace(" ", "\u2581")
    odd = ["a\n\n\nb", "tokens   spaces", "What's that?"] * 30
    trainer = trainers.BpeTrainer(vocab_size=160, show_progress=False)
    seen.train_from_iterator([" " + sentence(rng, 20) for _ in range(100)] + odd, trainer)
    known = sorted(seen.get_vocab(), key=lambda text: (len(text) == 1, seen.token_to_id(text)))
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *known]
    vocab = {text: number for number, text in enumerate(tokens)}
    pairs = [(text[:at], text[at:]) for text in known for at in range(1, len(text))]
    merges = [pair for pair in pairs if pair[0] in vocab and pair[1] in vocab]
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    replaced = normalizers.Replace(" ", "\u2581")
    if spaced == "first":
        backend.pre_tokenizer = pre_tokenizers.Metaspace("\u2581", "first", split=False)
    else:
        lead = [normalizers.Prepend("\u2581")] if spaced == "prepend" else []
        backend.normalizer = normalizers.Sequence([*lead, replaced])
    strip = [] if spaced == "none" else [decoders.Strip(" ", 1, 0)]
    back = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    backend.decoder = decoders.Sequence(back)
    specials = ["<unk>", "<s>", "</s>", *more, "<pad>"]
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=4096, **names)
    tokenizer.chat_template = LAYOUTS[layout].jinja
    return tokenizer


def any_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Of FAMILIES, MORE_FAMILIES or SENTENCEPIECE."""
    if family in SENTENCEPIECE:
        return sentencepiece_tokenizer(family)
    return tokenizer_with(*(FAMILIES | MORE_FAMILIES)[family])


EVERY_FAMILY = (*FAMILIES, *MORE_FAMILIES, *SENTENCEPIECE)


def save_model(folder: Path, family: str = "chatml") -> Path:
    return save_with(folder, tokenizer_of(family))


def save_with(folder: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
