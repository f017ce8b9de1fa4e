"""GPUs by their names: how much memory they have, and what they calculate in. Only a table, and how a name is read."""

import re

from finetune.errors import UsageError
from finetune.machine import PACKAGES, Gpu, Machine

GPUS: dict[str, tuple[float, float]] = {
    "B200": (178.4, 10.0),
    "GH200": (94.5, 9.0),
    "H200": (139.8, 9.0),
    "H100": (79.6, 9.0),
    "H100 NVL": (93.6, 9.0),
    "A100": (79.3, 8.0),
    "A100 80GB": (79.3, 8.0),
    "A100 40GB": (39.4, 8.0),
    "A40": (45.0, 8.6),
    "A30": (23.7, 8.0),
    "A10": (22.5, 8.6),
    "A10G": (22.5, 8.6),
    "A6000": (47.5, 8.6),
    "A5000": (23.7, 8.6),
    "A4000": (15.7, 8.6),
    "L40": (44.9, 8.9),
    "L40S": (44.9, 8.9),
    "L4": (22.5, 8.9),
    "T4": (14.6, 7.5),
    "P100": (15.9, 6.0),
    "V100": (15.8, 7.0),
    "V100 32GB": (31.7, 7.0),
    "RTX 6000 Ada": (47.5, 8.9),
    "RTX PRO 6000": (95.0, 12.0),
    "RTX 5090": (31.8, 12.0),
    "RTX 5080": (15.9, 12.0),
    "RTX 5070 Ti": (15.9, 12.0),
    "RTX 4090": (24.0, 8.9),
    "RTX 4080": (16.0, 8.9),
    "RTX 4070": (12.0, 8.9),
    "RTX 4060 Ti 16GB": (16.0, 8.9),
    "RTX 3090": (24.0, 8.6),
    "RTX 3080": (10.0, 8.6),
    "RTX 3060": (12.0, 8.6),
    "RTX 2080 Ti": (11.0, 7.5),
}
"""Name -> (GiB that the driver shows, compute capability)."""
SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(?:G|GB|GIB)?")


def machine_with(wanted: str) -> Machine:
    """A machine with one GPU named by its size (`24`, `24GB`) or its name (`H100`, `RTX 4090`), and every package.
    UsageError for a name that is not known and a size that is none."""
    packages = dict.fromkeys(PACKAGES, "assumed")
    reasons = {"gpu": f"--gpu {wanted}"}
    size = SIZE.fullmatch(wanted.strip().upper())
    if size is not None:
        gib = float(size[1])
        if not 0 < gib < 10_000:
            raise UsageError(f"--gpu {wanted}: no GPU has that size")
        return Machine((Gpu(f"GPU of {gib:g} GB", gib, 9.0),), packages, cores=8, reasons=reasons)
    name = next((name for name in GPUS if _plain(name) == _plain(wanted)), None)
    if name is None:
        known = ", ".join(GPUS)
        raise UsageError(f"--gpu {wanted}: write its size in GB, for example --gpu 24, or one of these names: {known}")
    gib, capability = GPUS[name]
    return Machine((Gpu(name, gib, capability),), packages, cores=8, reasons=reasons)


def _plain(name: str) -> str:
    words = re.sub(r"[^A-Z0-9]", "", name.upper())
    return words.removeprefix("NVIDIA").removeprefix("GEFORCE").removeprefix("TESLA").removeprefix("RTX")
