"""Trackers: TensorBoard gets every figure; one that fails costs the run nothing; services that are not there are named
beforehand. And what the libraries say at each start stays off the terminal."""

import json
import logging
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune import noise, trackers


def test_tensorboard_gets_every_figure_the_recipe_and_the_machine(
    write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    code, _, err = finetune(write_recipe(use_tensorboard=True, val_set_size=0.2, eval_steps=1, sample_prompts=[]))
    assert code == 0, err
    run = tmp_path / "run"
    events = EventAccumulator(str(next((run / "tensorboard").rglob("events.*")).parent))
    events.Reload()
    seen = {(tag, at.step): at.value for tag in events.Tags()["scalars"] for at in events.Scalars(tag)}
    for line in (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()):
        for name in ("loss", "eval_loss", "eval_perplexity", "grad_norm"):
            tag = f"eval/{name[5:]}" if name.startswith("eval_") else f"train/{name}"
            if name in line:
                assert seen[tag, line["step"]] == pytest.approx(line[name], rel=1e-6)
    assert {"recipe/text_summary", "machine/text_summary"} <= set(events.Tags()["tensors"])


def test_a_tracker_that_fails_is_left_out_and_the_others_go_on(tmp_path: Path) -> None:
    said: list[str] = []
    heard: list[str] = []

    class Broken:
        def on_log(self, *given: Any, **named: Any) -> None:
            raise KeyError("7f2a")

    class Whole:
        def on_log(self, *given: Any, **named: Any) -> None:
            heard.append("log")

    both = trackers.Trackers({"wandb": Broken(), "mlflow": Whole()}, tmp_path, said.append)
    for _ in range(2):
        both.on_log(None, SimpleNamespace(global_step=3), None)
    assert heard == ["log", "log"]
    assert len(said) == 1 and "wandb failed at step 3 (KeyError: '7f2a'); the run goes on" in said[0]


def closed_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{found.getsockname()[1]}"


@pytest.mark.parametrize(
    ("name", "address", "kept"),
    [
        ("wandb", "WANDB_BASE_URL", ("WANDB_MODE", "offline")),
        ("comet_ml", "COMET_URL_OVERRIDE", ("COMET_START_ONLINE", "0")),
        ("mlflow", "MLFLOW_TRACKING_URI", ("MLFLOW_TRACKING_URI", "sqlite:///")),
    ],
)
def test_a_service_that_is_not_there_is_named_and_the_run_keeps_its_figures(
    name: str, address: str, kept: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in (kept[0], *trackers.DEFAULTS.get(name, {})):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    monkeypatch.setenv(address, closed_port())
    monkeypatch.setitem(trackers.STARTS, name, lambda args, folder: None)
    said: list[str] = []
    trackers.go_offline_where_needed(SimpleNamespace(report_to=[name], run_name=None), tmp_path, said.append)
    assert f"{name}: http://127.0.0.1 cannot be reached" in said[0] and "keeps this run in the run folder" in said[0]
    assert trackers.os.environ[kept[0]].startswith(kept[1])


def test_mlflow_keeps_its_files_in_the_run_and_not_where_one_happens_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, Any] = {}
    experiments = SimpleNamespace(
        set_tracking_uri=lambda uri: made.update(uri=uri),
        get_experiment_by_name=lambda name: None,
        create_experiment=lambda name, artifact_location: made.update(name=name, place=artifact_location),
    )
    monkeypatch.setitem(sys.modules, "mlflow", experiments)
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", *trackers.DEFAULTS["mlflow"]):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    trackers.go_offline_where_needed(SimpleNamespace(report_to=["mlflow"], run_name=None), tmp_path, print)
    assert made == {"uri": f"sqlite:///{tmp_path}/mlflow.db", "name": "finetune", "place": f"file://{tmp_path}/mlflow"}


def test_what_a_sound_installation_says_stays_off_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    noise.quiet_starts()
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel(logging.WARNING)  # as that of Python itself
    logging.getLogger().addHandler(terminal)
    try:
        for name, part in noise.HARMLESS.items():
            logging.getLogger(name).warning("%s of it", part)
        logging.getLogger("torchao").warning("this one matters")
    finally:
        logging.getLogger().removeHandler(terminal)
    assert capsys.readouterr().err == "this one matters\n"
