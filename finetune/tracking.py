"""Where metrics go besides the run folder: the trackers' names, packages and environment. Knows nothing of training."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune.plan import Call
from finetune.recipe.tracking import TrackingSection


@dataclass(frozen=True)
class Tracker:
    """`switch`: the key that turns it on or off; `main`: the key that turns it on where the switch is not written.
    `environment`: key -> the variable its integration in transformers reads."""

    package: str
    switch: str
    main: str
    run_name: str
    environment: Mapping[str, str]


TRACKERS = {
    "wandb": Tracker(
        "wandb",
        "use_wandb",
        "wandb_project",
        "wandb_name",
        {
            "wandb_project": "WANDB_PROJECT",
            "wandb_entity": "WANDB_ENTITY",
            "wandb_run_id": "WANDB_RUN_ID",
            "wandb_mode": "WANDB_MODE",
            "wandb_watch": "WANDB_WATCH",
            "wandb_log_model": "WANDB_LOG_MODEL",
        },
    ),
    "mlflow": Tracker(
        "mlflow",
        "use_mlflow",
        "mlflow_experiment_name",
        "mlflow_run_name",
        {
            "mlflow_tracking_uri": "MLFLOW_TRACKING_URI",
            "mlflow_experiment_name": "MLFLOW_EXPERIMENT_NAME",
            "hf_mlflow_log_artifacts": "HF_MLFLOW_LOG_ARTIFACTS",
        },
    ),
    "comet_ml": Tracker(
        "comet_ml",
        "use_comet",
        "comet_project_name",
        "comet_run_name",
        {
            "comet_project_name": "COMET_PROJECT_NAME",
            "comet_workspace": "COMET_WORKSPACE",
            "comet_experiment_key": "COMET_EXPERIMENT_KEY",
            "comet_mode": "COMET_START_MODE",
            "comet_online": "COMET_START_ONLINE",
        },
    ),
    "trackio": Tracker("trackio", "use_trackio", "trackio_project_name", "trackio_run_name", {}),
    "swanlab": Tracker(
        "swanlab",
        "use_swanlab",
        "swanlab_project",
        "swanlab_experiment_name",
        {
            "swanlab_project": "FINETUNE_SWANLAB_PROJECT",
            "swanlab_workspace": "FINETUNE_SWANLAB_WORKSPACE",
            "swanlab_mode": "SWANLAB_MODE",
        },
    ),
}


PLACES = {
    "tensorboard": (("TENSORBOARD_LOGGING_DIR", "/tensorboard"),),
    "wandb": (("WANDB_DIR", ""),),
    "comet_ml": (("COMET_OFFLINE_DIRECTORY", "/comet"),),
    "swanlab": (("SWANLAB_LOG_DIR", "/swanlog"),),
}
"""Tracker -> the variables that say where it keeps things, and the places in the run folder."""


def trackers(section: TrackingSection) -> list[str]:
    """Names, as transformers' report_to takes them, of the trackers that the recipe switches on."""
    found = ["tensorboard"] * section.use_tensorboard
    for name, tracker in TRACKERS.items():
        switch = getattr(section, tracker.switch)
        if switch or (switch is None and getattr(section, tracker.main)):
            found.append(name)
    return found


def arguments(section: TrackingSection) -> dict[str, Any]:
    """The trainer's arguments. One run name goes to every tracker; the rules see to it that one is given."""
    on = trackers(section)
    names = [getattr(section, TRACKERS[name].run_name, None) for name in on if name in TRACKERS]
    return {
        "report_to": on or "none",
        "run_name": next((name for name in names if name), None),
        "project": (section.trackio_project_name if "trackio" in on else None) or "huggingface",
        "trackio_space_id": section.trackio_space_id if "trackio" in on else None,
    }


def calls(section: TrackingSection, output_dir: str) -> tuple[Call, ...]:
    """What must happen before the trainer starts its trackers."""
    # What a tracker keeps on disk belongs to the run.
    variables: dict[str, str] = {
        variable: f"{output_dir}{place}" for name in trackers(section) for variable, place in PLACES.get(name, ())
    }
    for name in trackers(section):
        if name in TRACKERS:
            for key, variable in TRACKERS[name].environment.items():
                value = getattr(section, key)
                if value is not None and (value is not False or key == "comet_online"):
                    variables[variable] = str(value).upper() if isinstance(value, bool) else str(value)
    return (Call("finetune.tracking.set_environment", {"variables": variables}),) if variables else ()


def set_environment(variables: Mapping[str, str]) -> None:
    """The trackers read their settings from the environment when transformers starts them."""
    os.environ.update(variables)
