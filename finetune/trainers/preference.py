"""TRL's DPO and KTO trainers without their own tokenizing: rows come as finished tokens."""

import copy
import functools
from collections.abc import Callable
from typing import Any

import trl

from finetune.trainers.resuming import BothAdapters


def with_reference(init: Callable[..., None]) -> Callable[..., None]:
    """Where all weights learn, the reference is a copy of the model as it is: TRL would load one by the model's name,
    in whatever revision and number type it finds there, and without new tokens."""

    @functools.wraps(init)
    def begun(self: Any, model: Any, **named: Any) -> None:
        learns_whole = not hasattr(model, "peft_config")
        if learns_whole and named.get("ref_model") is None and not named["args"].precompute_ref_log_probs:
            named["ref_model"] = copy.deepcopy(model).requires_grad_(False)
        init(self, model, **named)

    return begun


class DPOTrainer(BothAdapters, trl.DPOTrainer):  # type: ignore[misc]
    """Takes prompt_ids, chosen_ids and rejected_ids."""

    _name = "DPO"
    __init__ = with_reference(trl.DPOTrainer.__init__)

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        del args, kwargs
        return dataset


class KTOTrainer(BothAdapters, trl.KTOTrainer):  # type: ignore[misc]
    """Takes prompt_ids, completion_ids and label. How far the model has moved is estimated from mismatched answers,
    those of a row's neighbours, so batches must stay as they are: rows are shuffled once, not in each epoch."""

    _name = "KTO"

    @functools.wraps(trl.KTOTrainer.__init__)  # type: ignore[misc]
    def __init__(self, model: Any, **named: Any) -> None:
        args = named["args"]
        self._shuffles, args.train_sampling_strategy = args.train_sampling_strategy == "random", "sequential"
        with_reference(trl.KTOTrainer.__init__)(self, model, **named)

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        del processing_class
        training = dataset_name == "train"
        rows = dataset.shuffle(seed=args.data_seed) if training and self._shuffles else dataset
        answers = rows["completion_ids"][:]
        size = args.per_device_train_batch_size if training else args.per_device_eval_batch_size
        neighbours = []
        for first in range(0, len(answers), size):
            batch = answers[first : first + size]
            neighbours += [batch[-1], *batch[:-1]]
        return rows.flatten_indices().add_column("KL_completion_ids", neighbours)
