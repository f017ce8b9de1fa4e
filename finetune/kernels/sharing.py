"""How the rows of a step are shared by the processes of a run, so that each step learns from the same rows in any
number of them. Knows no model.

Imports trl: only the runner's stages may import it, inside a function."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from accelerate.data_loader import SeedableRandomSampler
from datasets import Dataset, concatenate_datasets
from torch.utils.data import RandomSampler, Sampler, SequentialSampler
from trl import SFTTrainer

from finetune.kernels.flat import IGNORED
from finetune.kernels.sharding import ShardedCheckpoints
from finetune.kernels.steps import QuickSteps


class Filled(Sampler):  # type: ignore[misc]  # torch ships no complete types
    """The rows in their order, and then one that teaches nothing, until each process has as many. (accelerate would
    give the first rows once more, and the last step of an epoch would learn from them twice.)"""

    def __init__(self, inner: Any, filler: int, multiple: int) -> None:
        self.inner, self.filler, self.multiple = inner, filler, multiple

    def __iter__(self) -> Iterator[int]:
        yield from self.inner
        yield from itertools.repeat(self.filler, -len(self.inner) % self.multiple)

    def __len__(self) -> int:
        return len(self.inner) + -len(self.inner) % self.multiple

    def __getattr__(self, name: str) -> Any:
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def generator(self) -> Any:
        return self.inner.generator

    @generator.setter
    def generator(self, value: Any) -> None:
        self.inner.generator = value


class SharingRows:
    """Part of a trainer of finished tokens: its loaders give each of several processes its part of every step."""

    args: Any
    accelerator: Any
    processing_class: Any

    def _get_dataloader(self, dataset: Any, *given: Any, **named: Any) -> Any:
        whole: Callable[..., Any] = super()._get_dataloader  # type: ignore[misc]
        if self.accelerator.num_processes == 1 or self.args.dataloader_drop_last:
            return whole(dataset, *given, **named)
        order, size = named["sampler_fn"], named["batch_size"] * self.accelerator.num_processes
        named["sampler_fn"] = functools.partial(self._filled, order, dataset, size)
        return whole(with_empty_row(dataset, self.processing_class.pad_token_id), *given, **named)

    def _filled(self, order: Callable[[Any], Any], rows: Any, multiple: int, dataset: Any) -> Filled:
        del dataset
        inner = order(rows) or SequentialSampler(rows)
        if type(inner) is RandomSampler:
            # As accelerate draws the order for one process.
            inner = SeedableRandomSampler(rows, generator=inner.generator, data_seed=self.args.data_seed)
        return Filled(inner, len(rows), multiple)


def with_empty_row(rows: Any, pad_token_id: int) -> Any:
    """The rows and, last, one of a single token that is not learned."""
    empty = {"input_ids": [pad_token_id], "labels": [IGNORED], "length": 1, "seq_lengths": [1]}
    last = {name: [empty[name]] for name in rows.column_names}
    return concatenate_datasets([rows, Dataset.from_dict(last, features=rows.features)])


class SharingSFTTrainer(QuickSteps, ShardedCheckpoints, SharingRows, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer, on padded rows, in several processes."""
