"""The trackers in a run: told last, so that they see every figure, and never able to end it. Knows transformers'
callbacks by their events only."""

import functools
import logging
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

REACH_S = 5
"""That a service has to answer before a run."""
DEFAULTS: Mapping[str, Mapping[str, str]] = {
    # Hundreds of lines on the terminal, of what is in the experiment anyway.
    "comet_ml": {"COMET_DISPLAY_SUMMARY_LEVEL": "0"},
    "mlflow": {
        # A server that is gone would else be asked for minutes, at every line of metrics.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
        # A folder as mlflow_tracking_uri is refused by MLflow 3 without it.
        "MLFLOW_ALLOW_FILE_STORE": "true",
    },
}
"""Variables that a tracker reads, where the environment does not have them."""


class Trackers:
    """A callback that hands each event on to the callbacks of the trackers. One that fails is left out from then on,
    which is said once."""

    def __init__(self, callbacks: Mapping[str, Any], folder: Path, say: Callable[[str], None]) -> None:
        self.callbacks, self.folder, self.say = dict(callbacks), folder, say

    def __getattr__(self, event: str) -> Any:
        if not event.startswith("on_"):
            raise AttributeError(event)
        return functools.partial(self._hand_on, event)

    def _hand_on(self, event: str, args: Any, state: Any, control: Any, **named: Any) -> None:
        for name, callback in list(self.callbacks.items()):
            try:
                getattr(callback, event)(args, state, control, **named)
                if event == "on_train_begin":
                    TELL[name](callback, described(self.folder))
            except Exception as error:
                del self.callbacks[name]
                why = f"{type(error).__name__}: {error}".splitlines()
                logging.getLogger(__name__).warning("%s failed in %s", name, event, exc_info=error)
                self.say(
                    f"warning: {name} failed at step {state.global_step} ({why[0][:200]}); the run goes on without it, "
                    "and metrics.jsonl holds every figure"
                )


@dataclass(frozen=True)
class Service:
    """Where a tracker sends to: the address (None: nowhere), the variable or file that holds its key, and what makes
    it keep everything in the run folder instead."""

    address: str | None
    keys: tuple[str, ...]
    offline: Mapping[str, str]
    then: str


def service_of(name: str, folder: Path) -> Service:
    """As the environment has it by now."""
    env, home = os.environ, Path.home()
    if name == "wandb" and env.get("WANDB_MODE", "online") == "online":
        names = ("WANDB_API_KEY", str(home / ".netrc"), str(home / "_netrc"))
        address = env.get("WANDB_BASE_URL", "https://api.wandb.ai")
        return Service(address, names, {"WANDB_MODE": "offline"}, f"`wandb sync {folder}/wandb/offline-run-*` sends it")
    if name == "comet_ml" and env.get("COMET_START_ONLINE", "TRUE").upper() not in ("FALSE", "0"):
        address = env.get("COMET_URL_OVERRIDE", "https://www.comet.com")
        offline = {"COMET_START_ONLINE": "0"}
        return Service(
            address, ("COMET_API_KEY", str(home / ".comet.config")), offline, "`comet upload` sends what is in comet/"
        )
    if name == "swanlab" and env.get("SWANLAB_MODE", "cloud") == "cloud":
        address = env.get("SWANLAB_API_HOST", "https://api.swanlab.cn")
        keys = ("SWANLAB_API_KEY", str(home / ".swanlab" / ".netrc"))
        return Service(address, keys, {"SWANLAB_MODE": "offline"}, "`swanlab sync` sends what is in swanlog/")
    if name == "mlflow":
        local = _own_database(folder)
        address = env.setdefault("MLFLOW_TRACKING_URI", local)
        remote = address if address.startswith("http") else None
        return Service(remote, (), {"MLFLOW_TRACKING_URI": local}, f"`mlflow ui --backend-store-uri {local}` shows it")
    return Service(None, (), {}, "")


def go_offline_where_needed(args: Any, folder: Path, say: Callable[[str], None]) -> None:
    """Name each tracker whose service cannot be used, and have it keep the run in its folder. It comes before the
    trainer starts any of them."""
    for name in args.report_to:
        for variable, value in DEFAULTS.get(name, {}).items():
            os.environ.setdefault(variable, value)
        service = service_of(name, folder)
        if service.address and (why := _unusable(service)):
            os.environ.update(service.offline)
            say(f"warning: {name}: {why}; it keeps this run in the run folder, and {service.then}")
        if name in STARTS:
            try:
                STARTS[name](args, folder)
            except Exception as error:  # noqa: BLE001 - whatever a tracker raises, the training is worth more
                say(f"warning: {name} could not be started: {str(error)[:200]}")


def start_mlflow(args: Any, folder: Path) -> None:
    """A database in the run folder would else keep its files in the working directory."""
    del args
    address = os.environ["MLFLOW_TRACKING_URI"]
    if address != _own_database(folder):
        return
    import mlflow

    name = os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", "finetune")
    mlflow.set_tracking_uri(address)
    if mlflow.get_experiment_by_name(name) is None:
        mlflow.create_experiment(name, artifact_location=(folder.absolute() / "mlflow").as_uri())


def _own_database(folder: Path) -> str:
    return f"sqlite:///{folder.absolute()}/mlflow.db"


def start_swanlab(args: Any, folder: Path) -> None:
    """transformers 5.17 asks swanlab for its run before there is one, which swanlab 0.10 answers by raising: so
    there is one. It reads variables of the names of its own settings as JSON, hence ours."""
    import swanlab

    del folder
    given = {
        "project": "FINETUNE_SWANLAB_PROJECT",
        "workspace": "FINETUNE_SWANLAB_WORKSPACE",
        "mode": "SWANLAB_MODE",
        "log_dir": "SWANLAB_LOG_DIR",
    }
    settings = {name: os.environ[variable] for name, variable in given.items() if os.environ.get(variable)}
    swanlab.init(name=args.run_name, **settings)


STARTS: dict[str, Callable[[Any, Path], None]] = {"mlflow": start_mlflow, "swanlab": start_swanlab}
"""What is to happen before transformers starts a tracker."""


def _unusable(service: Service) -> str | None:
    assert service.address is not None
    parts = urlsplit(service.address)
    try:
        port = parts.port or (80 if parts.scheme == "http" else 443)
        socket.create_connection((parts.hostname or "", port), timeout=REACH_S).close()
    except (OSError, ValueError) as error:
        return f"{parts.scheme}://{parts.hostname} cannot be reached ({error})"
    if service.keys and not any(os.environ.get(key) or os.path.isfile(key) for key in service.keys):  # noqa: PTH113
        return f"there is no key for {parts.hostname} (set {service.keys[0]} in the environment)"
    return None


def described(folder: Path) -> dict[str, Any]:
    """The run's recipe, as composed, and its machine; neither holds a secret."""
    import json

    import yaml

    recipe = yaml.safe_load((folder / "recipe.composed.yaml").read_text("utf-8"))
    return {"recipe": recipe, "machine": json.loads((folder / "machine.json").read_text("utf-8"))}


def _tell_tensorboard(callback: Any, facts: Mapping[str, Any]) -> None:
    import json

    for name, what in facts.items():
        callback.tb_writer.add_text(name, f"```json\n{json.dumps(what, indent=2)}\n```")


def _tell_wandb(callback: Any, facts: Mapping[str, Any]) -> None:
    import wandb

    del callback
    wandb.config.update(dict(facts), allow_val_change=True)


def _tell_mlflow(callback: Any, facts: Mapping[str, Any]) -> None:
    import mlflow

    del callback
    for name, what in facts.items():
        mlflow.log_dict(what, f"{name}.json")


def _tell_comet(callback: Any, facts: Mapping[str, Any]) -> None:
    import comet_ml

    del callback
    experiment = comet_ml.get_running_experiment()
    if experiment is not None:
        experiment.log_parameters(dict(facts))


def _tell_trackio(callback: Any, facts: Mapping[str, Any]) -> None:
    import trackio

    del callback
    trackio.config.update(dict(facts), allow_val_change=True)


def _tell_swanlab(callback: Any, facts: Mapping[str, Any]) -> None:
    import swanlab

    del callback
    swanlab.config.update(dict(facts))


TELL: Mapping[str, Callable[[Any, Mapping[str, Any]], None]] = {
    "tensorboard": _tell_tensorboard,
    "wandb": _tell_wandb,
    "mlflow": _tell_mlflow,
    "comet_ml": _tell_comet,
    "trackio": _tell_trackio,
    "swanlab": _tell_swanlab,
}
"""How each tracker is told the recipe and the machine of a run."""


def trackers_last(trainer: Any, folder: Path, say: Callable[[str], None]) -> None:
    """Put one Trackers in the place of the trackers' own callbacks, after all others."""
    from transformers.integrations.integration_utils import get_reporting_integration_callbacks

    names = trainer.args.report_to
    kinds = get_reporting_integration_callbacks(names)
    own = {name: trainer.pop_callback(kind) for name, kind in zip(names, kinds, strict=True)}
    if own:
        trainer.add_callback(Trackers(own, folder, say))
