"""The trainer's callback that tries the largest batch before the first step, so that a memory too small ends a run in
its first minute, and that measures how much memory training took. Leaves no trace in what is trained.

Imports transformers: only the stages import this module, once the backend is ready."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback

from finetune import progress
from finetune.aftermath import Explained, is_no_memory
from finetune.memory.estimate import GIB, Estimate, Pass
from finetune.memory.peak import Peak

DRAWN = 2_000_000
"""Rows of the order to come that are looked through for the largest batch."""
TRIED = (
    *("SFTTrainer", "FlatSFTTrainer", "SharingSFTTrainer", "DPOTrainer", "ORPOTrainer", "CPOTrainer", "KTOTrainer"),
    "RewardTrainer",
)
"""Trainers whose batches can be made and computed apart from their training."""


class First(TrainerCallback):  # type: ignore[misc]
    """`estimate`: the memory for a largest pass, or None where it is not known. `patch`: what to say of a memory that
    is too small. `peak`: what was measured until training began; `measured`: the peak of the training, in bytes."""

    def __init__(self, estimate: Callable[[Pass], Estimate | None], patch: Callable[[Pass | None], str]) -> None:
        self.estimate, self.patch = estimate, patch
        self.trainer: Any = None
        self.largest: Pass | None = None
        self.foreseen: Estimate | None = None
        self.peak = Peak()
        self.measured = 0

    def attach(self, trainer: Any) -> "First":
        self.trainer = trainer
        trainer.add_callback(self)
        return self

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, state, control
        import torch

        if not torch.cuda.is_available():
            return
        self.peak.begin()
        if _can_be_tried(self.trainer):
            self.try_largest(kwargs.get("train_dataloader"))
        elif _can_be_foreseen(self.trainer):
            self.foresee_largest(kwargs.get("train_dataloader"))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, state, control, kwargs
        import torch

        if torch.cuda.is_available():
            self.measured = self.peak.of_training(self.trainer.optimizer)

    def facts(self) -> dict[str, Any] | None:
        """Figures of the run; None where nothing was measured."""
        if not self.measured:
            return None
        foreseen = self.foreseen.as_json() if self.foreseen else None
        ratio = round(self.foreseen.peak / self.measured, 3) if self.foreseen else None
        measured = {"measured_gib": round(self.measured / GIB, 3), "before_gib": round(self.peak.before / GIB, 3)}
        return measured | {"estimate": foreseen, "estimated_to_measured": ratio}

    def foresee_largest(self, loader: Any) -> None:
        """The estimate for the largest batch to come, which is made and not computed. None where another library's
        batches are not what is known here: it is a figure for the closing table alone."""
        random = progress.random_state()
        try:
            rows = largest_rows(loader, self.trainer)
            if rows:
                bound = getattr(self.trainer.args, "tokens_per_pass", None)
                self.largest = pass_of(largest_of(_batch(loader, rows), bound))
                self.foreseen = self.estimate(self.largest)
        except Exception as error:  # noqa: BLE001 - the run goes on without that figure
            logging.getLogger(__name__).warning("the largest batch was not foreseen: %s", error)
            self.largest = self.foreseen = None
        finally:
            progress.set_random_state(random)

    def try_largest(self, loader: Any) -> None:
        """Forward and backward of the largest batch to come, forgotten at once. TrainingError if memory does not hold
        it."""
        trainer = self.trainer
        rows = largest_rows(loader, trainer)
        if not rows:
            return
        import torch

        try:
            with _unchanged(trainer):
                batch = largest_of(_batch(loader, rows), getattr(trainer.args, "tokens_per_pass", None))
                self.largest = pass_of(batch)
                self.foreseen = self.estimate(self.largest)
                room = _states_to_come(trainer, self.foreseen)
                trainer.model.train()
                # The training loop sets it anew with each step.
                trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
                trainer.training_step(trainer.model, batch)
                self.peak.tried(room.numel() if room is not None else None)
                del room, batch
        except (RuntimeError, MemoryError) as error:
            if not is_no_memory(error):
                raise
            tokens = f", {self.largest.tokens:,} tokens" if self.largest else ""
            first = (str(error).splitlines() or ["no memory"])[0]
            raise Explained(
                f"the memory does not hold the largest batch ({len(rows)} rows{tokens}), which is tried before the "
                f"first step: {first}{self.patch(self.largest)}"
            ) from error
        finally:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _can_be_tried(trainer: Any) -> bool:
    """DeepSpeed keeps gradients where a trial would leave them; Unsloth, whose trainers have names of their own, goes
    through a training step in its own way."""
    return type(trainer).__name__ in TRIED and not getattr(trainer, "is_deepspeed_enabled", False)


def _can_be_foreseen(trainer: Any) -> bool:
    return type(trainer).__name__.removeprefix("Unsloth") in TRIED


def largest_rows(loader: Any, trainer: Any) -> list[int]:
    """The rows of the batch that takes most, of all that the order of the rows will bring; none where that cannot be
    known before."""
    dataset = trainer.train_dataset
    if not hasattr(dataset, "column_names") or not hasattr(loader, "batch_sampler"):
        return []
    lengths = lengths_of(dataset)
    flat = bool(getattr(trainer, "flat", False))
    best: list[int] = []
    size = 0
    for batch in _drawn(loader, trainer.args):
        # Beyond them is what fills the last batches of several processes.
        batch = [row for row in batch if row < len(lengths)]
        of_rows = [lengths[row] for row in batch]
        if not of_rows:
            continue
        tokens = sum(of_rows) if flat else len(of_rows) * max(of_rows)
        if tokens > size:
            best, size = [int(row) for row in batch], tokens
    return best


def lengths_of(dataset: Any) -> list[int]:
    """Tokens of each row, whatever its columns are named."""
    from pyarrow import compute

    total = [0] * len(dataset)
    table = dataset.with_format("arrow")
    names = [name for name in dataset.column_names if name.endswith("_ids")]
    for name in names or dataset.column_names[:1]:
        counts = compute.list_value_length(table[:][name]).to_pylist()
        total = [sum(pair) for pair in zip(total, (count or 0 for count in counts), strict=True)]
    return total


def _drawn(loader: Any, args: Any) -> Iterator[Sequence[int]]:
    """The batches of the epochs to come, in rows; their source of random numbers is left as it was."""
    sampler = progress.sampler_of(loader)
    generator = getattr(sampler, "generator", None)
    kept = generator.get_state() if generator is not None else None
    batches = loader.batch_sampler
    while hasattr(batches, "batch_sampler"):
        batches = batches.batch_sampler
    seed = args.seed if args.data_seed is None else args.data_seed
    seen = 0
    try:
        for epoch in range(math.ceil(args.num_train_epochs)):
            if generator is not None:
                generator.manual_seed(seed + epoch)
            for batch in batches:
                yield batch
                seen += len(batch)
            if seen > DRAWN or generator is None:
                return
    finally:
        if generator is not None:
            generator.set_state(kept)


def _batch(loader: Any, rows: Sequence[int]) -> dict[str, Any]:
    """As the loader will make it, of the columns that are left there."""
    made: dict[str, Any] = loader.collate_fn([loader.dataset[row] for row in rows])
    return made


def largest_of(batch: dict[str, Any], tokens_per_pass: int | None) -> dict[str, Any]:
    """Of a batch that is cut into passes, the one with most tokens."""
    if "cu_seq_lens_q" not in batch or not tokens_per_pass:
        return batch
    from finetune.kernels.flat import passes_of

    passes = list(passes_of(batch, tokens_per_pass))
    return max(passes, key=lambda one: one["input_ids"].numel()) if passes else batch


def pass_of(batch: dict[str, Any]) -> Pass:
    """The sizes of a batch as the model gets it."""
    ids = batch.get("input_ids")
    if ids is None:
        sides = [value for name, value in batch.items() if name.endswith("input_ids") and name != "prompt_input_ids"]
        tokens = sum(value.numel() for value in sides)
        return Pass(tokens, tokens, max((value.shape[-1] for value in sides), default=tokens))
    if "targets" in batch:
        return Pass(ids.numel(), len(batch["targets"]), batch["max_length_q"])
    labels, mask = batch.get("labels"), batch.get("completion_mask")
    learned = int(mask.sum()) if mask is not None else ids.numel()
    if labels is not None:
        learned = int((labels != -100).sum())
    return Pass(ids.numel(), learned, ids.shape[-1])


def _states_to_come(trainer: Any, foreseen: Estimate | None) -> Any:
    """Room for the optimizer's states, which the first step makes: the largest batch may come after it."""
    import torch

    there = trainer.optimizer is not None and len(trainer.optimizer.state) > 0
    if foreseen is None or there or not torch.cuda.is_available():
        return None
    return torch.empty(int(foreseen.optimizer), dtype=torch.uint8, device="cuda")


@contextmanager
def _unchanged(trainer: Any) -> Iterator[None]:
    """No gradient, no random number and no figure of the trial is left."""
    import torch

    random, sums = progress.random_state(), progress.capture(trainer)
    state = trainer.state
    seen = getattr(state, "num_input_tokens_seen", 0)
    training = trainer.model.training
    try:
        yield
    finally:
        trainer.model.zero_grad(set_to_none=True)
        trainer.model.train(training)
        state.num_input_tokens_seen = seen
        progress.restore(trainer, sums)
        _emptied(trainer, sums)
        progress.set_random_state(random)
        if torch.cuda.is_available():
            torch.cuda.synchronize()


def _emptied(trainer: Any, sums: dict[str, Any]) -> None:
    """Lists that were not there before."""
    for name in progress.LISTS:
        now, before = getattr(trainer, name, None), sums["lists"].get(name, {})
        if not isinstance(now, dict):
            continue
        for group, values in now.items():
            for inner in (
                [key for key in values if key not in before.get(group, {})] if isinstance(values, dict) else ()
            ):
                del values[inner]
