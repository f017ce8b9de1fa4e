"""A GGUF file read again: by llama.cpp where llama-cpp-python is installed, as any of its users would; else its weights
by transformers, which proves them and the template, but not how llama.cpp splits text and runs the model."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from finetune.errors import ModelError
from finetune.exporting.gguf_file import read_back
from finetune.exporting.llama_split import LlamaSplit
from finetune.exporting.llama_template import GIVEN
from finetune.exporting.merging import load_folder, load_tokenizer
from finetune.exporting.readers import Logits, TransformersReader
from finetune.generation import Prompt, prompt_text
from finetune.rendering.template import as_dicts, renderer_of

TEMPLATE = "tokenizer.chat_template"
PREFIX = "tokenizer.ggml.add_space_prefix"
UNPROVEN = (
    "llama-cpp-python is not installed: weights, template and stop tokens were read back, but how llama.cpp splits text"
    " and runs the model was not tried (pip install 'finetune-recipes[llama]')"
)


class _Named:
    """What llama.cpp's server gives a template by name, as a tokenizer carries it."""

    def __init__(self, template: str | None, specials: Mapping[str, str]) -> None:
        self.chat_template, self.special_tokens_map = template, {**specials, **GIVEN}


class LlamaReader:
    """llama.cpp, with keys and values in float32, so that what is measured is the file."""

    def __init__(self, path: Path, context: int) -> None:
        import llama_cpp

        self._library = llama_cpp
        try:
            self._model = llama_cpp.Llama(
                model_path=str(path),
                n_ctx=context,
                n_batch=context,
                logits_all=True,
                verbose=False,
                n_gpu_layers=0,
                type_k=llama_cpp.GGML_TYPE_F32,
                type_v=llama_cpp.GGML_TYPE_F32,
            )
        except (ValueError, RuntimeError, OSError) as error:
            raise ModelError(f"llama.cpp cannot load {path.name}: {str(error).splitlines()[0]}") from error
        self.by = f"llama.cpp (llama-cpp-python {llama_cpp.__version__})"
        self._vocabulary = self._model._model.vocab
        facts = self._model.metadata
        self._adds_begin = facts.get("tokenizer.ggml.add_bos_token") == "true"
        names = {"bos_token": self._piece(self._model.token_bos()), "eos_token": self._piece(self._model.token_eos())}
        self._begin = names["bos_token"]
        self.templated = _Named(facts.get(TEMPLATE), names)
        self._render = renderer_of(self.templated) if TEMPLATE in facts else None

    def close(self) -> None:
        self._model.close()

    def _piece(self, token: int) -> str:
        return "" if token < 0 else str(self._library.llama_vocab_get_text(self._vocabulary, token).decode("utf-8"))

    def ids(self, prompt: Prompt) -> list[int]:
        """As llama.cpp's server does: the template's text without the begin token, which the tokenizer puts there."""
        text = prompt.text
        if prompt.messages:
            assert self._render is not None
            text = self._render(as_dicts(prompt.messages), prompt.tools, True)
        return self.ids_of(text)

    def ids_of(self, text: str) -> list[int]:
        if self._adds_begin and self._begin:
            text = text.removeprefix(self._begin)
        return list(self._model.tokenize(text.encode("utf-8"), add_bos=True, special=True))

    def logits(self, ids: Sequence[int], last: int) -> Logits:
        self._model.reset()
        self._model.eval(list(ids))
        return np.array(self._model.scores[len(ids) - last : len(ids)], dtype=np.float32)

    def answer(self, ids: Sequence[int], limit: int) -> tuple[list[int], bool]:
        self._model.reset()
        self._model.eval(list(ids))
        found: list[int] = []
        while len(found) < limit:
            token = int(self._model.scores[len(ids) + len(found) - 1].argmax())
            found.append(token)
            if self._library.llama_vocab_is_eog(self._vocabulary, token):
                return found, True
            if len(found) < limit:
                self._model.eval([token])
        return found, False

    def text(self, ids: Sequence[int]) -> str:
        return str(self._model.detokenize(list(ids), special=False).decode("utf-8", "replace")).strip()

    def ends(self, token: int) -> bool:
        """Whether llama.cpp stops at a token."""
        return bool(self._library.llama_vocab_is_eog(self._vocabulary, token))


SPLIT = (
    "llama-cpp-python is not installed: weights, template and stop tokens were read back and texts split as llama.cpp "
    "does, but how it runs the model was not tried (pip install 'finetune-recipes[llama]')"
)


class UnsplitReader(TransformersReader):
    """The weights and the template of a GGUF file. Texts are split by its own vocabulary if that is of SentencePiece's
    kind, else by the tokenizer that it was made of."""

    def __init__(self, model: Any, tokenizer: Any, stop_ids: Sequence[int], facts: Mapping[str, Any]) -> None:
        super().__init__(model, tokenizer, stop_ids, official=True)
        self.by += " (not llama.cpp)"
        self._begin = str(tokenizer.bos_token or "") if facts.get("tokenizer.ggml.add_bos_token") else ""
        self.templated = _Named(tokenizer.chat_template, tokenizer.special_tokens_map)
        self._split = _split_of(facts) if facts.get("tokenizer.ggml.model") == "llama" else None
        self.unproven = SPLIT if self._split else UNPROVEN

    def ids(self, prompt: Prompt) -> list[int]:
        return self.ids_of(prompt_text(prompt, self.templated if prompt.messages else self.tokenizer))

    def ids_of(self, text: str) -> list[int]:
        text = self._begin + text.removeprefix(self._begin)
        if self._split is not None:
            return self._split.ids(text)
        return [int(token) for token in self.tokenizer(text, add_special_tokens=False)["input_ids"]]


def _split_of(facts: Mapping[str, Any]) -> LlamaSplit:
    tokens, types, scores = (facts[f"tokenizer.ggml.{name}"] for name in ("tokens", "token_type", "scores"))
    return LlamaSplit(tokens, types, scores, bool(facts.get(PREFIX)))


GgufReader = LlamaReader | UnsplitReader


def llama_cpp_there() -> bool:
    return find_spec("llama_cpp") is not None


def open_gguf(path: Path, merged: Path, context: int, attention: str | None = None) -> GgufReader:
    """`context`: tokens that the longest prompt and its answer take. `attention`: the run's, where transformers reads
    the file."""
    if llama_cpp_there():
        return LlamaReader(path, context)
    return by_transformers(path, merged, attention)


def by_transformers(path: Path, merged: Path, attention: str | None = None) -> "UnsplitReader":
    """ModelError if the file's vocabulary is not the tokenizer's."""
    import torch

    tokenizer = load_tokenizer(merged)
    facts = gguf_facts(path)
    _same_vocabulary(facts, tokenizer)
    tokenizer.chat_template = facts.get(TEMPLATE)
    model = load_folder(merged, False, attention).float()
    weights = {name: torch.from_numpy(weight) for name, weight in read_back(path, merged).items()}
    model.load_state_dict(weights, strict=False)
    stops = [facts[name] for name in ENDS if name in facts]
    return UnsplitReader(model.eval(), tokenizer, [int(stop) for stop in stops], facts)


ENDS = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")


def gguf_facts(path: Path) -> dict[str, Any]:
    """What a GGUF file says besides its weights."""
    from gguf import GGUFReader

    reader = GGUFReader(path)
    return {name: field.contents() for name, field in reader.fields.items()}


def _same_vocabulary(facts: Mapping[str, Any], tokenizer: Any) -> None:
    tokens = facts["tokenizer.ggml.tokens"]
    wrong = next((text for text, number in tokenizer.get_vocab().items() if tokens[number] != text), None)
    if wrong is not None:
        raise ModelError(f"the GGUF file has another token in the place of {wrong!r}")
