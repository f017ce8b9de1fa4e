"""The file of a job that trains on several machines: a Slurm script, or a SkyPilot task around torchrun. Writes text,
and submits nothing."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.errors import UsageError

PORT = 29500
"""Where the processes meet on the first machine, which SkyPilot gives to one job alone."""
SAVING_S = 120
"""Seconds before a Slurm job's time is up in which a run ends its step and saves."""


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
        """What each process runs. --resume begins where there is nothing yet."""
        words = ["train", str(self.recipe), *self.overrides, "--resume"]
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
    """Each process is a task of its own: a signal reaches it once, and its exit code is the job's."""
    kind = f"{job.kind.lower()}:" if job.kind else ""
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name={job.name}",
        f"#SBATCH --nodes={job.nodes}",
        f"#SBATCH --ntasks-per-node={job.gpus}",
        f"#SBATCH --gpus-per-node={kind}{job.gpus}",
        "#SBATCH --output=%x-%j.log",
        "#SBATCH --open-mode=append",
        "#SBATCH --requeue",
        f"#SBATCH --signal=B:USR1@{SAVING_S}",
        *job.header,
        "# Submit it with: sbatch FILE. It stands for no partition, account, time or --cpus-per-task: add them,",
        "# here or to that line.",
        "",
        *_tasks(job),
    ]
    return "\n".join(lines) + "\n"


def _tasks(job: Job) -> list[str]:
    """The lines that begin the processes, and put the job back into the queue."""
    saved = shlex.quote(f"{job.output_dir}/checkpoints")
    return [
        "set -euo pipefail",
        "command -v finetune > /dev/null || {",
        '  echo "finetune is not found on $(hostname): activate its environment before sbatch, or above this line" >&2',
        "  exit 6",
        "}",
        'MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)',
        "MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))",
        "export MASTER_ADDR MASTER_PORT",
        'export OMP_NUM_THREADS="${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}"',
        '[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
        "told=0",
        "trap 'told=1; scancel --signal=TERM \"$SLURM_JOB_ID.0\"' USR1",
        "srun --kill-on-bad-exit=1 bash -c '",
        "  export RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_NTASKS LOCAL_RANK=$SLURM_LOCALID",
        f'  export LOCAL_WORLD_SIZE={job.gpus}; exec "$@"\' - \\',
        f"  finetune {job.command} &",
        "step=$!",
        "while code=0; wait $step || code=$?; [ $code = 138 ]; do :; done  # the trap ends a wait",
        f"# {SAVING_S} s before its time is up the run is told to stop: all is saved, and it goes on in its next turn.",
        f'if [ $told = 1 ] && [ $code = 143 ] && [ -n "$(ls -A {saved} 2> /dev/null)" ]; then',
        '  scontrol requeue "$SLURM_JOB_ID"',
        "fi",
        "exit $code",
    ]


def skypilot(job: Job) -> str:
    """UsageError without a kind of GPU, which SkyPilot looks for."""
    if not job.kind:
        raise UsageError(
            f"--gpus {job.gpus}: SkyPilot looks for a kind of GPU, so write it, as in --gpus H100:{job.gpus}"
        )
    lines = [
        *job.header,
        "# SkyPilot copies this folder to each machine: what one writes there no other sees. Name a shared folder as",
        "# output_dir, such as one under `volumes:` or `file_mounts:` of this file.",
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
        f"    -m finetune {job.command}",
    ]
    return "\n".join(lines) + "\n"


KINDS: Mapping[str, Callable[[Job], str]] = {"slurm": slurm, "skypilot": skypilot}
SUFFIXES = {"slurm": ".sbatch", "skypilot": ".sky.yaml"}
