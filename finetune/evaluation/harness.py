"""Tasks of lm-eval -> figures. The package's own; tasks may be files beside the recipe, so that nothing is downloaded.
Knows no other metric."""

import logging
import os
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.errors import DataError, MachineError, UsageError
from finetune.evaluation.chance import Between

SPREAD = 1.96
"""Standard errors on each side of a figure within which it lies 95 times of 100."""


@dataclass(frozen=True)
class Tasks:
    """`folder`: where task files of one's own lie. `shots`: examples before each question; None: as the task says.
    `chat`: put questions by the chat template."""

    names: Sequence[str]
    folder: Path | None = None
    shots: int | None = None
    limit: int | None = None
    chat: bool = False
    batch_size: int = 8


def task_figures(tasks: Tasks, model: Any, tokenizer: Any) -> dict[str, Between]:
    """task/figure -> its value. MachineError if lm-eval is missing, UsageError for a task that is not there, DataError
    where its data cannot be had."""
    try:
        import lm_eval
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise MachineError(
            f"--tasks needs lm-eval ({error.name} is missing): pip install 'finetune-recipes[lm-eval]'"
        ) from None
    if tasks.folder is not None and not tasks.folder.is_dir():
        raise UsageError(f"--task-folder {tasks.folder} is not a folder")
    with _quiet():
        manager = TaskManager(include_path=str(tasks.folder) if tasks.folder else None)
        known = set(manager.all_tasks)
        missing = [name for name in tasks.names if name not in known]
        if missing:
            from difflib import get_close_matches

            close = get_close_matches(missing[0], known, n=3)
            hint = f"; did you mean {', '.join(close)}?" if close else ""
            raise UsageError(f"--tasks: there is no task {missing[0]!r}{hint} --task-folder names files of your own")
        try:
            found = lm_eval.simple_evaluate(
                model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=tasks.batch_size),
                tasks=list(tasks.names),
                task_manager=manager,
                num_fewshot=tasks.shots,
                limit=tasks.limit,
                apply_chat_template=tasks.chat,
                bootstrap_iters=1000,
                log_samples=False,
            )
        except (ConnectionError, FileNotFoundError) as error:
            raise DataError(f"--tasks: the data of a task cannot be had: {str(error).splitlines()[0]}") from error
    return dict(_read(found["results"]))


def _read(results: Any) -> Any:
    for task, figures in results.items():
        for name, value in figures.items():
            metric, _, kind = name.partition(",")
            if not isinstance(value, int | float) or isinstance(value, bool) or metric.endswith("_stderr") or not kind:
                continue
            error = figures.get(f"{metric}_stderr,{kind}")
            called = f"{task}/{metric}" + (f" ({kind})" if kind != "none" else "")
            if isinstance(error, int | float):
                yield called, Between(float(value), value - SPREAD * error, value + SPREAD * error)
            else:
                yield called, Between(float(value))


@contextmanager
def _quiet() -> Any:
    """lm-eval logs at every level to the root; offline it would try to reach the hub for each of its tasks."""
    before = logging.getLogger("lm_eval").level
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        yield
    finally:
        logging.getLogger("lm_eval").setLevel(before)
