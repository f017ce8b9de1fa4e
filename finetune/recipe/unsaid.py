"""What a file that was written for Axolotl leaves unsaid, and means otherwise there: for each such key what holds here,
what would hold there, and the line that says the latter. Looks at values only."""

from collections.abc import Iterator, Mapping
from typing import Any

from finetune.errors import Fault
from finetune.recipe.header import Header
from finetune.recipe.intervals import measures_what_it_saves
from finetune.recipe.recipe import Recipe
from finetune.recipe.source import Source

OWN = {*Recipe.model_fields, *Header.model_fields}


def written_for_axolotl(source: Source, notes: list[Fault]) -> bool:
    """Whether a file has a line that only Axolotl's files have: a key that is none here, be it off, or an old
    spelling."""
    return any(path[0] not in OWN for path in source.lines if path) or any(note.code == "FT010" for note in notes)


def unsaid(recipe: Recipe) -> Iterator[str]:
    """A sentence for each key that is not written, counts, and has another default with Axolotl."""
    written, values = recipe.model_fields_set, vars(recipe)
    if "lr_scheduler" not in written:
        yield "`lr_scheduler` is not written: linear here, and cosine with Axolotl. Write the one that is meant"
    if not written & {"warmup_steps", "warmup_ratio"} and recipe.lr_scheduler != "constant":
        message = "neither `warmup_steps` nor `warmup_ratio` is written: no warm-up here, and 3 % of the steps (100 at "
        yield f"{message}most) with Axolotl. Write `warmup_ratio: 0.03`, or `warmup_steps: 0`"
    if "sequence_len" not in written:
        yield "`sequence_len` is not written: 2048 here, and 512 with Axolotl. Write the one that is meant"
    if not written & {"save_strategy", "save_steps", "saves_per_epoch"}:
        message = "`save_strategy` is not written: no checkpoints while training here, and one after each epoch with "
        yield f"{message}Axolotl. Write `save_strategy: epoch`, or `no`"
    if _best_with_axolotl(values):
        yield _best(values)
    if recipe.hub_model_id:
        message = (
            "`hub_model_id` publishes nothing while training, which it does with Axolotl: the run says at its end "
        )
        yield f"{message}how `finetune push` sends it there"


def _best_with_axolotl(values: Mapping[str, Any]) -> bool:
    """Whether Axolotl would go back to the best checkpoint without being asked: where checkpoints are due at steps that
    are measured."""
    if values.get("load_best_model_at_end") is not None or values.get("early_stopping_patience"):
        return False
    if values.get("rl") or values.get("reward_model") or not _has_rows(values):
        return False
    save, measure = _steps(values, "save_steps", "saves_per_epoch"), _steps(values, "eval_steps", "evals_per_epoch")
    return bool(save and measure) and save % measure == 0


def _has_rows(values: Mapping[str, Any]) -> bool:
    return bool(values.get("val_set_size") or values.get("test_datasets"))


def _steps(values: Mapping[str, Any], key: str, per_epoch: str) -> float:
    """Steps, or a share of all, as Axolotl makes them of either key; 0 for neither."""
    times = (values.get(per_epoch) or 0) * values["num_epochs"]
    return values.get(key) or (1.0 / times if times > 1 else 0)


def _best(values: Mapping[str, Any]) -> str:
    message = "`load_best_model_at_end` is not written: a run ends with its last weights here, and with Axolotl goes "
    message += (
        "back to the checkpoint of the lowest validation loss, if there is one of that step. Write false, or true"
    )
    if measures_what_it_saves(values):
        return message
    return f"{message} with as many `saves_per_epoch` as `evals_per_epoch`"
