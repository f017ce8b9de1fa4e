"""`finetune prove`: recipes shown to train what they say, on a CPU and without their weights. Shows the reports; what
is proved, and how, is in finetune/proving."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.commands.checking import recipe_files
from finetune.commands.freezing import lock_faults
from finetune.errors import DriftError, ProofError

if TYPE_CHECKING:
    from finetune.proving.lines import Report

HELP = "prove recipes on a CPU, with a tiny model of the same architecture"
USE = (("finetune prove recipes/ mine.yaml", "train the architecture, tiny, on a CPU, and check every promise"),)
LONG = True
FORMATS = ("text", "json", "github", "junit")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--format", choices=FORMATS, default="text", help="text, json, github or junit")
    parser.add_argument("--strict", action="store_true", help="a recipe with warnings does not pass either")
    parser.add_argument("--frozen", action="store_true", help="prove only what is as RECIPE.lock has it, rows apart")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the proofs' folders, with their logs, in DIR")


def run(parsed: argparse.Namespace) -> int:
    # Before any library is imported: a proof uses no GPU and no network.
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    from finetune.proving.prove import proved
    from finetune.proving.showing import Shown

    files = recipe_files(parsed.paths)
    if parsed.frozen and (
        moved := [fault for path in files for fault in lock_faults(path) if fault.severity == "error"]
    ):
        raise DriftError(*moved)
    shown = Shown(parsed.format, len(files))
    reports: list[Report] = []
    for number, path in enumerate(files):
        keep = parsed.keep / f"{number:03}-{path.stem}" if parsed.keep else None
        reports.append(proved(path, [], keep))
        reports[-1].strict = parsed.strict
        shown.report(reports[-1])
    sys.stdout.write(shown.end(reports))
    codes = {report.exit_code or ProofError.exit_code for report in reports if not report.passed}
    return 0 if not codes else codes.pop() if len(codes) == 1 else ProofError.exit_code
