"""What libraries say: it goes to the run's log and not to the terminal. Outside of a run their warnings stay on the
terminal, but for those of an installation in which nothing is wrong. Knows loggers by name."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HARMLESS = {
    # torchao 0.18 has kernels for GPUs, and for Pythons, that are not there; it then does without.
    "torchao": "Failed to load ",
    "torchao.kernel.intmm": "Detected no triton",
    # What does not fit the model is refused, or cut, with a message of its own.
    "transformers.tokenization_utils_base": "Token indices sequence length is longer",
    # torch 2.13 about an enumeration of torchao's.
    "torch.utils._pytree": "is an Enum subclass and is now natively supported",
    # bitsandbytes 0.50 on a CPU: its own kernel is taken.
    "bitsandbytes.backends.cpu.ops": "from kernels-community",
}
"""Logger -> a part of the message."""


class _ToTheRunsLog(logging.Filter):
    def __init__(self, part: str) -> None:
        super().__init__()
        self.part = part

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if self.part not in text:
            return True
        logging.getLogger("finetune.libraries").info("%s: %s", record.name, text)
        return False


def quiet_starts() -> None:
    """To be called before the libraries are imported."""
    for name, part in HARMLESS.items():
        logger = logging.getLogger(name)
        if not any(isinstance(known, _ToTheRunsLog) for known in logger.filters):
            logger.addFilter(_ToTheRunsLog(part))


def quiet_libraries(bars: bool) -> None:
    """Let what transformers and datasets log go to the run's log, and keep their bars off pipes and files."""
    quiet_starts()
    import datasets
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_default_handler()
    transformers_logging.enable_propagation()
    if not bars:
        transformers_logging.disable_progress_bar()
        datasets.disable_progress_bars()


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Send what the libraries log and warn to the run's log instead of the terminal."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    logging.captureWarnings(True)
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    ours = logging.getLogger("finetune")
    ours.setLevel(logging.INFO)
    started = time.monotonic()
    try:
        yield
    finally:
        ours.info("ended after %.1f s", time.monotonic() - started)
        logging.captureWarnings(False)
        root.removeHandler(handler)
        handler.close()
