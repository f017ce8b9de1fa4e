"""Where a trainer stands beyond what its own checkpoints keep: sums between two logs, sources of random numbers, the
order of rows. Touches the trainer's inner state, in this one place; decides nothing."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from finetune import ranks
from finetune.checkpoints import Checkpoint
from finetune.kernels.zero import part_of
from finetune.ranks import Rank

SUMS = ("_tr_loss", "_total_loss_scalar", "_globalstep_last_logged", "_total_train_tokens")
"""What transformers and TRL sum up until the next log, or the end of the run, and begin anew in a new process."""
LISTS = ("_metrics", "_stored_metrics", "_logs")
"""TRL's numbers since the last log: train or eval -> name -> values."""


def capture(trainer: Any) -> dict[str, Any]:
    """As JSON; floats come back to the last bit."""
    sums = {name: _plain(getattr(trainer, name)) for name in SUMS if hasattr(trainer, name)}
    lists = {
        name: _plain(getattr(trainer, name)) for name in LISTS if isinstance(getattr(trainer, name, None), Mapping)
    }
    return {"sums": sums, "lists": lists}


def of_rank(found: Any, rank: Rank) -> Mapping[str, Any]:
    """What a checkpoint holds for a process. Where they are not as many as then, sums are shared out evenly: the
    figures of the next line of metrics come out right, not their last bits. (Old checkpoints had one process.)"""
    each = found if isinstance(found, list) else [found]
    if len(each) == rank.of:
        mine: Mapping[str, Any] = each[rank.number]
        return mine
    shared = dict(each[0]["sums"])
    if "_tr_loss" in shared:
        shared["_tr_loss"] = sum(one["sums"]["_tr_loss"] for one in each) / len(each)
    return {"sums": shared, "lists": each[0]["lists"]}


def draw_apart(seed: int, rank: Rank, resumed: Checkpoint | None) -> None:
    """Let each process draw random numbers of its own. One that goes on with a checkpoint of its own is put back by
    the trainer; with one of another number of processes, all draw anew."""
    if rank.of == 1 and (resumed is None or resumed.facts.get("processes", 1) == 1):
        return
    import transformers

    step = resumed.step if resumed is not None else 0
    transformers.set_seed((seed + rank.number + 1_000_003 * step) % 2**32)


def restore(trainer: Any, state: Mapping[str, Any]) -> None:
    import torch

    for name, value in state["sums"].items():
        now = getattr(trainer, name)
        setattr(
            trainer, name, torch.tensor(value, dtype=now.dtype, device=now.device) if torch.is_tensor(now) else value
        )
    for name, values in state["lists"].items():
        _fill(getattr(trainer, name), values)


def _fill(now: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, Mapping):
            if name not in now:
                now[name] = defaultdict(list)
            _fill(now[name], value)
        elif hasattr(now.get(name), "extend"):
            now[name].clear()
            now[name].extend(value)
        else:
            now[name] = value


def _plain(value: Any) -> Any:
    import torch

    if torch.is_tensor(value):
        return value.item() if value.dim() == 0 else value.tolist()
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return value
    return [_plain(inner) for inner in value]


def random_state() -> dict[str, Any]:
    """Of every generator that a step may draw from."""
    import random

    import numpy
    import torch

    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": numpy.random.get_state(),
        "cpu": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    import random

    import numpy
    import torch

    random.setstate(state["python"])
    numpy.random.set_state(state["numpy"])
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state_all(state["cuda"])


def sampler_of(loader: Any) -> Any:
    """What draws the order of the rows, under the layers that accelerate puts around it."""
    batches: Any = getattr(loader, "batch_sampler", None)
    while hasattr(batches, "batch_sampler"):
        batches = batches.batch_sampler
    return getattr(batches, "sampler", None)


def order_by_seed(loader: Any, seed: int) -> None:
    """Let the order hang on seed and epoch alone, also where it would be drawn from the common source of random
    numbers: so a run that goes on in the middle of an epoch sees the rows that it would have seen."""
    import torch

    sampler = sampler_of(loader)
    if sampler is not None and getattr(sampler, "generator", seed) is None and not hasattr(sampler, "initial_seed"):
        sampler.generator = torch.Generator()
        sampler.generator.manual_seed(seed)


def begin_epoch(sampler: Any, seed: int, epoch: int) -> None:
    """Have the order of this epoch drawn. accelerate tells its sampler the epoch too, but not where it lies under both
    the share of a process and the rows that a run which goes on skips."""
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(epoch)
    elif getattr(sampler, "generator", None) is not None:
        sampler.generator.manual_seed(seed + epoch)


def hyperparameters(optimizer: Any) -> list[dict[str, Any]]:
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]


def set_hyperparameters(trainer: Any, fresh: list[dict[str, Any]]) -> None:
    """Put those of the recipe as it is now in the place of those that came with the checkpoint, and the learning rate
    where the recipe's course has it at this step."""
    scheduler = trainer.lr_scheduler
    for group, values in zip(trainer.optimizer.param_groups, fresh, strict=True):
        rate = values.get("initial_lr", values["lr"])
        group.update(values, initial_lr=rate)
    scheduler.base_lrs = [group["initial_lr"] for group in trainer.optimizer.param_groups]
    if not hasattr(scheduler, "lr_lambdas"):
        return
    shares = [course(scheduler.last_epoch) for course in scheduler.lr_lambdas]
    for group, rate, share in zip(trainer.optimizer.param_groups, scheduler.base_lrs, shares, strict=True):
        group["lr"] = rate * share
    scheduler._last_lr = [group["lr"] for group in trainer.optimizer.param_groups]


def whole(value: Any) -> Any:
    """A tensor that may lie in parts on several GPUs; all processes ask at once."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def bad_weight(model: Any) -> str | None:
    """The name of a trained weight that is infinite or not a number, in any process."""
    found = ""
    for name, weight in model.named_parameters():
        mine = weight.to_local() if hasattr(weight, "to_local") else part_of(weight)
        if weight.requires_grad and not bool(mine.isfinite().all()):
            found = str(name)
            break
    return next((name for name in ranks.gathered(found) if name), None)


PROJECTORS = (
    ("galore", "galore_torch.galore_projector", "GaLoreProjector"),
    ("apollo", "apollo_torch.random_projector", "GradientProjector"),
    ("apollo", "apollo_torch.svd_projector", "GaLoreProjector"),
)
"""Classes, of numbers and one tensor each, that compressing optimizers keep among their states."""


def let_projectors_load(optimizer: str) -> None:
    """Those of the optimizer; torch reads no classes from a file by itself."""
    import importlib

    import torch

    for word, module, name in PROJECTORS:
        if word in optimizer:
            torch.serialization.add_safe_globals([getattr(importlib.import_module(module), name)])
