"""Asking a model in the middle of its training, so that the training does not notice. Knows no metric."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from finetune.errors import DataError
from finetune.evaluation.questions import Question
from finetune.generation import Answer, Prompt, answers_to, continuations, read


@dataclass(frozen=True)
class Asker:
    """The model in training with its tokenizer. `backend`: the module that can make it ready to answer; `seed`: where
    sampling begins each time; `say`: shows a line."""

    model: Any
    tokenizer: Any
    backend: Any
    seed: int
    say: Callable[[str], None]

    def text(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text.strip()

    def greedy(self, max_new_tokens: int, like: Any) -> Any:
        """A GenerationConfig that always takes the most likely token, with the stop tokens of another."""
        from transformers import GenerationConfig

        return GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=like.eos_token_id,
            pad_token_id=like.pad_token_id,
        )

    def that_fit(self, asked: Sequence[Question], max_new_tokens: int) -> list[Question]:
        """The questions that leave room for an answer. DataError if there is none."""
        if not asked:
            raise DataError(
                "the validation rows hold no question with an answer that is learned, so there is nothing to generate: "
                "remove do_causal_lm_eval and eval_table_size, or name other rows in test_datasets"
            )
        limit = getattr(self.model.config, "max_position_embeddings", None)
        room = limit - max_new_tokens if isinstance(limit, int) else None
        fitting = [one for one in asked if room is None or len(one.given) <= room]
        if not fitting:
            raise DataError(
                f"no question of the validation rows leaves room for eval_max_new_tokens: {max_new_tokens} within the "
                f"{limit} positions of this model. Lower it"
            )
        if len(fitting) < len(asked):
            left = len(asked) - len(fitting)
            self.say(f"{left} of {len(asked)} questions leave no room for an answer and are not asked")
        return fitting

    def go_on(self, given: Sequence[Sequence[int]], config: Any, batch_size: int) -> list[Answer]:
        with self._ready(config):
            found = continuations(given, self.model, config, batch_size)
        return [read(new, self.tokenizer, config) for new in found]

    def answer(self, prompts: Sequence[Prompt], config: Any) -> list[Answer]:
        with self._ready(config):
            return answers_to(prompts, self.model, self.tokenizer, config, max(1, len(prompts)))

    @contextmanager
    def _ready(self, config: Any) -> Iterator[None]:
        """The model as it answers; its mode, its own generation settings and the random numbers as they were after."""
        import torch

        was_training, own = self.model.training, self.model.generation_config
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self.seed)
            self.backend.for_inference(self.model)
            # What the plan leaves unset would else be filled in from the checkpoint's own generation_config.
            self.model.generation_config = config
            try:
                yield
            finally:
                self.model.generation_config = own
                self.backend.for_training(self.model)
                self.model.train(was_training)
