"""What a run came to: the figures in run.json and in the closing table. Decides nothing, and trains nothing."""

import math
import resource
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finetune.rundir import RunDir
from finetune.screen import Screen
from finetune.stages import Trained


def facts_of(trained: Trained, pairs: list[dict[str, Any]]) -> dict[str, Any]:
    # A run shorter than logging_steps logs only its mean, at the end.
    losses = [entry["loss"] for entry in trained.history if "loss" in entry]
    losses = losses or [entry["train_loss"] for entry in trained.history if "train_loss" in entry]
    evals = [entry["eval_loss"] for entry in trained.history if "eval_loss" in entry]
    perplexities = [entry["eval_perplexity"] for entry in trained.history if "eval_perplexity" in entry]
    return _better(trained.history) | {
        "steps": trained.steps,
        "loss_first": losses[0] if losses else None,
        "loss_last": losses[-1] if losses else None,
        "eval_loss_first": evals[0] if evals else None,
        "eval_loss_last": evals[-1] if evals else None,
        "perplexity": perplexities[-1] if perplexities and math.isfinite(perplexities[-1]) else None,
        "tokens_per_second": trained.tokens / trained.seconds if trained.seconds else None,
        "peak_memory_gib": max(_peak_memory_gib(), *_peaks_before(trained.memory or {})),
        "memory": trained.memory,
        "train_seconds": trained.seconds,
        "stopped": sum(pair["after"]["stopped"] for pair in pairs),
        "asked": len(pairs),
        "threads": _threads(),
        "cpu": _cpu(),
        **trained.best,
    }


MEASURES = (
    ("rewards/margins", "margin between chosen and rejected"),
    ("rewards/accuracies", "pairs the right way round"),
    ("margin", "margin between chosen and rejected"),
    ("accuracy", "pairs the right way round"),
    ("reward", "reward"),
    ("completions/mean_length", "tokens of an answer"),
)
"""Figures of the trainers of preferences and rewards, and what they say."""


def _better(history: list[dict[str, Any]]) -> dict[str, Any]:
    """The first and the last of each measure, of validation and of training."""
    found: dict[str, Any] = {}
    for name, _ in MEASURES:
        for prefix in ("eval_", ""):
            values = [entry[prefix + name] for entry in history if isinstance(entry.get(prefix + name), float)]
            if values:
                found[f"{prefix}{name}"] = {"first": values[0], "last": values[-1]}
    return {"measures": found} if found else {}


def report(folder: RunDir, screen: Screen, facts: dict[str, Any], status: str) -> None:
    folder.status(status, ended=now(), **facts)
    screen.table("Result", _table_rows(facts))


def _table_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    def arrow(name: str, first: Any, last: Any) -> list[tuple[str, str]]:
        return [] if first is None else [(name, f"{first:.3f} -> {last:.3f}")]

    rows = [("steps", str(facts["steps"]))]
    rows += arrow("training loss", facts["loss_first"], facts["loss_last"])
    rows += arrow("validation loss", facts["eval_loss_first"], facts["eval_loss_last"])
    for name, what in MEASURES:
        for prefix, of in (("eval_", "validation: "), ("", "training: ")):
            values = facts.get("measures", {}).get(prefix + name)
            if values is not None:
                rows += arrow(of + what, values["first"], values["last"])
    if facts["perplexity"] is not None:
        rows.append(("validation perplexity", f"{facts['perplexity']:.2f}"))
    rows += _best_rows(facts)
    if facts["tokens_per_second"]:
        rows.append(("tokens per second", f"{facts['tokens_per_second']:,.0f}"))
    rows.append(("peak memory", f"{facts['peak_memory_gib']:.2f} GiB"))
    rows += _memory_rows(facts["memory"])
    rows.append(("training time", f"{facts['train_seconds']:.1f} s"))
    if facts["asked"]:
        rows.append(("answers that stopped by themselves", f"{facts['stopped']} of {facts['asked']}"))
    return rows


def _memory_rows(memory: dict[str, Any] | None) -> list[tuple[str, str]]:
    """The peak of training beside its estimate."""
    if memory is None or memory["estimate"] is None:
        return []
    estimate = memory["estimate"]["peak_gib"]
    return [("peak of training", f"{memory['measured_gib']:.2f} GiB (estimated {estimate:.2f})")]


def _best_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    best, last = facts["best"], facts["last"]
    if best is None:
        return []
    figure, value = facts["figure"].removeprefix("eval_"), best["value"]
    kept = f"kept as {best['checkpoint']}" if best["checkpoint"] else "not kept: no checkpoint was written there"
    saved = f"the {facts['weights']}, of step {(best if facts['weights'] == 'best' else last)['step']}"
    rows = [("best measurement", f"{figure} {value:.4g} at step {best['step']} ({kept})")]
    if last["checkpoint"]:
        rows.append(("last checkpoint", last["checkpoint"]))
    return [*rows, ("saved weights", saved)]


def _peaks_before(memory: Mapping[str, Any]) -> tuple[float, float]:
    """Peaks that PyTorch's counter has forgotten: until training began, and that of the training with its trial."""
    return memory.get("before_gib", 0.0), memory.get("measured_gib", 0.0)


def _peak_memory_gib() -> float:
    """Of the GPU where there is one, else of this process."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated()) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _threads() -> int:
    import torch

    return int(torch.get_num_threads())


def _cpu() -> str:
    """What the last bits of a sum hang on, besides the threads."""
    import platform

    import torch

    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{model or platform.processor() or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
