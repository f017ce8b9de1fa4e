"""A witness beside the trainer: it keeps the first batches as the trainer makes them, and computes the first loss from
them by hand, row by row, with nothing but the model and a cross-entropy. Changes nothing of the training.

Imports transformers: only a Plan that is carried out may import it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

IGNORED = -100
FILE = "witness.json"
BATCHES = 16
"""Kept at most."""


class Recorder:
    """A collator that keeps its first batches."""

    def __init__(self, collator: Any) -> None:
        self.collator = collator
        self.batches: list[Any] = []

    def __call__(self, rows: Any) -> Any:
        batch = self.collator(rows)
        if len(self.batches) < BATCHES:
            self.batches.append(_kept(batch))
        return batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.collator, name)


def _kept(batch: Any) -> Any:
    if not isinstance(batch, Mapping):
        return batch
    return {name: value.clone() if isinstance(value, Tensor) else value for name, value in batch.items()}


class _Looking(TrainerCallback):  # type: ignore[misc]
    def __init__(self, trainer: Any, recorder: Recorder, folder: Path, kind: str) -> None:
        self.trainer, self.recorder, self.folder, self.kind = trainer, recorder, folder, kind

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        del args, state, control, given
        self.recorder.batches.clear()  # those that others made of the rows before training
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        self.before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        self.trained = {name for name, weight in model.named_parameters() if weight.requires_grad}

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        del control, given
        if state.global_step:
            return
        batches = self.recorder.batches[: args.gradient_accumulation_steps]
        found: dict[str, Any] = {"batches": len(batches)}
        if self.kind == "rows" and batches and all(isinstance(batch, Mapping) for batch in batches):
            model = self.trainer.accelerator.unwrap_model(self.trainer.model)
            found |= by_hand(model, batches)
            found["documents"] = [
                {"ids": ids.tolist(), "labels": labels.tolist()}
                for batch in batches
                for ids, labels in documents(batch)
            ]
        self._write(found)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        del args, state, control, given
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        moved = {
            name
            for name, weight in model.named_parameters()
            if name in self.before and not _same_bits(weight.detach(), self.before[name])
        }
        self._write(
            {
                "trained": len(self.trained),
                "moved": len(moved & self.trained),
                "names": sorted(self.trained),
                "still": sorted(self.trained - moved),
                "frozen_moved": sorted(moved - self.trained)[:8],
                "frozen": len(self.before) - len(self.trained),
                "weights": sum(self.before[name].numel() for name in self.trained),
                "of": sum(weight.numel() for weight in self.before.values()),
            }
        )

    def _write(self, found: dict[str, Any]) -> None:
        path = self.folder / FILE
        old = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        path.write_text(json.dumps(old | found), "utf-8")


def watch(*, folder: str, kind: str, trainer: Any) -> None:
    """Set the witness beside a finished trainer. What it saw is in `folder`."""
    recorder = Recorder(trainer.data_collator)
    trainer.data_collator = recorder
    trainer.add_callback(_Looking(trainer, recorder, Path(folder), kind))


def documents(batch: Mapping[str, Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """(token ids, labels) of each document of a batch, without padding."""
    for row, (ids, labels) in enumerate(zip(batch["input_ids"], batch["labels"], strict=True)):
        if "position_ids" in batch:
            starts = (batch["position_ids"][row] == 0).nonzero()[:, 0].tolist()
            ends = [*starts[1:], len(ids)]
        else:
            mask = batch["attention_mask"][row].bool() if "attention_mask" in batch else torch.ones_like(ids).bool()
            ids, labels = ids[mask], labels[mask]
            starts, ends = [0], [len(ids)]
        yield from ((ids[start:end], labels[start:end]) for start, end in zip(starts, ends, strict=True))


def by_hand(model: Any, batches: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean loss of all learned tokens, each document by itself; and how many there are."""
    training = model.training
    model.eval()
    total, learned = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            for ids, labels in documents(batch):
                wanted = labels[1:] != IGNORED
                if not bool(wanted.any()):
                    continue
                logits = model(input_ids=ids[None], use_cache=False).logits[0, -len(ids) :].float()
                losses = torch.nn.functional.cross_entropy(logits[:-1][wanted], labels[1:][wanted], reduction="sum")
                total, learned = total + float(losses), learned + int(wanted.sum())
    model.train(training)
    return {"loss": total / max(learned, 1), "learned": learned}


def _same_bits(one: Any, other: Any) -> bool:
    """Quantized weights may be kept as floats, some of which are no numbers, and so unlike themselves."""
    same: bool = torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))
    return same
