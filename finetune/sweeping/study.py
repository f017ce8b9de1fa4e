"""The search itself, by Optuna: what the next trial tries, when one is ended early, and a memory in SQLite that
outlives the process. Knows no recipe and no training."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.errors import UsageError
from finetune.recipe.sweep import SweepRange, SweepSection
from finetune.sweeping.space import Values, grid, is_whole, number

INTERRUPTED = "interrupted"
"""The reason of a trial that ended with the sweep; it is tried again and does not count."""
CLOSED = ("COMPLETE", "PRUNED", "FAIL")


def open_study(sweep: SweepSection, file: Path | None) -> Any:
    """Optuna's study in the file (None: in memory, for a look ahead). UsageError if the file is no such database."""
    import optuna
    from sqlalchemy.exc import DatabaseError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        return optuna.create_study(
            storage=f"sqlite:///{file}" if file else None,
            study_name="sweep",
            direction="maximize" if sweep.maximizes else "minimize",
            pruner=_pruner(sweep),
            load_if_exists=True,
        )
    except DatabaseError as error:
        raise UsageError(f"{file} is damaged ({str(error).splitlines()[0]}); begin anew with --overwrite") from None


def _pruner(sweep: SweepSection) -> Any:
    import optuna

    if sweep.pruner == "median":
        return optuna.pruners.MedianPruner(sweep.pruner_startup_trials, sweep.pruner_warmup_steps)
    if sweep.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner()
    return optuna.pruners.HyperbandPruner() if sweep.pruner == "hyperband" else optuna.pruners.NopPruner()


def startup_trials(sweep: SweepSection) -> int:
    """Trials of `tpe` that are drawn by chance, since there is nothing yet to go by: a third, three to ten of them."""
    return min(10, max(3, (sweep.trials or 0) // 3))


def ask(study: Any, sweep: SweepSection, done: int | None = None) -> tuple[Any, Values]:
    """The next trial and what it tries. What is drawn hangs on the seed and the count of trials alone, so that a
    sweep that was interrupted goes on as if it had not been. `done`: that count, for a look ahead."""
    import optuna

    count = len(closed(study)) if done is None else done
    drawn = hashlib.sha256(f"{sweep.seed}:{count}".encode()).digest()
    seed = int.from_bytes(drawn[:4], "big")
    if sweep.method == "tpe":
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup_trials(sweep))
    else:
        study.sampler = optuna.samplers.RandomSampler(seed=seed)
    kinds = {key: _distribution(key, given) for key, given in sweep.parameters.items()}
    trial = study.ask(kinds)
    return trial, values_of(sweep, trial.params)


def enqueue_grid(study: Any, sweep: SweepSection) -> None:
    for values in grid(sweep) or []:
        study.enqueue_trial({key: _stored(sweep.parameters[key], value) for key, value in values.items()}, None, True)


def _distribution(key: str, given: list[Any] | SweepRange) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(given, list):
        return CategoricalDistribution([_stored(given, value) for value in given])
    if is_whole(key, given):
        return IntDistribution(int(given.min), int(given.max), log=given.log, step=int(given.step or 1))
    return FloatDistribution(given.min, given.max, log=given.log, step=given.step)


def _stored(given: list[Any] | SweepRange, value: Any) -> Any:
    """Optuna keeps plain values only; others are kept as JSON."""
    if isinstance(given, list) and isinstance(value, list | dict):
        return json.dumps(value)
    return value


def values_of(sweep: SweepSection, params: Mapping[str, Any]) -> Values:
    """A trial's parameters, as the recipe writes them."""
    found: dict[str, Any] = {}
    for key, given in sweep.parameters.items():
        if key not in params:
            continue
        if isinstance(given, list):
            found[key] = next(value for value in given if _stored(given, value) == params[key])
        else:
            found[key] = number(key, given, params[key])
    return found


def settle(study: Any) -> list[int]:
    """Close the trials that were running when the sweep was killed, and have them tried again. Their numbers."""
    import optuna

    open_ones = [trial for trial in study.trials if trial.state is optuna.trial.TrialState.RUNNING]
    for trial in open_ones:
        retry(study, trial)
    return [trial.number for trial in open_ones]


def retry(study: Any, trial: Any) -> None:
    """A trial that ended with the sweep: its values come again."""
    import optuna

    study.enqueue_trial(trial.params)
    study._storage.set_trial_user_attr(trial._trial_id, "reason", INTERRUPTED)
    study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def closed(study: Any) -> list[Any]:
    """The trials that count."""
    return [
        trial for trial in study.trials if trial.state.name in CLOSED and trial.user_attrs.get("reason") != INTERRUPTED
    ]
