"""Recipe keys of going on with a stopped run, and of checkpoints beside the regular ones."""

from typing import Annotated

from pydantic import Field

from finetune.recipe.base import Reaches, Section, Whole

_DYNAMIC = {"enabled": True}
LIBRARIES = "libraries"
"""What resume_changed calls other versions of them."""


class DynamicCheckpoint(Section):
    enabled: Annotated[bool, Field(examples=[True, False]), Reaches("train")] = False
    """Write a checkpoint when a file of a certain name appears in output_dir; the file is removed then."""
    check_interval: Annotated[Whole, Field(ge=1, examples=[1, 50]), Reaches("train", needs=_DYNAMIC)] = 10
    """Steps between two looks for the file."""
    trigger_file_path: Annotated[
        str,
        Field(min_length=1, pattern=r"^[^/\\]+$", examples=["now.save", "checkpoint"]),
        Reaches("train", needs=_DYNAMIC),
    ] = "axolotl_checkpoint.save"
    """Name of the file, without a folder."""


class SurvivingSection(Section):
    resume_from_checkpoint: Annotated[
        str | None,
        Field(min_length=1, examples=["auto", "outputs/run/checkpoints/checkpoint-100"]),
        Reaches("train"),
    ] = None
    """Go on from a checkpoint, or from the newest whole one of a run's folder. `auto`: from the newest in output_dir,
    or from the start where there is none. The recipe and the data must be those of the checkpoint."""
    auto_resume_from_checkpoints: Annotated[bool, Field(examples=[True, False]), Reaches("train")] = False
    """Go on from the newest checkpoint in output_dir; where there is none, from resume_from_checkpoint, if that is set.
    `finetune RECIPE --resume` is the same."""
    resume_changed: Annotated[
        Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None,
        Field(examples=[["learning_rate"], ["num_epochs", "datasets"]]),
        Reaches("train", needs={"resume_from_checkpoint": "auto"}),
    ] = None
    """Keys that may differ from those of the checkpoint, and `libraries` for other versions of torch and its kin;
    `finetune RECIPE --resume-changed KEY` is the same. Training goes on with the new values, and is not any more what
    one run from the start would have been."""
    save_first_step: Annotated[bool, Field(examples=[True, False]), Reaches("train")] = False
    """Write a checkpoint after the first step too, which shows early whether there is room for one."""
    dynamic_checkpoint: Annotated[
        DynamicCheckpoint | None,
        Field(examples=[{"enabled": True}, {"enabled": True, "check_interval": 50}]),
        Reaches("train"),
    ] = None
    """Checkpoints on demand, while the run goes on."""
