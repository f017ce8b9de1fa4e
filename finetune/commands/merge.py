"""`finetune merge RUN`: the base model with what an adapter learned, as one model, and the proof that it is that."""

import argparse
from pathlib import Path

HELP = "merge a run's adapter into its 16-bit base model, with a proof"
USE = (("finetune merge RUN_DIR [--output DIR]", "base model + adapter as one model, proven to be what was trained"),)
LONG = True


def arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write it (default: RUN_DIR/merged)")


def add_run(parser: argparse.ArgumentParser) -> None:
    """What merging and exporting share."""
    parser.add_argument("run", type=Path, metavar="RUN_DIR")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    parser.add_argument(
        "--base",
        metavar="MODEL[@REVISION]",
        help="a copy of the base model, or the 16-bit original of a 4-bit one",
    )
    parser.add_argument("--prompts", type=_count, default=8, metavar="K", help="prompts of the proof (default: 8)")


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 1000")
    return int(text)


def run(parsed: argparse.Namespace) -> int:
    from finetune.exporting.finished import finished_run
    from finetune.exporting.flow import Wish, merge_run, quiet
    from finetune.exporting.places import check_place, written
    from finetune.screen import Screen
    from finetune.stopping import raise_on_signals

    found = finished_run(parsed.run)
    output = parsed.output or parsed.run / "merged"
    check_place(output, parsed.overwrite)
    screen = Screen()
    for note in found.notes:
        screen.say(note)
    raise_on_signals()
    quiet()
    with written(output, parsed.overwrite) as place:
        merge_run(Wish(found, output, parsed.overwrite, parsed.base, parsed.prompts), place, screen)
    screen.say(f"merged model: {output}")
    return 0
