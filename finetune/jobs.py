"""The file of a job that trains on several machines: a Slurm script or a SkyPilot task around torchrun. Writes text,
and submits nothing."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.errors import UsageError

PORT = 29500
"""Where the processes meet on the first machine."""


@dataclass(frozen=True)
class Job:
    """`gpus` of a `kind` (empty: any that the cluster gives) on each of `nodes` machines. `said`: the plan's notes."""

    recipe: Path
    overrides: Sequence[str]
    nodes: int
    gpus: int
    kind: str
    output_dir: str
    said: Sequence[str]

    @property
    def name(self) -> str:
        return re.sub(r"[^A-Za-z0-9-]+", "-", self.recipe.stem).strip("-").lower() or "finetune"

    @property
    def command(self) -> str:
        """What each machine runs, after torchrun's own arguments. --resume begins where there is nothing yet."""
        words = ["-m", "finetune", "train", str(self.recipe), *self.overrides, "--resume"]
        return " ".join(shlex.quote(word) for word in words)

    @property
    def header(self) -> list[str]:
        return [
            f"# {self.recipe}: {self.nodes} machines with {self.gpus} GPUs each, {self.nodes * self.gpus} processes",
            *(f"# {line}" for line in self.said),
            f"# {self.output_dir} and the recipe's files must lie where all machines see them.",
        ]


def gpus_of(given: str) -> tuple[str, int]:
    """(kind, number) of `8` or `H100:8`. UsageError for anything else."""
    found = re.fullmatch(r"(?:([A-Za-z][A-Za-z0-9_.-]*):)?([1-9][0-9]*)", given)
    if found is None:
        raise UsageError(f"--gpus {given}: write how many each machine has, 8 or H100:8")
    return found[1] or "", int(found[2])


def slurm(job: Job) -> str:
    kind = f"{job.kind.lower()}:" if job.kind else ""
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name={job.name}",
        f"#SBATCH --nodes={job.nodes}",
        "#SBATCH --ntasks-per-node=1",
        f"#SBATCH --gpus-per-node={kind}{job.gpus}",
        "#SBATCH --output=%x-%j.log",
        "#SBATCH --open-mode=append",
        "#SBATCH --requeue",
        *job.header,
        "# Submit it with: sbatch FILE. It stands for no partition, account or time: add them, here or to that line.",
        "",
        "set -euo pipefail",
        'head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)',
        # torchrun hands SIGTERM on to its processes, which save and end.
        "srun --kill-on-bad-exit=1 torchrun \\",
        f"  --nnodes={job.nodes} --nproc-per-node={job.gpus} --max-restarts=0 \\",
        f'  --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d --rdzv-endpoint="$head:{PORT}" \\',
        f"  {job.command}",
    ]
    return "\n".join(lines) + "\n"


def skypilot(job: Job) -> str:
    """UsageError without a kind of GPU, which SkyPilot looks for."""
    if not job.kind:
        raise UsageError(
            f"--gpus {job.gpus}: SkyPilot looks for a kind of GPU, so write it, as in --gpus H100:{job.gpus}"
        )
    lines = [
        *job.header,
        "# Start it with: sky launch FILE",
        f"name: {job.name}",
        f"num_nodes: {job.nodes}",
        "resources:",
        f"  accelerators: {job.kind}:{job.gpus}",
        "workdir: .",
        "setup: |",
        "  pip install finetune-recipes",
        "run: |",
        '  head=$(echo "$SKYPILOT_NODE_IPS" | sed -n 1p)',
        "  torchrun \\",
        f"    --nnodes={job.nodes} --nproc-per-node={job.gpus} --max-restarts=0 \\",
        f'    --node-rank="$SKYPILOT_NODE_RANK" --master-addr="$head" --master-port={PORT} \\',
        f"    {job.command}",
    ]
    return "\n".join(lines) + "\n"


KINDS: Mapping[str, Callable[[Job], str]] = {"slurm": slurm, "skypilot": skypilot}
SUFFIXES = {"slurm": ".sbatch", "skypilot": ".sky.yaml"}
