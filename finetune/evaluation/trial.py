"""The largest batch of the validation rows, tried before it could end a run that has trained for hours. Knows no
recipe but the key that makes batches smaller."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from finetune.aftermath import Explained, first_of, is_no_memory
from finetune.mending import told


def largest_batch(lengths: list[int], batch_size: int, grouped: bool) -> list[int]:
    """The rows of the batch that takes most once it is padded. `grouped`: rows of similar length come together."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row]) if grouped else list(range(len(lengths)))
    batches = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]
    return max(batches, key=lambda batch: len(batch) * max(lengths[row] for row in batch))


def lengths_of(dataset: Any) -> list[int]:
    """How long each row is: the items of its lists and the characters of its texts, together."""
    import pyarrow
    from pyarrow import compute

    total: list[int] = [0] * len(dataset)
    for name in dataset.column_names:
        column = dataset.with_format("arrow")[:][name]
        kind = column.type
        if pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind):
            counts = compute.list_value_length(column)
        elif pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind):
            counts = compute.utf8_length(column)
        else:
            continue
        total = [sum(pair) for pair in zip(total, (count or 0 for count in counts.to_pylist()), strict=True)]
    return total


def try_largest_batch(trainer: Any) -> None:
    """Measure one batch and forget it. TrainingError if the memory does not hold it."""
    dataset, size = trainer.eval_dataset, trainer.args.per_device_eval_batch_size
    if not hasattr(dataset, "column_names") or not len(dataset):
        return  # rows that come as they are read have no largest
    lengths = lengths_of(dataset)
    rows = largest_batch(lengths, size, trainer.args.train_sampling_strategy == "group_by_length")
    was_training = trainer.model.training
    try:
        with _forgotten(trainer):
            loader = trainer.get_eval_dataloader(dataset.select(rows))
            trainer.evaluation_loop(loader, description="trial", prediction_loss_only=True)
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_no_memory(error):
            raise
        smaller = {"eval_batch_size": size // 2} if size > 1 else {"sequence_len": max(lengths) // 2}
        raise Explained(
            f"the memory does not hold the largest batch of the validation rows, {len(rows)} rows of up to "
            f"{max(lengths[row] for row in rows)} tokens, with eval_batch_size: {size}: {first_of(error)}"
            + told(smaller, goes_on=False)
        ) from error
    finally:
        trainer.model.train(was_training)


@contextmanager
def _forgotten(trainer: Any) -> Iterator[None]:
    """TRL's trainers gather figures of a batch for the next line of metrics."""
    stores = [
        store for name in ("_metrics", "_stored_metrics") if isinstance(store := getattr(trainer, name, None), dict)
    ]
    kept = [{name: list(values) for name, values in store.get("eval", {}).items()} for store in stores]
    try:
        yield
    finally:
        for store, before in zip(stores, kept, strict=True):
            figures = store.get("eval", {})
            figures.clear()
            figures.update(before)
