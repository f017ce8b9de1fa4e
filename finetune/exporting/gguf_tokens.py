"""A tokenizer in GGUF's terms: tokens with their types, merges or scores, how text is split, special tokens and the
chat template. Refuses a tokenizer that llama.cpp would split differently; knows no weights."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.errors import ModelError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Types of a token, as GGUF numbers them."""
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s|"
)
_PATHS = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
SPLITS: Mapping[str, str] = {
    _WORDS + r"\p{N}{1,3}" + _REST: "llama-bpe",
    _WORDS + r"\p{N}" + _REST: "qwen2",
    _CASED % ("", "") + r"\p{N}" + _PATHS: "tekken",
    _CASED % (_ENDINGS, _ENDINGS) + r"\p{N}{1,3}" + _PATHS: "gpt-4o",
}
"""Regular expression that splits a text into words -> llama.cpp's name of it."""
WHOLE_WORDS = ("llama-bpe", "tekken")
"""Of them, those where llama.cpp takes a word that is a token as it is, whatever the merges say."""


@dataclass(frozen=True)
class Vocabulary:
    """`model`: gpt2 (byte-level BPE) or llama (SentencePiece's); `pre`: how text is split; one token for each row of
    the embeddings."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    space_prefix: bool = False


def vocabulary_of(tokenizer: Any, rows: int) -> Vocabulary:
    """ModelError if llama.cpp could not make the same tokens of a text."""
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    model = data["model"]
    if model.get("type") != "BPE":
        raise ModelError(f"a tokenizer of type {model.get('type')} cannot be written as GGUF here; BPE can")
    tokens, types = _tokens(model, data.get("added_tokens") or [], rows)
    merges = [" ".join(pair) if isinstance(pair, list) else str(pair) for pair in model.get("merges") or []]
    if model.get("byte_fallback"):
        return _sentencepiece(data, tokens, types, merges)
    return Vocabulary("gpt2", _split_of(data), tokens, types, merges=merges)


def _tokens(model: Mapping[str, Any], added: Sequence[Mapping[str, Any]], rows: int) -> tuple[list[str], list[int]]:
    highest = max([*model["vocab"].values(), *(token["id"] for token in added)], default=-1)
    if highest >= rows:
        raise ModelError(f"the tokenizer has a token {highest}, but the model has {rows} embeddings only")
    tokens, types = [f"[PAD{number}]" for number in range(rows)], [UNUSED] * rows
    bytes_ = bool(model.get("byte_fallback"))
    for text, number in model["vocab"].items():
        tokens[number] = text
        types[number] = BYTE if bytes_ and _is_byte(text) else NORMAL
        if bytes_ and text == model.get("unk_token"):
            types[number] = UNKNOWN
    for token in added:
        number = int(token["id"])
        tokens[number] = str(token["content"])
        if types[number] != UNKNOWN:
            types[number] = CONTROL if token.get("special") else USER_DEFINED
    return tokens, types


def _is_byte(text: str) -> bool:
    return len(text) == 6 and text.startswith("<0x") and text.endswith(">")


def _parts(part: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The steps of a normalizer or pre-tokenizer."""
    if part is None:
        return []
    inner = part.get("normalizers") or part.get("pretokenizers")
    return [step for each in inner for step in _parts(each)] if inner else [part]


def _split_of(data: Mapping[str, Any]) -> str:
    normalizers = [str(step["type"]) for step in _parts(data.get("normalizer"))]
    if any(name != "NFC" for name in normalizers):
        raise ModelError(f"the tokenizer changes text first ({', '.join(normalizers)}), which llama.cpp does not")
    steps = _parts(data.get("pre_tokenizer"))
    kinds = [str(step["type"]) for step in steps]
    if kinds and kinds[-1] == "ByteLevel" and not steps[-1].get("add_prefix_space"):
        alone = steps[-1].get("use_regex", True)
        if alone and kinds == ["ByteLevel"]:
            return "gpt-2"
        if alone and kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
            return "smollm"
        if not alone and kinds == ["Split", "ByteLevel"]:
            return _named_split(str(steps[0].get("pattern", {}).get("Regex")), bool(data["model"].get("ignore_merges")))
    raise ModelError(
        f"the tokenizer splits text in a way that llama.cpp has no name for ({' + '.join(kinds) or 'not at all'})"
    )


def _named_split(pattern: str, ignores_merges: bool) -> str:
    found = SPLITS.get(pattern)
    if found is None:
        raise ModelError(f"the tokenizer splits text by an expression that llama.cpp has no name for: {pattern}")
    if found == "llama-bpe" and not ignores_merges:
        return "dbrx"  # the same expression, and words go through the merges
    if ignores_merges != (found in WHOLE_WORDS):
        raise ModelError(
            f"the tokenizer splits text as llama.cpp's {found} does, but its merges count differently (ignore_merges)"
        )
    return found


def _sentencepiece(data: Mapping[str, Any], tokens: list[str], types: list[int], merges: Sequence[str]) -> Vocabulary:
    """Scores stand for the order of the merges: llama.cpp joins the pair whose token has the highest one."""
    numbers = {text: number for number, text in enumerate(tokens)}
    scores = [-1000.0 - len(merges)] * len(tokens)
    for rank, merge in enumerate(merges):
        number = numbers.get(merge.replace(" ", "", 1))
        if number is not None and scores[number] < -float(rank):
            scores[number] = -float(rank)
    return Vocabulary("llama", "default", tokens, types, scores=scores, space_prefix=_space_prefix(data))


def _space_prefix(data: Mapping[str, Any]) -> bool:
    """Whether every piece of text between special tokens gets a leading space. Where only the beginning of the whole
    text would, none does here: what this program renders begins with a special token."""
    steps = [*_parts(data.get("normalizer")), *_parts(data.get("pre_tokenizer"))]
    for step in steps:
        if step["type"] == "Prepend":
            return True
        if step["type"] == "Metaspace":
            return bool(step.get("prepend_scheme", "always") == "always")
    known = {"Replace", "Split"}
    other = [str(step["type"]) for step in steps if step["type"] not in known]
    if other:
        raise ModelError(f"the tokenizer changes text first ({', '.join(other)}), which llama.cpp does not")
    return False


def write_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
        writer.add_add_space_prefix(vocabulary.space_prefix)


STRIPPING = ("</s>", "<unk>", "<s>", "<|endoftext|>")
"""Tokens that llama.cpp looks up in a model that is called Phi-3."""


def name_for_tokens(name: str, tokenizer: Any) -> str:
    """The model's name as llama.cpp may read it: by `phi-3` in it, it takes the spaces after special tokens away, which
    is right where the tokenizer does so, and only there."""
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    added = data.get("added_tokens") or []
    known = tokenizer.get_vocab()
    if any(token.get("rstrip") for token in added) and all(text in known for text in STRIPPING):
        return name if re.search("phi-?3", name.lower()) else f"{name} (phi-3)"
    return re.sub("(?i)(phi)-?(3)", r"\1 \2", name)


def write_specials(writer: Any, tokenizer: Any, stop_ids: Sequence[int], begins: bool) -> None:
    """`begins`: prompts begin with the begin token, as training put them. The end of the turn is both what llama.cpp
    calls the end of a turn and, where the tokenizer has another end of sequence, that one too."""
    end = tokenizer.eos_token_id
    turn = next((token for token in stop_ids if token != end), end)
    writer.add_eos_token_id(int(end if end is not None else turn))
    if turn is not None:
        writer.add_eot_token_id(int(turn))
    if len([token for token in stop_ids if token not in (end, turn)]) == 1:
        writer.add_eom_token_id(int(next(token for token in stop_ids if token not in (end, turn))))
    for add, number in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_unk_token_id, tokenizer.unk_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if number is not None:
            add(int(number))
    writer.add_add_bos_token(begins)
    writer.add_add_eos_token(False)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)
