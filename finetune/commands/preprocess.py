"""`finetune preprocess`: tokens and labels of a recipe's data as Parquet files, without a GPU and without the model."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.commands.checking import print_faults, resolved
from finetune.commands.freezing import frozen_options, held
from finetune.errors import UsageError

if TYPE_CHECKING:
    from finetune.data.prepared import Prepared

HELP = "write tokens and labels as Parquet"
USE = (("finetune preprocess RECIPE [--output DIR]", "tokens and labels as Parquet, without a GPU"),)
LONG = True
FILES = {"train": "train.parquet", "validation": "validation.parquet"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write (output_dir/prepared)")

    frozen_options(parser)


def run(parsed: argparse.Namespace) -> int:
    from finetune.machine import probe
    from finetune.previewing import prepare, tokenizer_alone
    from finetune.recipe.load import load_recipe
    from finetune.screen import Screen
    from finetune.stopping import raise_on_signals

    checked = load_recipe(parsed.recipe, parsed.overrides)
    print_faults(checked.heard(checked.notes))
    hold = held(parsed, checked)
    plan = hold.plan(resolved(hold.checked, probe()))
    folder = parsed.output or Path(checked.recipe.output_dir).expanduser() / "prepared"
    if folder.is_file():
        raise UsageError(f"--output {folder}: name a folder; {' and '.join(FILES.values())} are written into it")
    began = time.monotonic()
    raise_on_signals()
    tokenizer_alone(plan)
    screen = Screen()
    with screen.preparing() as watch:
        looked = prepare(plan, watch)
    hold.judge(looked)
    with screen.stage("writing Parquet"):
        written = write(folder, looked.data, looked.tokenizer)
    for note in (*looked.data.said(), *looked.notes[len(looked.data.notes) :]):
        screen.say(note)
    for purpose, counted in looked.data.counted.items():
        figures = [
            ("rows", _rows(counted.kept, counted.rows)),
            ("tokens", f"{counted.tokens:,}"),
            ("learned", f"{counted.trained_share:.0%}"),
            ("dropped", f"{counted.dropped:,}"),
            ("cut", f"{counted.truncated:,}"),
        ]
        if purpose == "train" and looked.fill is not None:
            figures.append(("packed rows full", f"{looked.fill:.1%}"))
        screen.table(purpose, [*figures, ("file", str(written[purpose]))])
    screen.say(f"{time.monotonic() - began:.1f} s")
    return 0


def _rows(kept: int, read: int) -> str:
    """Texts may become several rows, and conversations one for each answer."""
    return f"{kept:,}, made of {read:,}" if kept > read else f"{kept:,} of {read:,}"


def write(folder: Path, prepared: "Prepared", tokenizer: Any) -> dict[str, Path]:
    """Write each purpose's file beside its place and move it there whole. UsageError where the folder cannot be had."""
    from finetune.data import shapes

    written = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for purpose, name in FILES.items():
            if purpose not in prepared.purposes:
                # An older run's rows must not stand beside this one's.
                (folder / name).unlink(missing_ok=True)
                continue
            written[purpose] = folder / name
            if prepared.is_in(folder / name, purpose):
                continue
            partial = folder / f".{name}.partial"
            try:
                if prepared.facts["kind"] == "rows":
                    prepared.write_parquet(purpose, partial)
                else:
                    shapes.write_parquet(prepared, purpose, partial, tokenizer)
                partial.replace(folder / name)
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}") from None
    return written
