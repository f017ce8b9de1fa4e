"""`finetune RECIPE`: check, resolve, run, in one process or in several. What the runner raises is shown at the recipe's
line."""

import argparse
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune import ranks
from finetune.commands.checking import gpu_count, print_faults, resolved, settled_by_memory
from finetune.commands.freezing import frozen_options, held_in
from finetune.commands.memory import before_loading
from finetune.errors import (
    DataError,
    Fault,
    FinetuneError,
    MachineError,
    ModelError,
    RunFolderError,
    TrainingError,
    UsageError,
)

if TYPE_CHECKING:
    from finetune.machine import Machine
    from finetune.plan import Plan
    from finetune.recipe.load import Checked
    from finetune.rundir import RunDir

HELP = "train a recipe; the word may be left out"
USE = (
    ("finetune recipes/quickstart.yaml", "train (the same as: finetune train RECIPE)"),
    ("finetune RECIPE learning_rate=1e-4 datasets.0.path=my.jsonl", "with overrides, checked like the recipe itself"),
    ("finetune RECIPE --nproc 4", "on four GPUs; torchrun and accelerate launch -m finetune RECIPE do the same"),
)
LONG = True


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--nproc", metavar="N", help="train in N processes, one for each GPU; `all`: as many as GPUs")
    parser.add_argument("--resume", action="store_true", help="go on with the stopped run that output_dir holds")
    parser.add_argument(
        "--resume-changed", action="append", default=[], metavar="KEY", help="go on although this key has another value"
    )
    frozen_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the run that output_dir holds")


def run(parsed: argparse.Namespace) -> int:
    rank = ranks.this_rank()
    with _one_voice(rank):
        return _run(parsed, rank)


def _run(parsed: argparse.Namespace, rank: ranks.Rank) -> int:
    from finetune.machine import probe
    from finetune.recipe.compose import dumped
    from finetune.recipe.load import load_recipe
    from finetune.runner import Request
    from finetune.runner import run as train

    _refuse_other_plans()
    overrides = [*parsed.overrides, *_resuming(parsed)]
    checked = load_recipe(parsed.recipe, overrides)
    if parsed.nproc and rank.of > 1:
        raise UsageError(f"--nproc starts processes, and a launcher has started {rank.of} already: remove it")
    count = gpu_count(parsed.nproc)
    if rank.first and ranks.LAUNCHED not in os.environ:
        print_faults(checked.heard(checked.notes))
    machine = replace(probe(), processes=max(count, rank.of), device=rank.local)
    composed = dumped(checked.source)
    keys = checked.recipe.model_dump(mode="json")
    try:
        if count > 1:
            return _launched([*_again(parsed), *overrides], resolved(checked, machine), count, len(machine.gpus))
        hold = held_in(rank, parsed, checked)
        plan = hold.plan(resolved(hold.checked, machine))
        settled = _settled(hold.checked, machine)

        def judge(prepared: Any, tokenizer: Any, folder: "RunDir") -> str:
            hold.seal(prepared, tokenizer, folder)
            if settled:
                folder.write("settled.json", settled)
            return before_loading(checked, plan, machine, prepared)

        request = Request(parsed.recipe, overrides, checked.recipe.output_dir, composed, keys, parsed.overwrite, judge)
        return train(request, plan, machine)
    except FinetuneError as error:
        error.faults = tuple(_at_its_line(fault, error, checked) for fault in error.faults)
        raise


def _settled(checked: "Checked", machine: "Machine") -> dict[str, Any]:
    """What memory decided for keys that say `auto`, and for those that follow: another run of it needs the same."""
    from finetune.recipe.auto import chosen_by_memory

    if not chosen_by_memory(checked.recipe):
        return {}
    asked, made = (
        recipe.model_dump(mode="json") for recipe in (checked.recipe, settled_by_memory(checked, machine).recipe)
    )
    return {key: value for key, value in made.items() if value != asked[key]}


def _again(parsed: argparse.Namespace) -> list[str]:
    """The words of the command line that each process of a run gets."""
    switches = {"--overwrite": parsed.overwrite, "--frozen": parsed.frozen, "--other-versions": parsed.other_versions}
    return [str(parsed.recipe), *(word for word, on in switches.items() if on)]


def _launched(words: list[str], plan: "Plan", count: int, gpus: int) -> int:
    from finetune.launching import launch

    if plan.blockers:
        raise MachineError(*plan.blockers)
    if gpus and count > gpus:
        raise MachineError(f"--nproc {count}: each process needs a GPU of its own, and there are {gpus}")
    return launch(["train", *words], count)


def _refuse_other_plans() -> None:
    """MachineError where `accelerate launch` was told of another way to share a model out than the recipe's."""
    for name in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        if os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true":
            raise MachineError(
                f"accelerate's own configuration asks for {name}, which would change what the recipe plans: start "
                "accelerate launch --multi_gpu -m finetune RECIPE, and write fsdp_version: 2 in the recipe, or "
                "deepspeed: FILE.json"
            )


@contextmanager
def _one_voice(rank: ranks.Rank) -> Iterator[None]:
    """Of several processes that fail, one says why."""
    if rank.of == 1:
        yield
        return
    if ranks.LAUNCHED in os.environ:
        from finetune.launching import end_with

        end_with(int(os.environ[ranks.LAUNCHED]))
    try:
        yield
    except FinetuneError as error:
        if not isinstance(error, ranks.OtherFailed) and ranks.speaks():
            if ranks.several_machines():
                error.add_note(f"said by process {rank.number + 1} of {rank.of}, on {socket.gethostname()}")
            raise
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt as stop:
        if rank.first:
            raise
        raise SystemExit(128 + getattr(stop, "number", 2)) from None
    except Exception as error:
        lost = ranks.is_lost(error)
        if (lost and ranks.LAUNCHED in os.environ) or not ranks.speaks():
            raise SystemExit(TrainingError.exit_code) from None
        if lost:
            first = (str(error).strip().splitlines() or ["it does not answer"])[0]
            raise TrainingError(f"another process of this run is gone; its launcher may say why: {first}") from error
        raise


def _resuming(parsed: argparse.Namespace) -> list[str]:
    """The options as what they are: overrides of keys."""
    changed = [f"resume_changed=[{', '.join(parsed.resume_changed)}]"] if parsed.resume_changed else []
    named = any(word.startswith("resume_from_checkpoint=") for word in parsed.overrides)
    auto = parsed.resume or (changed and not named)
    return changed + ["auto_resume_from_checkpoints=true"] * bool(auto)


FILE_LIKE = re.compile(r"[/.]\w")
SUBJECTS = {ModelError: "base_model", DataError: "datasets", RunFolderError: "output_dir"}
"""The key to point at where a fault names none that the recipe holds."""


def _at_its_line(fault: Fault, error: FinetuneError, checked: "Checked") -> Fault:
    """The fault at the line of the file or folder that its message names, else of the first written key in it."""
    if fault.where is not None:
        return fault
    files = {word for word in (word.strip("()`',;:") for word in fault.message.split()) if FILE_LIKE.search(word)}
    if path := checked.source.path_that_says(files):
        return replace(fault, where=checked.source.where(path))
    words = fault.message.replace(":", " ").replace("`", " ").replace(".", " ").split()
    named = next((word for word in words if (word,) in checked.source.lines), SUBJECTS.get(type(error)))
    return replace(fault, where=checked.source.where((named,) if named else ()))
