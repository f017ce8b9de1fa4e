"""`finetune generate`: answer a file of prompts."""

import argparse
from pathlib import Path

from finetune.commands.drawing import drawing_options, drawn
from finetune.errors import UsageError

HELP = "answer a file of prompts"
USE = (("finetune generate RUN_DIR --prompts FILE --output FILE.jsonl", "answer a file of prompts, many at a time"),)
LONG = True


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN_DIR|RECIPE")
    parser.add_argument(
        "--prompts",
        type=Path,
        required=True,
        metavar="FILE",
        help=".txt: one a line; .jsonl, .json, .csv: rows; -: from a pipe",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="a .jsonl file that appears whole")
    parser.add_argument("--at-once", type=int, default=32, metavar="N", help="answers written at the same time (32)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file")
    parser.add_argument("--base", action="store_true", help="have the base model answer, without what was trained")
    drawing_options(parser)


def run(parsed: argparse.Namespace) -> int:
    from contextlib import nullcontext

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from finetune.answer_file import Order, Told, answer_file
    from finetune.answering.prompt_rows import wanted
    from finetune.answering.settings import changed
    from finetune.trained import opened

    _refuse(parsed)
    trained = opened(parsed.run)
    if parsed.base and not trained.has_base:
        raise UsageError("--base: all weights were trained, so there is no base model beneath this one")
    try:
        settings = changed(trained.settings, drawn(parsed))
    except ValueError as error:
        raise UsageError(str(error)) from None
    rows = wanted(parsed.prompts, trained.style, settings)
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("answering"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        told = Told(bar, bar.add_task("answering", total=len(rows)), lambda line: console.print(line, soft_wrap=True))
        with trained.as_base() if parsed.base else nullcontext():
            counts = answer_file(trained, rows, Order(parsed.output, parsed.at_once, parsed.base, told))
    kept = f", {counts.kept} of them kept from before" if counts.kept else ""
    print(f"{counts.done} answers{kept}; {counts.stopped} ended by themselves; wrote {parsed.output}")
    return 0


def _refuse(parsed: argparse.Namespace) -> None:
    """UsageError for what cannot be written or asked for."""
    if parsed.output.suffix != ".jsonl":
        raise UsageError(f"--output {parsed.output}: answers are written as JSON lines; name a .jsonl file")
    if parsed.output.exists() and not parsed.overwrite:
        raise UsageError(f"--output {parsed.output} is there already. Name another, or replace it with --overwrite")
    if not parsed.output.absolute().parent.is_dir():
        raise UsageError(f"--output {parsed.output}: there is no folder {parsed.output.parent}")
    if parsed.at_once < 1:
        raise UsageError(f"--at-once {parsed.at_once}: write how many answers are written at the same time, 1 or more")
