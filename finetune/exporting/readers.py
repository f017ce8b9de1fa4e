"""What asks a model: token ids, logits and answers, the same questions to every kind of artefact. Compares nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from finetune.generation import Prompt, prompt_ids
from finetune.rendering.template import as_dicts

Logits = np.ndarray[Any, np.dtype[np.float32]]
COMPARED_TOKENS = 32
"""Tokens of an answer whose logits are compared."""


class Reader(Protocol):
    """`by`: which program read the artefact."""

    by: str

    def ids(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt, as whoever uses the artefact gets them."""

    def logits(self, ids: Sequence[int], last: int) -> Logits:
        """float32 (last, V): of the last positions."""

    def answer(self, ids: Sequence[int], limit: int) -> tuple[list[int], bool]:
        """(the most likely tokens, up to `limit`; whether it stopped by itself)."""

    def text(self, ids: Sequence[int]) -> str: ...


@dataclass(frozen=True)
class Measured:
    """What a model made of one prompt. `answer`: token ids; `logits`: float32 (positions, V), where the reference's
    answer is read after the prompt."""

    ids: list[int]
    answer: list[int]
    stopped: bool
    logits: Logits
    text: str


class TransformersReader:
    """A model in memory. `official`: prompts are put as the library's own users put them, by apply_chat_template, and
    not as training does."""

    def __init__(self, model: Any, tokenizer: Any, stop_ids: Sequence[int], official: bool) -> None:
        import transformers

        self.model, self.tokenizer, self.official = model, tokenizer, official
        self.stop_ids = list(stop_ids)
        self.writes = getattr(model, "score", None) is None
        self.by = f"transformers {transformers.__version__}"

    def ids(self, prompt: Prompt) -> list[int]:
        if not (self.official and prompt.messages):
            return prompt_ids(prompt, self.tokenizer)
        made = self.tokenizer.apply_chat_template(
            as_dicts(prompt.messages), tools=prompt.tools, add_generation_prompt=True, return_dict=True
        )
        return [int(token) for token in made["input_ids"]]

    def logits(self, ids: Sequence[int], last: int) -> Logits:
        import torch

        with torch.no_grad():
            output = self.model(input_ids=torch.tensor([list(ids)], device=self.model.device)).logits
        rows = output[0, -last:] if output.dim() == 3 else output
        return np.asarray(rows.float().cpu().numpy(), dtype=np.float32)

    def answer(self, ids: Sequence[int], limit: int) -> tuple[list[int], bool]:
        import torch
        from transformers import GenerationConfig

        if not self.writes:
            return [], False
        config = GenerationConfig(
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=self.stop_ids or None,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        # What is unset here would else be filled in from the checkpoint's own.
        self.model.generation_config = config
        given = torch.tensor([list(ids)], device=self.model.device)
        with torch.no_grad():
            output = self.model.generate(
                input_ids=given, attention_mask=torch.ones_like(given), generation_config=config
            )
        new = output[0, len(ids) :].tolist()
        return new, bool(new) and new[-1] in self.stop_ids

    def text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def stop_ids_of(folder: Path) -> list[int]:
    """The stop tokens that a saved model's own generation_config.json names; none of a model that scores."""
    from transformers import GenerationConfig

    if not (folder / "generation_config.json").is_file():
        return []
    found = GenerationConfig.from_pretrained(str(folder)).eos_token_id
    return [found] if isinstance(found, int) else list(found or [])


def measure(
    reader: Reader, prompts: Sequence[Prompt], limit: int, along: Sequence[Measured] | None = None
) -> list[Measured]:
    """What the model makes of each prompt; an answer has `limit` tokens at most. `along`: another's measurements, whose
    answers are read for the logits, so that both are compared on the same tokens."""
    found = []
    for number, prompt in enumerate(prompts):
        ids = reader.ids(prompt)
        answer, stopped = reader.answer(ids, limit)
        path = (along[number].answer if along is not None else answer)[:COMPARED_TOKENS]
        before = along[number].ids if along is not None else ids
        logits = reader.logits([*before, *path], len(path) + 1)
        found.append(Measured(ids, answer, stopped, logits, reader.text(answer)))
    return found
