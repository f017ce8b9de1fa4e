"""A sweep from its first trial to the winning recipe. Owns the order of things and the folder; a trial is the business
of trial.py, the search that of study.py."""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from finetune.errors import RunFolderError, TrainingError
from finetune.recipe.load import Checked, load_recipe
from finetune.screen import Screen
from finetune.sweeping import study as search
from finetune.sweeping.checking import fault_of
from finetune.sweeping.page import page
from finetune.sweeping.results import Results, results, table
from finetune.sweeping.space import Values, grid, overrides, shown
from finetune.sweeping.trial import Outcome, run_trial
from finetune.sweeping.writing import recipe_text

DATABASE = "sweep.db"
BEST = "best.yaml"


@dataclass(frozen=True)
class Sweep:
    """What was asked for. `given`: overrides of the command line."""

    path: Path
    given: Sequence[str]
    checked: Checked
    folder: Path

    @property
    def section(self) -> Any:
        return self.checked.sweep

    @property
    def count(self) -> int:
        """How many trials."""
        if self.section.method == "grid":
            return len(grid(self.section) or ())
        return int(self.section.trials)


def run_sweep(sweep: Sweep, overwrite: bool) -> Results:
    """Every trial that is still to be made; goes on where an earlier call of the same sweep ended. RunFolderError if
    the folder holds something else; TrainingError if no trial came to an end."""
    screen = Screen()
    _open_folder(sweep, overwrite)
    with _alone(sweep.folder):
        study = _study(sweep, screen)
        try:
            while len(search.closed(study)) < sweep.count:
                _one(sweep, study, screen)
                _write(sweep, study)
        finally:
            found = _write(sweep, study)
    screen.console.print(table(found))
    if found.best is None:
        raise TrainingError(f"none of the {len(found.rows)} trials came to an end; {sweep.folder}/sweep.json says why")
    screen.say(f"best recipe: {sweep.folder / BEST}")
    screen.say(f"page: {sweep.folder / 'sweep.html'}")
    return found


def _one(sweep: Sweep, study: Any, screen: Screen) -> None:
    trial, values = search.ask(study, sweep.section)
    screen.say(f"trial {trial.number:03}  {shown(values)}")
    fault = fault_of(sweep.path, sweep.given, values)
    if fault is not None:
        outcome = Outcome("failed", None, 0, 0.0, f"this is no recipe: {fault[1]}")
    else:
        recipe = _write_recipe(sweep, trial.number, values)

        def seen(step: int, value: float) -> bool:
            trial.report(value, step)
            return sweep.section.pruner != "none" and bool(trial.should_prune())

        try:
            outcome = run_trial(recipe, recipe.with_suffix(""), sweep.section.figure, seen)
        except KeyboardInterrupt:
            search.retry(study, study.trials[trial.number])
            screen.say(f"trial {trial.number:03} ended with the sweep; the same command goes on")
            raise
    _tell(study, trial, outcome)
    came = f"{sweep.section.figure} {outcome.value:.5g}" if outcome.value is not None else outcome.reason
    screen.say(f"trial {trial.number:03}  {outcome.state}  {came}  ({outcome.seconds:.0f} s)")


def _tell(study: Any, trial: Any, outcome: Outcome) -> None:
    from optuna.trial import TrialState

    trial.set_user_attr("seconds", round(outcome.seconds, 2))
    trial.set_user_attr("reason", outcome.reason)
    if outcome.state == "complete":
        study.tell(trial, outcome.value)
    else:
        study.tell(trial, state=TrialState.PRUNED if outcome.state == "pruned" else TrialState.FAIL)


def _write_recipe(sweep: Sweep, number: int, values: Values) -> Path:
    """trials/NNN.yaml, which trains into trials/NNN. Whatever a killed sweep left there goes."""
    path = sweep.folder / "trials" / f"{number:03}.yaml"
    if path.with_suffix("").exists():
        shutil.rmtree(path.with_suffix(""))
    checked = load_recipe(sweep.path, [*sweep.given, *overrides(values)])
    head = [f"Trial {number:03} of the sweep of {sweep.path}.", *(f"  {line}" for line in shown(values).split(", "))]
    path.write_text(recipe_text(checked, str(path.with_suffix("")), head), "utf-8")
    return path


def _write(sweep: Sweep, study: Any) -> Results:
    """sweep.json, sweep.html and the best recipe, as far as the trials have come."""
    found = results(sweep.path.name, sweep.section, study.trials)
    _replace(sweep.folder / "sweep.json", json.dumps(found.as_json(), indent=2, ensure_ascii=False) + "\n")
    _replace(sweep.folder / "sweep.html", page(found))
    if found.best is not None:
        row = next(row for row in found.rows if row.number == found.best)
        checked = load_recipe(sweep.path, [*sweep.given, *overrides(row.values)])
        head = [
            f"The best of {len(found.rows)} trials of the sweep of {sweep.path}: trial {row.number:03},",
            f"{sweep.section.figure} {row.value}. It tried {shown(row.values)}.",
        ]
        _replace(sweep.folder / BEST, recipe_text(checked, str(sweep.folder / "best"), head))
    return found


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, "utf-8")
    partial.replace(path)


def _study(sweep: Sweep, screen: Screen) -> Any:
    """The study of the folder: a new one, or the one that is to go on. RunFolderError if that one searched for
    something else."""
    study = search.open_study(sweep.section, sweep.folder / DATABASE)
    asked = _asked(sweep)
    known = study.user_attrs.get("asked")
    if known is None:
        study.set_user_attr("asked", asked)
    elif known != asked:
        differ = ", ".join(name for name in asked if asked[name] != known.get(name))
        raise RunFolderError(
            f"{sweep.folder} holds another sweep (different: {differ}). Name another output_dir, or begin anew with "
            "--overwrite; only sweep.trials may be changed to go on"
        )
    again = search.settle(study)
    if sweep.section.method == "grid":
        search.enqueue_grid(study, sweep.section)
    done = len(search.closed(study))
    if done or again:
        screen.say(f"going on: {done} of {sweep.count} trials are done" + (f", {len(again)} anew" if again else ""))
    return study


def _asked(sweep: Sweep) -> dict[str, str]:
    """What makes two sweeps the same: the recipe but for its sweep, and the sweep but for its trials."""
    data = {key: value for key, value in sweep.checked.source.data.items() if key not in ("sweep", "output_dir")}
    text = yaml.safe_dump(data, sort_keys=True)
    section = sweep.section.model_dump(mode="json", exclude={"trials"} if sweep.section.method == "random" else set())
    section.pop("trials", None)
    return {"recipe": hashlib.sha256(text.encode()).hexdigest(), "sweep": json.dumps(section, sort_keys=True)}


def _open_folder(sweep: Sweep, overwrite: bool) -> None:
    folder = sweep.folder
    if folder.exists() and any(folder.iterdir()) and not (folder / DATABASE).is_file():
        raise RunFolderError(f"output_dir {folder} holds files that are no sweep's. Name another folder")
    if overwrite and folder.exists():
        with _alone(folder):
            shutil.rmtree(folder)
    try:
        (folder / "trials").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"output_dir {folder} cannot be written: {error.strerror}") from None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """RunFolderError if another process sweeps into the folder; the lock goes with its process."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunFolderError(f"another process sweeps into {folder}. Wait, or stop it") from None
        yield
