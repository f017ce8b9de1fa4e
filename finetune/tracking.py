"""Where metrics go besides the run folder. Knows the trackers' environment, nothing of training."""

import os


def name_wandb_project(project: str, entity: str | None) -> None:
    """Weights & Biases reads its project and entity from the environment when transformers starts it."""
    os.environ["WANDB_PROJECT"] = project
    if entity:
        os.environ["WANDB_ENTITY"] = entity
