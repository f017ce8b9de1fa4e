"""A GGUF file -> what `ollama create` reads: a Modelfile with the trained template, stop tokens and sampling; and the
proof that prompts come out of it as in training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune.errors import ModelError
from finetune.exporting.finished import Finished
from finetune.exporting.gguf_reading import GgufReader
from finetune.exporting.go_template import PLACE, Layout, go_of, go_of_text, layout_of, printed, render_go
from finetune.exporting.proof import Proof
from finetune.exporting.readers import Logits
from finetune.generation import Prompt
from finetune.rendering.texts import begin_of_text

CONTEXT = 4096
"""Tokens of a conversation that Ollama keeps where nothing else is said."""
TRIMMED = (
    "the template takes the spaces around a message away, which Ollama's language cannot: only messages without such "
    "spaces come out as in training"
)
UNSAID = "the template takes no system message, and Ollama leaves one out without a word"


@dataclass(frozen=True)
class Modelfile:
    """`template`: in Go's language; `layout`: what it was made of, None for a run without a chat template."""

    text: str
    template: str
    layout: Layout | None


def modelfile(run: Finished, tokenizer: Any, begins: bool, file: str) -> Modelfile:
    """`begins`: Ollama puts the begin token before every prompt, as the GGUF file tells it to.

    ModelError if the template cannot be put into Ollama's language."""
    begin = str(tokenizer.bos_token) if begins else ""
    if run.style == "chat_template":
        layout = layout_of(tokenizer, begin)
        template = go_of(layout)
    else:
        layout = None
        ours = "" if begins else begin_of_text(tokenizer)
        template = go_of_text(ours + (run.style if PLACE in run.style else ""))
        if PLACE not in run.style:
            template = ours + "{{ .Prompt }}"
    lines = [f"FROM ./{file}", f"TEMPLATE {_quoted(template)}"]
    system = str(run.keys.get("default_system_message") or "")
    if system and layout is not None and layout.system is not None and _can_stand(system):
        lines.append(f"SYSTEM {_quoted(system)}")  # one that cannot stand here is in the template all the same
    stops = [str(tokenizer.convert_ids_to_tokens(token)) for token in run.stop_ids]
    stops += [str(text) for text in run.keys.get("generation_stop") or ()]
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in stops]
    lines += [f"PARAMETER {name} {value}" for name, value in _parameters(run).items()]
    return Modelfile("\n".join(lines) + "\n", template, layout)


def _parameters(run: Finished) -> dict[str, Any]:
    """The run's own sampling, and no penalty where it had none: Ollama would else add one. One that it has counts the
    whole conversation, and not Ollama's last 64 tokens."""
    sampling = run.sampling
    penalty = sampling.pop("repetition_penalty")
    reach = {"repeat_last_n": -1} if penalty != 1 else {}
    length = int(run.keys.get("sequence_len") or CONTEXT)
    return {**sampling, "repeat_penalty": penalty, **reach, "num_ctx": max(CONTEXT, length)}


def _can_stand(text: str) -> bool:
    return '"""' not in text and all(map(printed, text))


def _quoted(text: str) -> str:
    """As Ollama reads it: what stands between quotes as it is, without escapes, save for what it drops.

    ModelError for a text that would not come out whole."""
    if not _can_stand(text):
        raise ModelError(f'{text!r} cannot stand in a Modelfile, which has no """ and no characters without a shape')
    return f'"""{text}"""' if '"' in text or "\n" in text or "\r" in text else f'"{text}"'


class OllamaReader:
    """A GGUF file under a Modelfile: prompts as Ollama's template makes them, the rest as the file's own reader."""

    def __init__(self, inner: GgufReader, made: Modelfile) -> None:
        self.inner, self.made = inner, made
        self.by = f"{inner.by}, prompts by the Modelfile's template"

    def ids(self, prompt: Prompt) -> list[int]:
        return self.inner.ids_of(self.prompt_text(prompt))

    def prompt_text(self, prompt: Prompt) -> str:
        layout = self.made.layout
        if layout is None:
            return prompt.text
        turns = [{"role": turn.role, "content": turn.content} for turn in prompt.messages]
        if layout.trims:
            turns = [{**turn, "content": turn["content"].strip()} for turn in turns]
        system = "\n\n".join(turn["content"] for turn in turns if turn["role"] == "system")
        return render_go(self.made.template, system, turns)

    def logits(self, ids: Sequence[int], last: int) -> Logits:
        return self.inner.logits(ids, last)

    def answer(self, ids: Sequence[int], limit: int) -> tuple[list[int], bool]:
        return self.inner.answer(ids, limit)

    def text(self, ids: Sequence[int]) -> str:
        return self.inner.text(ids)


def write_modelfile(run: Finished, tokenizer: Any, begins: bool, file: Path) -> Modelfile:
    made = modelfile(run, tokenizer, begins, file.name)
    (file.parent / "Modelfile").write_text(made.text, "utf-8")
    return made


def with_note(proof: Proof, made: Modelfile) -> Proof:
    """The proof, with what Ollama's language cannot say."""
    if made.layout is None:
        return proof
    notes = (TRIMMED,) * made.layout.trims + (UNSAID,) * (made.layout.system is None)
    return replace(proof, warnings=(*proof.warnings, *notes))
