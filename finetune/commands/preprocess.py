"""`finetune preprocess`: tokens and labels of a recipe's data as Parquet files, without a GPU and without the model."""

import argparse
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.commands.checking import print_faults, resolved
from finetune.errors import UsageError

if TYPE_CHECKING:
    from finetune.previewing import Prepared

HELP = "write tokens and labels as Parquet"
USE = (("finetune preprocess RECIPE [--output DIR]", "tokens and labels as Parquet, without a GPU"),)
LONG = True
FILES = {"train": "train.parquet", "validation": "validation.parquet"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write (output_dir/prepared)")


def run(parsed: argparse.Namespace) -> int:
    from rich.console import Console

    from finetune.machine import probe
    from finetune.previewing import prepare
    from finetune.recipe.load import load_recipe
    from finetune.runner import quiet_libraries

    checked = load_recipe(parsed.recipe, parsed.overrides)
    print_faults(checked.heard(checked.notes))
    plan = resolved(checked, probe())
    folder = parsed.output or Path(checked.recipe.output_dir).expanduser() / "prepared"
    quiet_libraries(bars=False)
    began = time.monotonic()
    with Console(stderr=True).status("reading and tokenizing"):
        prepared = prepare(plan)
    written = write(folder, prepared)
    console = Console()
    for note in prepared.notes:
        console.print(note, highlight=False)
    for purpose, tokenized in prepared.made.items():
        counted = tokenized.counted
        console.print(
            f"{purpose}: {counted.kept:,} rows, {counted.tokens:,} tokens, {counted.trained_share:.0%} learned, "
            f"{counted.dropped:,} dropped, {counted.truncated:,} cut -> {written[purpose]}",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"{time.monotonic() - began:.1f} s", highlight=False)
    return 0


def write(folder: Path, prepared: "Prepared") -> dict[str, Path]:
    """Write each purpose's file beside its place and move it there whole. UsageError where the folder cannot be had."""
    import pyarrow as pa
    from pyarrow import parquet

    written = {}
    numbers = pa.list_(pa.int32())
    schema = pa.schema([("input_ids", numbers), ("labels", numbers), ("source", pa.string()), ("row", pa.int64())])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for purpose, name in FILES.items():
            examples = prepared.examples(purpose)
            if not examples:
                # An older run's rows must not stand beside this one's.
                (folder / name).unlink(missing_ok=True)
                continue
            columns = {
                "input_ids": [one.input_ids for one in examples],
                "labels": [one.labels for one in examples],
                "source": [one.source for one in examples],
                "row": [one.row for one in examples],
            }
            partial = folder / f".{name}.partial"
            parquet.write_table(pa.table(columns, schema=schema), partial, compression="zstd")
            shutil.move(partial, folder / name)
            written[purpose] = folder / name
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}") from None
    return written
