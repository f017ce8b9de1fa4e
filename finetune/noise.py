"""What libraries say at each start of an installation in which nothing is wrong. Sends those messages, and no other, to
the run's log alone. Knows loggers by name; imports no library."""

import logging

HARMLESS = {
    # torchao 0.18 has kernels for GPUs, and for Pythons, that are not there; it then does without.
    "torchao": "Failed to load ",
    "torchao.kernel.intmm": "Detected no triton",
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
