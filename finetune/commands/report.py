"""`finetune report`: a run as one page, or several beside one another."""

import argparse
from pathlib import Path

from finetune.commands.preview import write
from finetune.errors import RunFolderError, UsageError

HELP = "a run as one page, or several beside one another"
USE = (
    ("finetune report RUN_DIR", "write the run's page, report.html, anew"),
    ("finetune report RUN_A RUN_B [--output FILE.html]", "compare runs on one page"),
)
LONG = False


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN_DIR")
    parser.add_argument("--output", type=Path, metavar="FILE", help="RUN_DIR/report.html; of several: comparison.html")


def run(parsed: argparse.Namespace) -> int:
    from finetune.report.comparison import comparison
    from finetune.report.page import page
    from finetune.report.reading import Run, is_run
    from finetune.report.writing import PAGE

    for path in parsed.runs:
        if not is_run(path):
            raise RunFolderError(f"{path} is not a run folder: it has no run.json of a run")
    if parsed.output is not None and parsed.output.suffix not in (".html", ".htm"):
        raise UsageError(f"--output {parsed.output}: a page is written; name an .html file")
    runs = [Run(path) for path in parsed.runs]
    if len(runs) == 1:
        write(parsed.output or parsed.runs[0] / PAGE, page(runs[0]))
    else:
        write(parsed.output or Path("comparison.html"), comparison(runs))
    return 0
