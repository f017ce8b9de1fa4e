"""Recipe keys of the trackers that metrics can also go to."""

from typing import Annotated, Literal

from pydantic import Field

from finetune.recipe.base import Reaches, Section

_WANDB = Reaches("train", needs={"wandb_project": "project"})
_MLFLOW = Reaches("train", needs={"use_mlflow": True})
_COMET = Reaches("train", needs={"use_comet": True})
_TRACKIO = Reaches("train", needs={"use_trackio": True})
_SWANLAB = Reaches("train", needs={"use_swanlab": True})
_Name = Annotated[str, Field(min_length=1)]
_Switch = Annotated[bool | None, Field(examples=[True, False]), Reaches("train")]


class TrackingSection(Section):
    use_tensorboard: Annotated[bool, Reaches("train")] = False
    """Also write TensorBoard events (needs the tensorboard package)."""
    use_wandb: _Switch = None
    """Also log to Weights & Biases (needs the wandb package). Unset: where wandb_project is set."""
    wandb_project: Annotated[_Name | None, Field(examples=["my-project", "other"]), Reaches("train")] = None
    """Also log to this Weights & Biases project."""
    wandb_entity: Annotated[_Name | None, Field(examples=["team", "me"]), _WANDB] = None
    """Weights & Biases user or team."""
    wandb_name: Annotated[_Name | None, Field(examples=["run-1", "run-2"]), _WANDB] = None
    """Name of the run in Weights & Biases."""
    wandb_run_id: Annotated[_Name | None, Field(examples=["abc123", "def456"]), _WANDB] = None
    """Id of the run in Weights & Biases; the same id goes on with that run."""
    wandb_mode: Annotated[
        Literal["online", "offline", "disabled"] | None, Field(examples=["offline", "online"]), _WANDB
    ] = None
    """`offline` writes to a folder for `wandb sync`."""
    wandb_watch: Annotated[
        Literal["gradients", "parameters", "all"] | None, Field(examples=["gradients", "all"]), _WANDB
    ] = None
    """Also log histograms of gradients or weights."""
    wandb_log_model: Annotated[Literal["checkpoint", "end"] | None, Field(examples=["end", "checkpoint"]), _WANDB] = (
        None
    )
    """Also upload every checkpoint, or the last."""
    use_mlflow: _Switch = None
    """Also log to MLflow (needs the mlflow package). Unset: where mlflow_experiment_name is set."""
    mlflow_tracking_uri: Annotated[_Name | None, Field(examples=["http://localhost:5000", "./mlruns"]), _MLFLOW] = None
    """MLflow server or folder."""
    mlflow_experiment_name: Annotated[_Name | None, Field(examples=["experiment", "other"]), Reaches("train")] = None
    """Also log to this MLflow experiment."""
    mlflow_run_name: Annotated[_Name | None, Field(examples=["run-1", "run-2"]), _MLFLOW] = None
    """Name of the run in MLflow."""
    hf_mlflow_log_artifacts: Annotated[bool, _MLFLOW] = False
    """Also copy every checkpoint to MLflow."""
    use_comet: _Switch = None
    """Also log to Comet (needs the comet_ml package). Unset: where comet_project_name is set."""
    comet_project_name: Annotated[_Name | None, Field(examples=["my-project", "other"]), Reaches("train")] = None
    """Also log to this Comet project."""
    comet_workspace: Annotated[_Name | None, Field(examples=["team", "me"]), _COMET] = None
    """Comet workspace."""
    comet_experiment_key: Annotated[_Name | None, Field(examples=["abc123", "def456"]), _COMET] = None
    """Key of an experiment in Comet to go on with."""
    comet_online: Annotated[bool | None, Field(examples=[False, True]), _COMET] = None
    """false keeps the experiment in the run folder, for `comet upload`. Unset: where Comet can be reached."""
    comet_mode: Annotated[
        Literal["get", "create", "get_or_create"] | None, Field(examples=["create", "get"]), _COMET
    ] = None
    """Whether to go on with a Comet experiment or begin one."""
    use_trackio: _Switch = None
    """Also log to Trackio (needs the trackio package). Unset: where trackio_project_name is set."""
    trackio_project_name: Annotated[_Name | None, Field(examples=["my-project", "other"]), Reaches("train")] = None
    """Also log to this Trackio project."""
    trackio_run_name: Annotated[_Name | None, Field(examples=["run-1", "run-2"]), _TRACKIO] = None
    """Name of the run in Trackio."""
    trackio_space_id: Annotated[_Name | None, Field(examples=["me/space", "team/space"]), _TRACKIO] = None
    """Hub space that shows the run."""
    use_swanlab: _Switch = None
    """Also log to SwanLab (needs the swanlab package). Unset: where swanlab_project is set."""
    swanlab_project: Annotated[_Name | None, Field(examples=["my-project", "other"]), Reaches("train")] = None
    """Also log to this SwanLab project."""
    swanlab_experiment_name: Annotated[_Name | None, Field(examples=["run-1", "run-2"]), _SWANLAB] = None
    """Name of the run in SwanLab."""
    swanlab_mode: Annotated[
        Literal["cloud", "local", "offline", "disabled"] | None, Field(examples=["local", "offline"]), _SWANLAB
    ] = None
    """Where SwanLab keeps the run."""
    swanlab_workspace: Annotated[_Name | None, Field(examples=["team", "me"]), _SWANLAB] = None
    """SwanLab user or team."""
