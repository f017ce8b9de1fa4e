"""`finetune reproduce`: make a run again from its folder alone, and say whether it came to the same."""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.errors import DriftError, RunFolderError, UsageError
from finetune.recipe.source import Path_, path_of
from finetune.rundir import RunDir, refuse_if_running

if TYPE_CHECKING:
    from finetune.reproducing.rebuilding import Rebuilt
    from finetune.reproducing.verdict import Terms, Verdict

HELP = "make a run again from its folder, and compare"
USE = (("finetune reproduce RUN_DIR [--output DIR]", "again, from its folder alone: are figures and weights equal?"),)
LONG = True
REPORT = "reproduction.json"
MEND = "compare all the same: --anyway"
INPUTS = ("base_model", "tokenizer_config", "lora_model_dir", "chat_template_jinja", "dataset_prepared_path")
OF_ENTRIES = ("path", "data_files", "chat_template_jinja")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN_DIR")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="where inputs lie now: datasets.0.path=…")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the new run (RUN_DIR.reproduction)")
    parser.add_argument("--overwrite", action="store_true", help="replace the run that the folder holds")
    parser.add_argument("--anyway", action="store_true", help="also with other data or models, or if changed midway")


@dataclass(frozen=True)
class Recorded:
    """The run that is made again. `until`: the last step that it made, where it was stopped there."""

    folder: RunDir
    status: str
    until: int | None
    processes: int
    threads: int | None


def run(parsed: argparse.Namespace) -> int:
    from finetune.commands import train
    from finetune.reproducing.rebuilding import rebuilt

    recorded = _recorded(parsed.run)
    elsewhere = _elsewhere(parsed.overrides)
    _not_changed_midway(recorded.folder, parsed.anyway)
    here = recorded.folder.path.resolve()
    output = parsed.output or here.with_name(f"{here.name}.reproduction")
    if Path(output).resolve() == here:
        raise UsageError(f"--output {output} is the run that is made again: name another folder")
    made = rebuilt(recorded.folder, Path(os.path.abspath(output)), elsewhere)  # noqa: PTH100
    if recorded.threads is not None:
        _use_threads(recorded.threads)
    with tempfile.TemporaryDirectory(prefix="finetune-reproduce-") as folder:
        recipe = Path(folder) / "recipe.yaml"
        recipe.write_text(made.text, "utf-8")
        pins = _same_inputs(recipe, recorded.folder, parsed.anyway)
        if made.left_out:
            print(f"not done again, since no weight hangs on it: {', '.join(made.left_out)}")
        _foretell(recorded)
        code = train.run(_wish(recipe, pins, recorded.processes, parsed))
    return code or _compared(recorded, RunDir(Path(output)), made)


def _foretell(recorded: Recorded) -> None:
    """Before hours are spent: that the run can only come close here, and how close counts as the same."""
    from finetune.machine import probe
    from finetune.reproducing.verdict import CLOSE, Terms, foreseen

    why = foreseen(recorded.folder, replace(probe(), processes=recorded.processes))
    if why:
        print(f"asked for: {Terms(CLOSE, tuple(why)).said}")


def _wish(recipe: Path, pins: list[str], processes: int, parsed: argparse.Namespace) -> argparse.Namespace:
    """What `finetune train` would be told."""
    return argparse.Namespace(
        recipe=recipe,
        overrides=pins,
        nproc=str(processes) if processes > 1 else None,
        resume=False,
        resume_changed=[],
        overwrite=parsed.overwrite,
        frozen=not parsed.anyway,
        other_versions=True,
        mend=MEND,
    )


def _recorded(path: Path) -> Recorded:
    """RunFolderError for what cannot be made again."""
    from finetune.report.reading import Run

    folder, found = RunDir(path), Run(path)
    folder.read("run.json")
    refuse_if_running(path)
    steps = max((int(line.get("step", 0)) for line in found.metrics if "loss" in line), default=0)
    if found.status != "finished" and not steps:
        raise RunFolderError(f"{path}: its run ({found.status}) made no step, so there is nothing to compare")
    machine, threads = folder.read("machine.json"), found.marker.get("threads")
    until = None if found.status == "finished" else steps
    return Recorded(folder, found.status, until, int(machine.get("processes", 1)), threads)


def _elsewhere(overrides: list[str]) -> dict[Path_, Any]:
    """Place -> where it lies now. UsageError for any other override: it would be another run."""
    found: dict[Path_, Any] = {}
    for text in overrides:
        key, _, value = text.partition("=")
        parts = path_of(key)
        entry = len(parts) == 3 and parts[0] in ("datasets", "test_datasets") and parts[2] in OF_ENTRIES
        if not value or not (entry or key in INPUTS):
            raise UsageError(
                f"{text}: the run is made again as it was; only where its inputs lie may be given, such as "
                "datasets.0.path=/data/rows.jsonl. To train something else: finetune RECIPE"
            )
        found[parts] = value
    return found


def _not_changed_midway(folder: RunDir, anyway: bool) -> None:
    """DriftError for a run that went on with other keys or libraries than it began with."""
    from finetune.report.reading import Run

    changes = [
        f"after step {line['step']}: {', '.join([*line.get('changed', ()), *line.get('libraries', ())])}"
        for line in Run(folder.path).rows("resumed.jsonl")
        if line.get("changed") or line.get("libraries")
    ]
    if changes and not anyway:
        raise DriftError(
            f"{folder.path} went on with something else than it began with ({'; '.join(changes)}), which no run from "
            f"the start comes to; {MEND}"
        )


def _use_threads(count: int) -> None:
    """As many as the run had: the last bits of sums hang on it."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(count)


def _same_inputs(recipe: Path, folder: RunDir, anyway: bool) -> list[str]:
    """Write the lock that holds the new run to the commits, files, tokens and labels of the first one; what has to be
    overridden where nothing holds it. DriftError if files are others."""
    from finetune.commands.freezing import kept_commit
    from finetune.locking.drift import moved_inputs, unseen
    from finetune.locking.lock import IN_RUN, path_of, read
    from finetune.locking.making import lock_of, raw_values
    from finetune.recipe.load import load_recipe

    kept = read(folder.path / IN_RUN)
    if kept is None:
        if anyway:
            return []
        raise DriftError(f"{folder.path} holds no {IN_RUN}, which tells what it read; {MEND}")
    now = lock_of(load_recipe(recipe), raw_values(recipe, ()), kept.inputs, kept_commit(kept.inputs), partly=True)
    moved = list(moved_inputs(kept, now))
    if (moved or unseen(kept, now)) and not anyway:
        lines = [f"{one}: not what the run read; put it back, or {MEND}" for one in moved]
        absent = unseen(kept, now)
        lines += [f"{key}: {_lay(kept.inputs[key], folder)} is not on this machine{_give(key)}" for key in absent]
        raise DriftError(*lines)
    if anyway:
        return _pins(kept.commits)
    # The recipe is the run's own; what it reads, and what that comes to, is to be as it was.
    path_of(recipe).write_text(replace(now, inputs=kept.inputs, trained=kept.trained).text(), "utf-8")
    return []


def _pins(commits: Mapping[str, str]) -> list[str]:
    """Overrides by which a run that is not held to a lock loads the same commits."""
    keys = {key: "revision_of_model" if key == "model" else f"{key}.revision" for key in commits}
    return [f"{keys[key]}={commit}" for key, commit in commits.items() if key == "model" or "datasets." in key]


def _lay(item: Mapping[str, Any], folder: RunDir) -> str:
    return f"{item.get('path', '')} (named from {folder.read('origin.json').get('directory')})"


def _give(key: str) -> str:
    from finetune.locking.inputs import place_of

    return f"; say where it lies now: {'.'.join(map(str, place_of(key)))}=…"


def _compared(recorded: Recorded, new: RunDir, made: "Rebuilt") -> int:
    """Compare, show and write down; the exit code. DriftError if the run came to something else."""
    from finetune.plan import Plan
    from finetune.report.reading import Run
    from finetune.reproducing.comparing import figures, weights
    from finetune.reproducing.verdict import COUNTED, other_calls, terms, verdict

    old = recorded.folder
    changes = other_calls(old, Plan.from_json(new.read("plan.json")), made.places)
    asked = terms(old, new, changes)
    found = figures(Run(old.path).metrics, Run(new.path).metrics, recorded.until)
    both = None if recorded.until is not None else weights(old.weights, new.weights)
    judged = verdict(asked, found, both)
    new.write(
        REPORT,
        {
            "run": str(old.path.resolve()),
            "status": recorded.status,
            "steps": recorded.until,
            "verdict": judged.word,
            "asked": asked.kind,
            "because": list(asked.why),
            "allowed": {name: asked.tolerance(name) for name in COUNTED} | {"weights": asked.of_weights},
            "figures": [figure.as_json() for figure in found],
            "weights": None if both is None else vars(both),
        },
    )
    _show(recorded, asked, judged)
    print(f"report: {new.path / REPORT}")
    if not judged.holds:
        raise DriftError(f"{old.path} was not reproduced: {', '.join(_wrong(judged))} (see the table)")
    return 0


def _wrong(judged: "Verdict") -> list[str]:
    return [name for name, *_, said in judged.lines if said == "DIFFERENT"] or ["there is nothing to compare"]


def _show(recorded: Recorded, asked: "Terms", judged: "Verdict") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "compared", "largest relative difference", "allowed", "", title="Reproduction")
    for line in judged.lines:
        table.add_row(*line)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=140)
    console.print(table)
    console.print(f"asked for: {asked.said}", markup=False, soft_wrap=True)
    stopped = f", as far as it came: step {recorded.until} ({recorded.status})" if recorded.until is not None else ""
    console.print(f"verdict: {judged.word}{stopped}", markup=False)
