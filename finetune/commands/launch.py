"""`finetune launch`: the file of a job for several machines. Checks the recipe and writes the file; submits nothing."""

import argparse
import sys
from pathlib import Path

from finetune.commands.checking import planned_machine, print_faults, resolved
from finetune.errors import MachineError, UsageError

HELP = "write the file of a job for several machines"
USE = (("finetune launch RECIPE --dry-run --to slurm --nodes 2 --gpus 8", "a Slurm script, or a SkyPilot task"),)
LONG = False
KINDS = ("slurm", "skypilot")
MOST = 1024


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--to", choices=KINDS, required=True, help="whose job it is")
    parser.add_argument("--nodes", type=int, required=True, metavar="M", help="machines")
    parser.add_argument("--gpus", required=True, metavar="K", help="GPUs of each machine: 8, or H100:8")
    parser.add_argument("--dry-run", action="store_true", help="write the file, and start nothing (needed)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write it; - prints it")


def run(parsed: argparse.Namespace) -> int:
    from finetune.jobs import KINDS, SUFFIXES, Job, gpus_of
    from finetune.recipe.load import load_recipe

    if not parsed.dry_run:
        raise UsageError("finetune launch starts nothing: add --dry-run, and submit the file that it writes")
    kind, gpus = gpus_of(parsed.gpus)
    if not 1 <= parsed.nodes <= MOST:
        raise UsageError(f"--nodes {parsed.nodes}: write how many machines (1 to {MOST})")
    checked = load_recipe(parsed.recipe, parsed.overrides)
    print_faults(checked.heard(checked.notes))
    plan = resolved(checked, planned_machine("80", parsed.nodes * gpus))
    if plan.blockers:
        raise MachineError(*plan.blockers)
    words = (parsed.recipe, parsed.overrides, parsed.nodes, gpus, kind, checked.recipe.output_dir)
    job = Job(*words, plan.notes)
    text = KINDS[parsed.to](job)
    # Not beside the recipe, where the next check of the folder would take it for one.
    path = parsed.output or Path(job.name + SUFFIXES[parsed.to])
    if str(path) == "-":
        sys.stdout.write(text)
        return 0
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    print(f"{path}: written; submit it with {'sbatch' if parsed.to == 'slurm' else 'sky launch'} {path}")
    return 0
