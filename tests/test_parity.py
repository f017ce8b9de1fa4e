"""The same prompt token ids and the same end wherever a trained template goes: training, chat, serve, a merged folder,
a GGUF file and Ollama's Modelfile, for byte-level tokenizers and those of SentencePiece's kind. What llama.cpp itself
makes of them is in the slow test, and in scripts/template_parity.py with a trained model for each family."""

import functools
import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from finetune.answering.settings import Settings
from finetune.exporting.gguf_file import Source, write_gguf
from finetune.exporting.gguf_reading import UNPROVEN, LlamaReader, UnsplitReader
from finetune.exporting.gguf_tokens import vocabulary_of, write_specials
from finetune.exporting.go_template import go_of, layout_of, literal, render_go
from finetune.exporting.llama_split import LlamaSplit
from finetune.exporting.readers import TransformersReader
from finetune.formats.meaning import Conversation, Message, Row
from finetune.generation import Prompt, prompt_ids
from finetune.rendering.examples import IGNORED, tokenize_rows
from finetune.rendering.layouts import LAYOUTS
from finetune.serving.reading import chat_asked
from tests import tiny

TALKS = (
    ("how are you", "calm", "Add 1234567 and 89.01, please!", "warm"),
    ("naïve café – 東京 🙂 Привет", "I'LL, don't", "{{ .System }} and {% if x %}", "a\n\n\nb"),
    ("def f(x):\n\treturn  x**2", "tokens   spaces", "What's that?", "the sea."),
)


@functools.cache
def tokenizer_of(family: str) -> Any:
    return tiny.any_tokenizer(family)


def trained_on(tokenizer: Any, said: tuple[str, ...]) -> tuple[list[int], set[int], tuple[int, ...]]:
    """(the tokens before the last answer, those that end answers in the row, the run's stop tokens)."""
    turns = [Message("assistant" if place % 2 else "user", text) for place, text in enumerate(said)]
    lengths = {"sequence_len": 1024, "excess_length_strategy": "drop", "max_dropped_share": 1.0}
    rows = [Row("d", 1, Conversation(tuple(turns)))]
    done = tokenize_rows(rows=rows, tokenizer=tokenizer, lengths=lengths, labels=[{}])
    ids, labels = done.examples[0].input_ids, done.examples[0].labels
    last = max(place for place, label in enumerate(labels) if label != IGNORED)
    first = next(place for place in range(last, 0, -1) if labels[place - 1] == IGNORED)
    return list(ids[:first]), {ids[last]}, done.stop_ids


class Facts:
    """What is written into a GGUF file, as a reader of it finds it."""

    def __init__(self, tokenizer: Any, stops: tuple[int, ...], begins: bool) -> None:
        vocabulary = vocabulary_of(tokenizer, len(tokenizer))
        self.said: dict[str, Any] = {
            "model": vocabulary.model,
            "tokens": vocabulary.tokens,
            "token_type": vocabulary.types,
            "scores": vocabulary.scores,
            "add_space_prefix": vocabulary.space_prefix,
        }
        write_specials(self, tokenizer, stops, begins)

    def __getattr__(self, name: str) -> Any:
        return lambda value: self.said.__setitem__(name.removeprefix("add_"), value)

    @property
    def facts(self) -> dict[str, Any]:
        return {f"tokenizer.ggml.{name}": value for name, value in self.said.items()}

    @property
    def ends(self) -> set[int]:
        return {self.said[name] for name in ("eos_token_id", "eot_token_id", "eom_token_id") if name in self.said}


@pytest.mark.parametrize("family", tiny.EVERY_FAMILY)
@pytest.mark.parametrize("talk", TALKS, ids=("plain", "scripts", "spaces"))
def test_prompts_are_the_same_token_ids_everywhere(family: str, talk: tuple[str, ...], tmp_path: Path) -> None:
    tokenizer = tokenizer_of(family)
    trained, ends, stops = trained_on(tokenizer, talk)
    messages = [{"role": "assistant" if place % 2 else "user", "content": text} for place, text in enumerate(talk[:-1])]
    prompt = Prompt("", tuple(Message(turn["role"], turn["content"]) for turn in messages))
    assert prompt_ids(prompt, tokenizer) == trained, "chat"
    asked = chat_asked({"model": "m", "messages": messages}, ("m",), "chat_template", Settings(5))
    assert prompt_ids(asked.prompts[0], tokenizer) == trained, "serve"
    tokenizer.save_pretrained(tmp_path)
    saved = AutoTokenizer.from_pretrained(tmp_path)
    assert TransformersReader(None, saved, stops, official=True).ids(prompt) == trained, "the merged folder"
    written = Facts(saved, stops, begins=trained[0] == saved.bos_token_id)
    gguf = UnsplitReader(None, saved, stops, written.facts)
    assert gguf.ids(prompt) == trained, "GGUF"
    begin = str(saved.bos_token) if written.said["add_bos_token"] else ""
    made = go_of(layout_of(saved, begin))
    assert gguf.ids_of(render_go(made, "", messages)) == trained, "Ollama's Modelfile"
    assert ends <= set(stops) and ends <= written.ends, "what ended the answer in training ends it everywhere"
    assert (gguf.unproven == UNPROVEN) == (family not in tiny.SENTENCEPIECE)


GO = """package main
import ("encoding/json"; "os"; "strings"; "text/template")
type turn struct { Role, Content string }
type given struct { System, Template string; Messages []turn }
func main() {
  var all []given
  if err := json.NewDecoder(os.Stdin).Decode(&all); err != nil { panic(err) }
  found := []string{}
  for _, one := range all {
    var text strings.Builder
    if err := template.Must(template.New("").Parse(one.Template)).Execute(&text, one); err != nil { panic(err) }
    found = append(found, text.String())
  }
  json.NewEncoder(os.Stdout).Encode(found)
}
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="needs go on the path")
def test_gos_own_template_package_writes_what_the_reader_of_the_proof_does(tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text(GO)
    odd = '« a\u00a0b » 👩\u200d🌾 {{ x }} {% y %} "z"\r\n'
    tokenizer = tiny.tokenizer_of("llama3")
    asked: list[tuple[str, str, list[dict[str, str]]]] = []
    for layout in LAYOUTS.values():
        tokenizer.chat_template = layout.jinja
        made = literal(odd) + go_of(layout_of(tokenizer, "<|begin_of_text|>"))
        for talk in TALKS:
            said = ("user", "assistant", "user")
            turns = [{"role": role, "content": text} for role, text in zip(said, talk, strict=False)]
            asked += [(made, system, turns) for system in ("", odd)]
    rows = [
        {
            "Template": template,
            "System": system,
            "Messages": [{"Role": turn["role"], "Content": turn["content"]} for turn in turns],
        }
        for template, system, turns in asked
    ]
    environment = os.environ | {"HOME": str(tmp_path), "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
    done = subprocess.run(
        ["go", "run", "main.go"], input=json.dumps(rows), cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [render_go(*one) for one in asked]


def test_a_tokenizer_that_sees_a_space_already_is_told_apart_from_llama_cpp() -> None:
    """By Metaspace's `always` a text that begins with a space gets no other; llama.cpp puts one there all the same."""
    from tokenizers import normalizers, pre_tokenizers

    tokenizer = tiny.sentencepiece_tokenizer("llama2, SentencePiece")
    split = _split(tokenizer)
    assert split.prefixed and split.ids("<s> the") == tokenizer("<s> the", add_special_tokens=False)["input_ids"]
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("\u2581", "always", split=False)
    for text, same in (("<s>the sea", True), ("<s> the sea", False)):
        assert (split.ids(text) == tokenizer(text, add_special_tokens=False)["input_ids"]) == same


def _split(tokenizer: Any) -> LlamaSplit:
    made = vocabulary_of(tokenizer, len(tokenizer))
    return LlamaSplit(made.tokens, made.types, made.scores, made.space_prefix)


@pytest.mark.slow
@pytest.mark.parametrize("family", tiny.SENTENCEPIECE)
def test_llama_cpp_splits_as_is_computed_here_and_as_training_does(family: str, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    tokenizer, rng = tokenizer_of(family), random.Random(1)
    tiny.save_with(tmp_path, tokenizer)
    write_gguf(Source(tmp_path, tokenizer, [2], True, "tiny", {}), "f32", tmp_path / "x.gguf")
    reader, split = LlamaReader(tmp_path / "x.gguf", 512), _split(tokenizer)
    parts = ["the ", "sun ", "is", "warm", "  ", "\u2581", "\n", ".", "é", "12", "🙂", "</s>", "<unk>", "<s>", "[INST]"]
    for number in range(200):
        text = "<s>" + "".join(rng.choice(parts) for _ in range(number % 50))
        found = reader.ids_of(text)
        assert found == split.ids(text) == tokenizer(text, add_special_tokens=False)["input_ids"], text
    reader.close()
