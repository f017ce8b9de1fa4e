"""Recipe keys of what a run leaves behind: its folder, tracking, and the sample answers."""

from typing import Annotated

from pydantic import Field

from finetune.recipe.base import Number, Reaches, Section, Whole

_WANDB = {"wandb_project": "project"}


class GenerationSection(Section):
    sample_prompts: Annotated[
        list[Annotated[str, Field(min_length=1)]] | None,
        Field(examples=[["What is integration?"], ["Hello"]]),
        Reaches("generate"),
    ] = None
    """Questions answered before and after training, side by side in the run folder. Unset: the first questions of the
    validation rows; [] asks none."""
    generation_max_new_tokens: Annotated[Whole, Field(ge=1, examples=[256, 64]), Reaches("generate")] = 128
    """Tokens of an answer at most; an answer normally ends by its stop token before that."""
    generation_temperature: Annotated[Number, Field(ge=0, examples=[0.7, 1.5]), Reaches("generate")] = 0.0
    """0: always the most likely token. Above: sampled, more varied the higher."""
    generation_top_p: Annotated[
        Number | None, Field(gt=0, le=1, examples=[0.9, 0.95]), Reaches("generate", needs={"generation_temperature": 1})
    ] = None
    """Sample among the most likely tokens that together have this probability."""
    generation_top_k: Annotated[
        Whole | None, Field(ge=1, examples=[50, 20]), Reaches("generate", needs={"generation_temperature": 1})
    ] = None
    """Sample among this many most likely tokens. Unset: all."""
    generation_min_p: Annotated[
        Number | None, Field(ge=0, le=1, examples=[0.1, 0.05]), Reaches("generate", needs={"generation_temperature": 1})
    ] = None
    """Sample among tokens at least this share as likely as the likeliest."""


class OutputSection(Section):
    output_dir: Annotated[str, Field(min_length=1, examples=["./outputs/run", "runs/a"]), Reaches("train", "save")]
    """Folder of the run, relative to the working directory: recipe, plan, metrics, adapter, answers, log."""
    use_tensorboard: Annotated[bool, Reaches("train")] = False
    """Also write TensorBoard events (needs the tensorboard package)."""
    wandb_project: Annotated[str | None, Field(min_length=1, examples=["my-project", "other"]), Reaches("train")] = None
    """Also log to this Weights & Biases project (needs the wandb package)."""
    wandb_entity: Annotated[
        str | None, Field(min_length=1, examples=["team", "me"]), Reaches("train", needs=_WANDB)
    ] = None
    """Weights & Biases user or team."""
    wandb_name: Annotated[
        str | None, Field(min_length=1, examples=["run-1", "run-2"]), Reaches("train", needs=_WANDB)
    ] = None
    """Name of the run in Weights & Biases."""
