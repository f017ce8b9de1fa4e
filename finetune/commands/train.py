"""`finetune RECIPE`: check, resolve, run. What the runner raises is shown at the recipe's line."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.commands.checking import print_faults, resolved
from finetune.commands.memory import before_loading
from finetune.errors import DataError, Fault, FinetuneError, ModelError, RunFolderError

if TYPE_CHECKING:
    from finetune.recipe.load import Checked

HELP = "train a recipe; the word may be left out"
USE = (
    ("finetune recipes/quickstart.yaml", "train (the same as: finetune train RECIPE)"),
    ("finetune RECIPE learning_rate=1e-4 datasets.0.path=my.jsonl", "with overrides, checked like the recipe itself"),
)
LONG = True


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--resume", action="store_true", help="go on with the stopped run that output_dir holds")
    parser.add_argument(
        "--resume-changed", action="append", default=[], metavar="KEY", help="go on although this key has another value"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the run that output_dir holds")


def run(parsed: argparse.Namespace) -> int:
    from finetune.machine import probe
    from finetune.recipe.compose import dumped
    from finetune.recipe.load import load_recipe
    from finetune.runner import Request
    from finetune.runner import run as train

    overrides = [*parsed.overrides, *_resuming(parsed)]
    checked = load_recipe(parsed.recipe, overrides)
    print_faults(checked.heard(checked.notes))
    machine = probe()
    plan = resolved(checked, machine)
    composed = dumped(checked.source)
    keys = checked.recipe.model_dump(mode="json")

    def judge(prepared: Any) -> str:
        return before_loading(checked, plan, machine, prepared)

    request = Request(parsed.recipe, overrides, checked.recipe.output_dir, composed, keys, parsed.overwrite, judge)
    try:
        return train(request, plan, machine)
    except FinetuneError as error:
        error.faults = tuple(_at_its_line(fault, error, checked) for fault in error.faults)
        raise


def _resuming(parsed: argparse.Namespace) -> list[str]:
    """The options as what they are: overrides of keys."""
    changed = [f"resume_changed=[{', '.join(parsed.resume_changed)}]"] if parsed.resume_changed else []
    named = any(word.startswith("resume_from_checkpoint=") for word in parsed.overrides)
    auto = parsed.resume or (changed and not named)
    return changed + ["auto_resume_from_checkpoints=true"] * bool(auto)


SUBJECTS = {ModelError: "base_model", DataError: "datasets", RunFolderError: "output_dir"}
"""The key to point at where a fault names none that the recipe holds."""


def _at_its_line(fault: Fault, error: FinetuneError, checked: "Checked") -> Fault:
    """The fault at the line of the first written key that its message names."""
    if fault.where is not None:
        return fault
    words = fault.message.replace(":", " ").replace("`", " ").replace(".", " ").split()
    named = next((word for word in words if (word,) in checked.source.lines), SUBJECTS.get(type(error)))
    return replace(fault, where=checked.source.where((named,) if named else ()))
