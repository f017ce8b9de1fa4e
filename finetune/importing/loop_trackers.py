"""TrainingArguments about trackers: report_to and the names of a run -> lines of a draft."""

from collections.abc import Mapping
from typing import Any

from finetune.importing.draft import IDLE, LOST, Draft
from finetune.importing.found import Setting, Symbol, known

Settings = Mapping[str, Setting]

TRACKERS = {
    "wandb": ("use_wandb", "wandb_name"),
    "tensorboard": ("use_tensorboard", ""),
    "mlflow": ("use_mlflow", "mlflow_run_name"),
    "comet_ml": ("use_comet", ""),
    "trackio": ("use_trackio", "trackio_run_name"),
    "swanlab": ("use_swanlab", "swanlab_experiment_name"),
}


def word(value: Any) -> Any:
    """`IntervalStrategy.STEPS`, False (an unquoted `no`) and the like as the word that is meant."""
    if isinstance(value, Symbol):
        return value.text.rsplit(".", 1)[-1].lower()
    return "no" if value is False or value is None else value


def read_trackers(settings: Settings, draft: Draft) -> None:
    setting, name = settings.get("report_to"), settings.get("run_name")
    given = word(setting.value) if setting is not None else "none"
    names = given if isinstance(given, list) else [] if given in ("none", "no", "", []) else [given]
    if setting is not None and not names:
        draft.tell(IDLE, setting, "no tracker, as when it is not written; metrics are in the run folder")
    for one in names:
        if not known(one) or setting is None:
            draft.unread(setting or name)  # type: ignore[arg-type]
        elif isinstance(one, str) and one in TRACKERS:
            draft.put(TRACKERS[one][0], True, setting)
        elif one not in ("none", None):
            advice = "write use_wandb, use_tensorboard or another of docs/keys.md#tracking"
            draft.tell(LOST, setting, f"the tracker {one!r} is not one of those here", advice)
    key = next((TRACKERS[one][1] for one in names if isinstance(one, str) and TRACKERS.get(one, ("", ""))[1]), "")
    if name is not None and known(name.value) and name.value and key:
        draft.put(key, str(name.value), name)
    elif name is not None:
        _no_name(name, draft)
    _trackio(settings, "trackio" in names, draft)


def _no_name(name: Setting, draft: Draft) -> None:
    if known(name.value):
        draft.tell(IDLE, name, "a run's name is its tracker's, and no tracker takes it; the run folder has one")
    else:
        draft.unread(name)


def _trackio(settings: Settings, on: bool, draft: Draft) -> None:
    for name, key in (("project", "trackio_project_name"), ("trackio_space_id", "trackio_space_id")):
        if name in settings and on and settings[name].value:
            draft.put(key, settings[name].value, settings[name])
        elif name in settings:
            draft.tell(IDLE, settings[name], "it counts only with report_to: trackio")
