"""The callback that completes each measurement: the loss of a token, perplexity, scores of generated answers, sample
answers. Imports transformers: only the runner may import this module, once the backend is ready. Chooses nothing."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback

from finetune import ranks
from finetune.evaluation.asking import Asker
from finetune.evaluation.questions import Question, questions
from finetune.evaluation.scores import Answered, scores
from finetune.evaluation.trial import try_largest_batch
from finetune.generation import Answer, Prompt
from finetune.rendering.lengths import IGNORED
from finetune.rundir import RunDir

TABLE = "eval_answers.jsonl"
SAMPLES = "samples.jsonl"


@dataclass(frozen=True)
class Bench:
    """What a measurement stands on besides the trainer. `rows`: the validation rows; `prompts`: the sample questions;
    `config`: how these are answered."""

    asker: Asker
    rows: Any | None
    prompts: Sequence[Prompt]
    config: Any
    folder: RunDir


class Measuring(TrainerCallback):  # type: ignore[misc]
    """Adds figures to each measurement before anybody else sees it: the metrics file, the trackers, the choice of the
    best checkpoint.

    `per_token`: the loss is a mean over tokens, and perplexity is its exponential. `answers`: metrics, labels,
    max_new_tokens, rows, batch_size, prompt_ratio and table_size of generated answers. `samples`: how many sample
    questions, and every how many steps (None: at each measurement)."""

    def __init__(
        self,
        per_token: bool,
        answers: Mapping[str, Any] | None,
        samples: Mapping[str, Any] | None,
        bench: Bench,
    ) -> None:
        self.per_token, self.answers, self.samples, self.bench = per_token, answers, samples, bench
        self.trainer: Any = None
        self.batches: list[tuple[Any, Any]] = []
        self.added: dict[str, float] = {}
        self.first_step: int | None = None
        self._questions: list[Question] | None = None

    def attach(self, trainer: Any, listen: Callable[[], None] = lambda: None) -> None:
        """`listen`: NoNumbers if the step that was made broke the weights; nobody is to answer with them."""
        self.trainer, self.listen = trainer, listen
        if getattr(trainer, "flat", False):
            trainer.on_measured.append(self.batches.append)
        elif self.per_token:
            trainer.model.register_forward_hook(self._note_loss, with_kwargs=True)

    def _note_loss(self, model: Any, positional: Any, named: Mapping[str, Any], output: Any) -> None:
        """The loss of a batch and over how many tokens it is a mean; a first token is predicted by nothing."""
        del positional
        labels, loss = named.get("labels"), getattr(output, "loss", None)
        if model.training or labels is None or loss is None:
            return
        if getattr(output, "aux_loss", None) is not None:
            loss = loss - self.trainer.router_aux_loss_coef * output.aux_loss  # of routers: it says nothing of tokens
        tokens = (labels[:, 1:] != IGNORED).sum()
        divided_by = named.get("num_items_in_batch")
        self.batches.append((loss.detach().double() * (tokens if divided_by is None else divided_by), tokens))

    def try_eval_batch(self) -> None:
        """TrainingError if the largest batch of the validation rows does not fit into memory."""
        if self.bench.rows is not None:
            try_largest_batch(self.trainer)
            self.batches.clear()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, control, kwargs
        self.first_step = state.global_step + 1
        self.batches.clear()
        if ranks.this_rank().of > 1:
            self.try_eval_batch()  # before, the model was not shared out yet

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, control, kwargs
        if state.global_step == self.first_step and self.trainer.model.device.type != "cpu":
            self.try_eval_batch()  # now that the optimizer holds its memory
        if self.samples and self.samples["every"] and state.global_step % self.samples["every"] == 0:
            self.listen()
            self._ask_samples(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        del args, control, kwargs
        if logs is None or "eval_loss" not in logs:
            return
        started = time.monotonic()
        self.added = self._loss(logs["eval_loss"])
        if self.answers:
            self.added |= self._answered(state.global_step)
        if self.samples and not self.samples["every"]:
            self._ask_samples(state.global_step)
        if "eval_runtime" in logs:
            self.added["eval_runtime"] = logs["eval_runtime"] + round(time.monotonic() - started, 4)
        for figures in (logs, state.log_history[-1]):
            figures.update(self.added)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """TRL logs a copy; these are what the best checkpoint is chosen by."""
        del args, state, control, kwargs
        if metrics is not None:
            metrics.update(self.added)

    def _loss(self, loss: float) -> dict[str, float]:
        """The trainer's own figure is a mean over batches, which hangs on how the rows are batched."""
        if not self.per_token:
            return {}
        known = [(float(summed), int(tokens)) for summed, tokens in self.batches if int(tokens)]
        self.batches.clear()
        summed, tokens = ranks.totals([sum(summed for summed, _ in known), sum(tokens for _, tokens in known)])
        if tokens:
            loss = summed / tokens
        else:
            logging.getLogger(__name__).warning("no batch of the measurement was seen; its loss is a mean over batches")
        return {"eval_loss": loss, "eval_perplexity": math.exp(loss) if loss < 700 else math.inf}

    def _answered(self, step: int) -> dict[str, float]:
        assert self.answers is not None
        bench, given = self.bench, self.answers
        asked = self._asked()
        config = bench.asker.greedy(given["max_new_tokens"], bench.config)
        found = bench.asker.go_on([one.given for one in asked], config, given["batch_size"])
        expected = [bench.asker.text(one.expected) for one in asked]
        self._table(step, asked[: given["table_size"]], expected, found)
        if not given["metrics"]:
            return {}
        texts = [answer.text for answer in found]
        figures = scores(given["metrics"], Answered(texts, expected, given["labels"] or ()))
        figures["answers_stopped"] = sum(answer.stopped for answer in found) / len(found)
        return {f"eval_{name}": value for name, value in figures.items()}

    def _asked(self) -> list[Question]:
        assert self.answers is not None
        if self._questions is None:
            assert self.bench.rows is not None
            found = questions(self.bench.rows, self.answers["prompt_ratio"], self.answers["rows"])
            self._questions = self.bench.asker.that_fit(found, self.answers["max_new_tokens"])
        return self._questions

    def _table(self, step: int, asked: Sequence[Question], expected: Sequence[str], found: Sequence[Answer]) -> None:
        text = self.bench.asker.text
        self.bench.folder.append(
            TABLE,
            [
                {
                    "step": step,
                    "row": question.row,
                    "question": text(question.given),
                    "expected": wanted,
                    "answer": answer.text,
                    "stopped": answer.stopped,
                }
                for question, wanted, answer in zip(asked, expected, found, strict=False)
            ],
        )

    def _ask_samples(self, step: int) -> None:
        assert self.samples is not None
        prompts = self.bench.prompts[: self.samples["number"]]
        found = self.bench.asker.answer(prompts, self.bench.config)
        rows = [
            {"step": step, "question": prompt.question, "expected": prompt.expected} | vars(answer)
            for prompt, answer in zip(prompts, found, strict=True)
        ]
        self.bench.folder.append(SAMPLES, rows)
