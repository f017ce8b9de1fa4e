"""Processes that read rows beside a training: they end with it, and by no signal that is meant for it. Slurm, systemd
and terminals send theirs to all processes of a run; a reader that ended of it would take it along, unsaved."""

import signal
from collections.abc import Callable, Mapping
from typing import Any

from finetune.stopping import SIGNALS


class Undisturbed:
    """What a loader's process does first. torch ends it by itself, also where the training is gone."""

    def __init__(self, inner: Callable[[int], None] | None) -> None:
        self.inner = inner

    def __call__(self, number: int) -> None:
        for one in SIGNALS:
            signal.signal(one, signal.SIG_IGN)
        if self.inner is not None:
            self.inner(number)


def undisturbed(loader: Any) -> Any:
    """The same loader, whose processes are yet to be started."""
    whole = getattr(loader, "base_dataloader", loader)  # accelerate's layers read rows through it
    if getattr(whole, "num_workers", 0) and not isinstance(whole.worker_init_fn, Undisturbed):
        whole.worker_init_fn = Undisturbed(whole.worker_init_fn)
    return loader


def undisturbed_measuring(trainer: Any) -> None:
    """The loaders that a trainer makes whenever it measures."""
    made = trainer.get_eval_dataloader
    trainer.get_eval_dataloader = lambda *given, **named: undisturbed(made(*given, **named))


def lost_reader(error: BaseException, keys: Mapping[str, Any]) -> bool:
    """Whether a training ended because a process that reads its rows did. torch says so wherever the program is just
    then, and may say it twice; the second time is kept from it."""
    if not keys.get("dataloader_num_workers"):
        return False
    found = "DataLoader worker" in str(error) or isinstance(error, ConnectionError | EOFError)
    if found:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return found
