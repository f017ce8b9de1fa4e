"""When a run's page is written, and that no fault of a page is ever one of the run."""

import logging
from pathlib import Path
from typing import Any

from finetune.report.looking import FILE, looked_at
from finetune.rundir import RunDir

PAGE = "report.html"


def keep_rows(folder: RunDir, prepared: Any, tokenizer: Any) -> None:
    """What the page will show of the data."""
    try:
        folder.write(FILE, looked_at(prepared, tokenizer))
    except Exception:  # noqa: BLE001 - whatever is wrong with a picture of the data, the data is trained on
        _logged("the rows for report.html could not be written")


def write_page(folder: Path) -> None:
    """The page of a run, as far as it has come."""
    try:
        from finetune.report.page import page
        from finetune.report.reading import Run

        RunDir(folder).write_text(PAGE, page(Run(folder)))
    except Exception:  # noqa: BLE001 - a run never fails for its report
        _logged("report.html could not be written; `finetune report` writes it anew")


def _logged(what: str) -> None:
    logging.getLogger(__name__).warning(what, exc_info=True)
