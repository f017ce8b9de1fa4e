"""A training that fails: what happened, at which step, with which rows, and what would mend it. Adds words to errors
and turns those of the libraries into ours; the last whole checkpoint stays as it is."""

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from finetune import checkpoints, mending, progress
from finetune.errors import Diverged, ModelError, NoNumbers, RecipeError, RewardError, RunFolderError, TrainingError
from finetune.workers import lost_reader

NO_MEMORY = (
    *("can't allocate memory", "Cannot allocate memory", "CUDA out of memory", "HIP out of memory"),
    *("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "'out of memory'"),
)
"""What the libraries say where the memory of a GPU, or of the machine, is full."""


class Explained(TrainingError):
    """Its message names the rows and a change of the recipe already."""


@contextmanager
def explained(keeper: Any) -> Iterator[None]:
    """TrainingError or RunFolderError, with rows and a change of the recipe, for whatever ended the training."""
    keys = keeper.around.facts["recipe"]
    try:
        yield
    except Explained:
        raise
    except TrainingError as error:
        if isinstance(error, NoNumbers):
            keeper.at = error.steps  # it may be heard of a step later
        goes_on = bool(keeper.goes_on) and not _too_late(error, keeper)
        changed = {} if isinstance(error, RewardError) else mending.of_numbers(keys)
        mended = mending.told(changed, goes_on) + _back(error, keeper, changed)
        raise TrainingError(f"{error.faults[0].message}{rows_of(keeper)}{mended}") from error
    except Exception as error:
        goes_on = bool(keeper.goes_on)
        if is_no_memory(error):
            raise _no_memory(error, keeper, keys) from error
        if lost_reader(error, keys):
            mended = mending.told(mending.of_reading(keys), goes_on)
            raise TrainingError(
                f"a process that reads rows was ended in step {keeper.at + 1}, often by the system, whose memory was "
                f"full: {first_of(error)}{mended}"
            ) from error
        if checkpoints.is_disk_full(error):
            checkpoints.clear_aside(keeper.folder)
            mended = mending.told(mending.of_disk(keys, len(checkpoints.by_step(keeper.folder))), goes_on)
            raise RunFolderError(
                f"the disk of output_dir {keeper.around.folder} is full, after step {keeper.at + 1}: the checkpoint or "
                f"the metrics of that step could not be written. Free some, or name another{mended}"
            ) from error
        raise


@contextmanager
def compiling(keys: Mapping[str, Any]) -> Iterator[None]:
    """TrainingError where torch.compile cannot compile the model, which happens at its first pass."""
    try:
        yield
    except Exception as error:
        exceptions = sys.modules.get("torch._dynamo.exc")
        if not keys.get("torch_compile") or not isinstance(error, getattr(exceptions, "TorchDynamoException", ())):
            raise
        why = first_of(getattr(error, "inner_exception", error))
        raise TrainingError(f"torch.compile could not compile the model: {why}; write torch_compile: false") from error


@contextmanager
def in_fixed_order(keys: Mapping[str, Any]) -> Iterator[None]:
    """With `full_determinism` the trainer lets torch use only kernels whose sums have a fixed order, until training is
    over. TrainingError where there is none."""
    import torch

    try:
        yield
    except RuntimeError as error:
        if not keys.get("full_determinism") or "deterministic" not in str(error):
            raise
        raise TrainingError(
            f"full_determinism cannot be kept up: {first_of(error)}; write full_determinism: false"
        ) from error
    finally:
        if keys.get("full_determinism"):
            torch.use_deterministic_algorithms(False)


def _too_late(error: TrainingError, keeper: Any) -> bool:
    """Whether the last checkpoint holds weights of after the loss went up. The loss of a step is that of the weights
    before it, so the step after which it went up had done the harm already."""
    return isinstance(error, Diverged) and keeper.last is not None and keeper.last.step >= error.since


def _back(error: TrainingError, keeper: Any, changed: Mapping[str, Any]) -> str:
    """How a run goes on from before its loss went up, where its last checkpoint is of after that."""
    if not isinstance(error, Diverged) or not keeper.goes_on or not _too_late(error, keeper):
        return ""
    of_after = f"\nCheckpoints of step {error.since} and later hold what went wrong"
    good = [path for path in checkpoints.by_step(keeper.folder) if checkpoints.step_of(path) < error.since]
    if not good:
        return f"{of_after}, and there is none of before: begin anew, with --overwrite"
    words = [f"resume_from_checkpoint={good[-1]}", "output_dir=ANOTHER", *mending.allowing(changed)]
    return f"{of_after}; with these lines another run goes on from before: {' '.join(words)}"


@contextmanager
def fitting(keeper: Any) -> Iterator[None]:
    """RecipeError where the checkpoint is not one of the model that the changed keys make."""
    try:
        yield
    except (RuntimeError, ValueError, KeyError, AttributeError, OSError) as error:
        if keeper.loaded or not keeper.around.changed or is_no_memory(error):
            raise
        raise RecipeError(
            f"{keeper.around.resumed.path} does not fit the model that the changed keys make "
            f"({', '.join(keeper.around.changed)}): no run can go on with other trained weights than it began with. "
            "Write the old values, or start anew in another output_dir"
        ) from error


def _no_memory(error: Exception, keeper: Any, keys: Mapping[str, Any]) -> TrainingError:
    goes_on = bool(keeper.goes_on)
    if keeper.measures:
        mended = mending.told(mending.of_measuring(keys), goes_on)
        return TrainingError(f"the memory is full while measuring, at step {keeper.reached}: {first_of(error)}{mended}")
    mended = mending.told(mending.of_memory(keys), goes_on)
    if (keeper.folder / checkpoints.ASIDE / f"checkpoint-{keeper.reached}").exists():
        checkpoints.clear_aside(keeper.folder)
        where = f"while the checkpoint of step {keeper.reached} is written"
        return TrainingError(f"the memory is full {where}: {first_of(error)}{mended}")
    return TrainingError(f"the memory is full in step {keeper.at + 1}: {first_of(error)}{rows_of(keeper)}{mended}")


def first_of(error: BaseException) -> str:
    """The first line of what a library says."""
    return (str(error).splitlines() or ["no memory"])[0]


@contextmanager
def room_to(do: str, changed: Mapping[str, Any], otherwise: str = ". Take a smaller base_model") -> Iterator[None]:
    """TrainingError, with the change of the recipe, where the memory is full outside of training."""
    try:
        yield
    except (RuntimeError, MemoryError, OSError, ModelError) as error:
        raised = (error.__cause__ or error) if isinstance(error, ModelError) else error
        if not is_no_memory(raised):
            raise
        hint = mending.told(changed, goes_on=False) or otherwise
        raise TrainingError(f"the memory does not suffice to {do}: {first_of(raised)}{hint}") from error


def is_no_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError | OSError) and any(words in str(error) for words in NO_MEMORY)
    )


def rows_of(keeper: Any) -> str:
    """The rows of the step that failed, by file and number."""
    if keeper.loader is None or keeper.origin is None:
        return ""
    names = [name for row in rows_in_step(keeper) for name in keeper.origin(row)]
    return mending.rows_told(names)


def rows_in_step(keeper: Any) -> list[int]:
    """Of the trainer's dataset: their order hangs on seed and epoch alone, so it can be drawn once more."""
    trainer, loader = keeper.around.trainer, keeper.loader
    sampler, each = progress.sampler_of(loader), trainer.args.gradient_accumulation_steps
    together = each * trainer.accelerator.num_processes
    if sampler is None or not hasattr(loader, "__len__"):
        return []
    per_epoch = max(math.ceil(len(loader) / each), 1)
    epoch, place = divmod(keeper.at, per_epoch)
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(epoch)
    elif getattr(sampler, "generator", None) is not None:
        sampler.generator.manual_seed(keeper.around.seed + epoch)
    batches = loader.batch_sampler
    while hasattr(batches, "batch_sampler"):
        batches = batches.batch_sampler
    drawn = list(batches)[place * together : (place + 1) * together]
    rows = len(trainer.train_dataset)
    return [int(row) for batch in drawn for row in batch if row < rows]
