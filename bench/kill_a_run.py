"""Kills the quickstart with SIGKILL again and again, packed, with workers that read rows and with accumulated
gradients, and compares it bit for bit with a run that nobody disturbed: metrics, weights, optimizer, scheduler, random
numbers, answers.

Run from the repository root: python bench/kill_a_run.py [--kills 50] [--seed 0] [key=value …]"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SETTINGS = (
    "sample_packing=true",
    "sequence_len=128",
    "dataloader_num_workers=2",
    "micro_batch_size=1",
    "gradient_accumulation_steps=4",
    "num_epochs=null",
    "max_steps=16",
    "save_steps=1",
    "save_total_limit=2",
    "eval_steps=4",
    "logging_steps=1",
    "lora_dropout=0.1",
    "warmup_steps=2",
)
"""A run of some ten seconds in which each step is saved, so that many kills find it writing."""


def main() -> int:
    command = [sys.executable, "-m", "tests.crashing", str(ROOT / "recipes" / "quickstart.yaml")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    options = ["--kills", "50", "--shortest", "1.5", *sys.argv[1:]]
    return subprocess.run([*command, *options, *SETTINGS], cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
