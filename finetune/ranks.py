"""Which of a run's processes this is, and what they tell each other. One process is the ordinary case: everything here
is then answered without asking anybody, and torch.distributed is never imported. Knows no trainer and no recipe."""

import functools
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from finetune.errors import FinetuneError, MachineError, TrainingError

LAUNCHED = "FINETUNE_LAUNCHED"
"""Set where `finetune --nproc` started this process: it says itself how its processes ended."""
MEET_S = 600
"""Seconds that the processes of a run may need to start."""
LOOK_S = 0.05
"""Seconds between two looks for what another process says. Waiting in C++ would keep signals waiting too."""
START, FAILED, HERE = "finetune/start", "finetune/failed", "finetune/here"
LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "connectFullMesh",
    "NCCL",
    "Socket",
    "recvValue failed",
    "Timed out waiting",
)
"""What the libraries say where another process is gone."""


@dataclass(frozen=True)
class Rank:
    """`number` of `of` processes; `local`: its number on its machine."""

    number: int = 0
    of: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        return self.number == 0


def this_rank() -> Rank:
    """As torchrun, `accelerate launch` and `finetune --nproc` say it. MachineError for numbers that cannot be."""
    try:
        of, number = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        local = int(os.environ.get("LOCAL_RANK", number))
    except ValueError:
        of, number, local = 0, 0, 0
    if not 0 <= number < of or local < 0:
        names = ", ".join(f"{name}={os.environ.get(name)}" for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        raise MachineError(f"the variables of the launcher make no sense: {names}")
    return Rank(number, of, local) if of > 1 else Rank()


def several_machines() -> bool:
    """Whether processes of this run are on other machines, as its launcher says."""
    return os.environ.get("LOCAL_WORLD_SIZE", str(this_rank().of)) != str(this_rank().of)


@functools.cache
def _store() -> Any:
    """Where processes leave word for each other before they are a group. MachineError if they do not meet."""
    import datetime

    import torch.distributed as dist

    try:
        store, _, _ = next(dist.rendezvous("env://", timeout=datetime.timedelta(seconds=MEET_S)))
    except (ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise MachineError(
            f"the {this_rank().of} processes of this run do not find each other at MASTER_ADDR="
            f"{os.environ.get('MASTER_ADDR')} MASTER_PORT={os.environ.get('MASTER_PORT')}: {first}"
        ) from error
    return store


def tell(said: Any) -> None:
    """The first process lets the others begin, and says what they need to know."""
    if this_rank().of > 1:
        _store().set(START, json.dumps(said))


def hear() -> Any:
    """What the first process said. TrainingError if one of the processes failed before."""
    store = _store()
    while not store.check([START]):
        if store.check([FAILED]):
            raise OtherFailed()
        time.sleep(LOOK_S)
    return json.loads(store.get(START))


@contextmanager
def failing_together() -> Iterator[None]:
    """Meanwhile a failure is told to the processes on other machines, whose launchers would not know of it."""
    try:
        yield
    except FinetuneError:
        with suppress(MachineError):  # they may be gone as well
            if _several_machines():
                _store()  # from here on `speaks` tells them
        raise


def _several_machines() -> bool:
    return int(os.environ.get("LOCAL_WORLD_SIZE") or this_rank().of) < this_rank().of


class OtherFailed(TrainingError):
    """Another process of the run failed, and says why."""

    def __init__(self) -> None:
        super().__init__("another process of this run failed; it says why")


def connect(backend: str, timeout_s: int) -> None:
    """Make the processes a group. MachineError if that fails."""
    rank = this_rank()
    if rank.of == 1:
        return
    import datetime

    import torch.distributed as dist

    if dist.is_initialized():
        return
    _all_here(rank.of, timeout_s)
    group = dist.PrefixStore("finetune/group", _store())
    named = {"rank": rank.number, "world_size": rank.of, "timeout": datetime.timedelta(seconds=timeout_s)}
    try:
        dist.init_process_group(backend, store=group, **named)
    except (ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise MachineError(f"the {rank.of} processes of this run cannot be joined with {backend}: {first}") from error


def _all_here(count: int, timeout_s: int) -> None:
    """Wait for all processes to come here. TrainingError if one of them failed before: to join a group, C++ would wait
    for it until the time is up."""
    store, until = _store(), time.monotonic() + timeout_s
    store.add(HERE, 1)
    while store.add(HERE, 0) < count and time.monotonic() < until:
        if store.check([FAILED]):
            raise OtherFailed()
        time.sleep(LOOK_S)


def leave() -> None:
    """The end of the group, so that no library complains about one that was left open."""
    if this_rank().of > 1:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()


def gathered(value: Any) -> list[Any]:
    """The value of each process, in their order."""
    if not _grouped():
        return [value]
    import torch.distributed as dist

    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, json.dumps(value), group=_talk())
    return [json.loads(one) for one in found]


def most(value: int) -> int:
    """The greatest value among the processes."""
    return int(max(_numbers([float(value)])[0]))


def totals(values: Sequence[float]) -> list[float]:
    """Sums over the processes, alike on all of them."""
    return [sum(each) for each in _numbers(values)]


def wait() -> None:
    """Until all processes have come here."""
    _numbers([0.0])


def _numbers(values: Sequence[float]) -> list[list[float]]:
    """For each value, those of all processes."""
    if not _grouped():
        return [[value] for value in values]
    import torch
    import torch.distributed as dist

    mine = torch.tensor(values, dtype=torch.float64)
    found = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(found, mine, group=_talk())
    return [list(each) for each in zip(*(one.tolist() for one in found), strict=True)]


def _grouped() -> bool:
    if this_rank().of == 1:
        return False
    import torch.distributed as dist

    return bool(dist.is_initialized())


@functools.cache
def _talk() -> Any:
    """A group that speaks through the CPU's memory, so that no word waits for a GPU's work."""
    import torch.distributed as dist

    return dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")


@contextmanager
def first_loads_alone() -> Iterator[None]:
    """Meanwhile transformers loads a checkpoint's weights in the first process of a machine alone."""
    names = {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
    if this_rank().of == 1:
        names = {}
    os.environ.update(names)
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]


def speaks() -> bool:
    """Whether it is for this process to say why the run fails: the first that fails does."""
    rank = this_rank()
    if rank.of == 1:
        return True
    if not _store.cache_info().currsize:
        return rank.local == 0  # before they met: what is wrong is wrong for all processes of a machine
    try:
        mine = str(rank.number).encode()
        return bool(_store().compare_set(FAILED, "", str(rank.number)) == mine)
    except RuntimeError:
        return rank.first and LAUNCHED not in os.environ


def is_lost(error: BaseException) -> bool:
    """Whether an error says that another process is gone."""
    if this_rank().of == 1 or isinstance(error, FinetuneError) or not isinstance(error, RuntimeError):
        return False
    return type(error).__name__.startswith("Dist") or any(words in str(error) for words in LOST)
