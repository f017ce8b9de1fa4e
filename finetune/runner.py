"""One run, from a checked recipe to a full run folder. Owns the order of the stages and what happens when one fails."""

import errno
import logging
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from finetune import __version__, stages
from finetune.backends import BACKENDS
from finetune.backends.loaded import Loaded
from finetune.errors import FinetuneError, MachineError, RunFolderError
from finetune.generation import Answer
from finetune.machine import Machine
from finetune.plan import Plan
from finetune.rundir import RunDir, abandon, finish, keep_aside, open_run
from finetune.screen import Screen

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line."""

    recipe: Path
    overrides: list[str]
    output_dir: str
    overwrite: bool = False


def run(request: Request, plan: Plan, machine: Machine) -> int:
    """Train, save and answer. Returns the exit code: 0, or 128 + the signal that stopped training (all is saved then).

    FinetuneError if the machine cannot run the plan, or data, model, disk or training fail."""
    if plan.blockers:
        raise MachineError(*plan.blockers)
    signal.signal(signal.SIGTERM, _terminate)
    folder = open_run(request.output_dir, request.overwrite)
    screen = Screen()
    began = False
    try:
        with _disk_full_named(request.output_dir), _logged(folder.log):
            _describe(folder, request, plan, machine)
            for note in plan.notes:
                screen.say(note)
            prepared = _prepare(plan, screen)
            began = True
            code = _train_and_save(plan, prepared, folder, screen)
    except BaseException as error:
        _clean_up(folder, error, began)
        raise
    if code:
        kept = keep_aside(folder, "interrupted")
        screen.say(f"run folder: {kept or request.output_dir}")
    else:
        finish(folder)
        screen.say(f"run folder: {request.output_dir}")
    return code


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(number, frame)


class Terminated(KeyboardInterrupt):
    """SIGTERM outside the training loop; ends the run as Ctrl-C does, with an exit code of its own."""


@dataclass(frozen=True)
class _Prepared:
    """Everything that exists before the first training step. `before`: the base's answers, where training will change
    the base itself."""

    loaded: Loaded
    data: stages.Formatted
    config: Any
    before: list[Answer] | None


def _prepare(plan: Plan, screen: Screen) -> _Prepared:
    backend = BACKENDS[plan.backend]
    with screen.stage("reading data"):
        training, validation = stages.read_data(plan)
    with screen.stage("importing libraries"):
        use_one_gpu()
        backend.prepare_process()
        quiet_libraries(screen.console.is_terminal)
    with screen.stage("loading the model"):
        loaded = backend.load(plan.stage("load"))
    with screen.stage("formatting rows"):
        data = stages.format_rows(plan, training, validation, loaded.tokenizer)
        del training, validation  # the rows as text are no longer needed, and may be large
    for purpose, counted in data.counted.items():
        lost = f", {counted.dropped} dropped and {counted.truncated} cut as too long"
        screen.say(
            f"{purpose}: {counted.kept} rows, {counted.tokens:,} tokens, {counted.trained_share:.0%} learned"
            + (lost if counted.dropped or counted.truncated else "")
        )
    config = stages.generation_config(plan, data.stop_ids, loaded.tokenizer.pad_token_id)
    before = None
    if not plan.stage("adapt"):
        # All weights are about to change: what the base answers must be asked now.
        with screen.stage("answering the sample questions before training"):
            before = stages.answers(plan, data.prompts, loaded.model, loaded.tokenizer, config)
    adapted = Loaded(backend.adapt(loaded.model, plan.stage("adapt")), loaded.tokenizer)
    return _Prepared(adapted, data, config, before)


def use_one_gpu() -> None:
    """Hide all GPUs but the first, before torch is imported: the trainer would else spread each batch over all of them,
    and a step would hold more rows than the recipe says."""
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]


def quiet_libraries(bars: bool) -> None:
    """Let what transformers and datasets log go to the run's log, and keep their bars off pipes and files."""
    import datasets
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_default_handler()
    transformers_logging.enable_propagation()
    if not bars:
        transformers_logging.disable_progress_bar()
        datasets.disable_progress_bars()


def _train_and_save(plan: Plan, prepared: _Prepared, folder: RunDir, screen: Screen) -> int:
    backend, loaded, data = BACKENDS[plan.backend], prepared.loaded, prepared.data
    config, before = prepared.config, prepared.before
    folder.status("training")
    trained = stages.train(plan, loaded, data, folder, screen)
    with screen.stage("saving"):
        stages.save(plan, trained.model, loaded.tokenizer, config)
        folder.write("data.json", {purpose: vars(counted) for purpose, counted in data.counted.items()})
        folder.write("generation.json", {"style": data.style, "stop_ids": list(data.stop_ids)})
    if trained.stopped_by is not None:
        _report(folder, screen, _facts(trained, []), "interrupted")
        screen.say(f"stopped by {signal.Signals(trained.stopped_by).name} after step {trained.steps}; all is saved")
        return 128 + trained.stopped_by
    with screen.stage("answering the sample questions"):
        backend.for_inference(trained.model)
        if before is None:
            with stages.without_adapter(trained.model):
                before = stages.answers(plan, data.prompts, trained.model, loaded.tokenizer, config)
        after = stages.answers(plan, data.prompts, trained.model, loaded.tokenizer, config)
    pairs = [
        {"question": prompt.question, "expected": prompt.expected, "before": vars(one), "after": vars(other)}
        for prompt, one, other in zip(data.prompts, before, after, strict=True)
    ]
    folder.write("answers.json", pairs)
    screen.answers(pairs)
    _report(folder, screen, _facts(trained, pairs), "finished")
    return 0


def _facts(trained: stages.Trained, pairs: list[dict[str, Any]]) -> dict[str, Any]:
    losses = [entry["loss"] for entry in trained.history if "loss" in entry]
    evals = [entry["eval_loss"] for entry in trained.history if "eval_loss" in entry]
    return {
        "steps": trained.steps,
        "loss_first": losses[0] if losses else None,
        "loss_last": losses[-1] if losses else None,
        "eval_loss_first": evals[0] if evals else None,
        "eval_loss_last": evals[-1] if evals else None,
        "perplexity": math.exp(evals[-1]) if evals and evals[-1] < 50 else None,
        "tokens_per_second": trained.tokens / trained.seconds if trained.seconds else None,
        "peak_memory_gib": _peak_memory_gib(),
        "train_seconds": trained.seconds,
        "stopped": sum(pair["after"]["stopped"] for pair in pairs),
        "asked": len(pairs),
    }


def _report(folder: RunDir, screen: Screen, facts: dict[str, Any], status: str) -> None:
    folder.status(status, ended=_now(), **facts)
    screen.table("Result", _table_rows(facts))


def _table_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    def arrow(name: str, first: Any, last: Any) -> list[tuple[str, str]]:
        return [] if first is None else [(name, f"{first:.3f} -> {last:.3f}")]

    rows = [("steps", str(facts["steps"]))]
    rows += arrow("training loss", facts["loss_first"], facts["loss_last"])
    rows += arrow("validation loss", facts["eval_loss_first"], facts["eval_loss_last"])
    if facts["perplexity"] is not None:
        rows.append(("validation perplexity", f"{facts['perplexity']:.2f}"))
    if facts["tokens_per_second"]:
        rows.append(("tokens per second", f"{facts['tokens_per_second']:,.0f}"))
    rows.append(("peak memory", f"{facts['peak_memory_gib']:.2f} GiB"))
    rows.append(("training time", f"{facts['train_seconds']:.1f} s"))
    if facts["asked"]:
        rows.append(("answers that stopped by themselves", f"{facts['stopped']} of {facts['asked']}"))
    return rows


def _peak_memory_gib() -> float:
    """Of the GPU where there is one, else of this process."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated()) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _describe(folder: RunDir, request: Request, plan: Plan, machine: Machine) -> None:
    folder.write_text("recipe.yaml", request.recipe.read_text("utf-8-sig"))
    folder.write("plan.json", plan.as_json())
    folder.write("machine.json", {"finetune": __version__, **machine.as_json()})
    origin = {"recipe": str(request.recipe), "overrides": request.overrides, "directory": str(Path.cwd())}
    folder.write("origin.json", origin | {"began": _now()})
    folder.status("preparing")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _clean_up(folder: RunDir, error: BaseException, began: bool) -> None:
    """A run that never began training leaves nothing; one that did stays, beside what it was to replace."""
    if not began:
        abandon(folder)
        return
    try:
        folder.status("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", ended=_now(), why=str(error))
    except OSError:
        logging.getLogger(__name__).warning("the status could not be written")  # the disk is full: the error says so
    kept = keep_aside(folder, "failed")
    if kept is not None and isinstance(error, FinetuneError):
        error.add_note(f"what the failed run left is in {kept}; the run it was to replace is untouched")


@contextmanager
def _disk_full_named(output_dir: str) -> Iterator[None]:
    """RunFolderError for whatever the libraries raise when the disk is full."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        full = isinstance(error, OSError) and error.errno in DISK_FULL
        if full or "No space left" in str(error) or "file write failed" in str(error):
            raise RunFolderError(f"the disk of output_dir {output_dir} is full. Free some, or name another") from error
        raise
    except Exception as error:
        if type(error).__name__ == "SafetensorError" and "No space left" in str(error):
            raise RunFolderError(f"the disk of output_dir {output_dir} is full. Free some, or name another") from error
        raise


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Send what the libraries log and warn to the run's log instead of the terminal."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    logging.captureWarnings(True)
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    handler_started = time.monotonic()
    try:
        yield
    finally:
        logging.getLogger(__name__).info("ended after %.1f s", time.monotonic() - handler_started)
        logging.captureWarnings(False)
        root.removeHandler(handler)
        handler.close()
