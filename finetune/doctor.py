"""What is installed, what works, and the pip line for what is missing. Tries each thing for real, in a process of its
own, so that a broken library cannot take the report down with it."""

import subprocess
import sys
from dataclasses import dataclass

from rich.table import Table

from finetune import __version__
from finetune.errors import MachineError
from finetune.machine import Machine, probe
from finetune.recipe.shipped import tested_set
from finetune.screen import LastingConsole

NEEDED = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes")
OPTIONAL = {
    "unsloth": ("backend: unsloth", "pip install 'finetune-recipes[unsloth]'"),
    "flash_attn": ("attn_implementation: flash_attention_2", "pip install flash-attn --no-build-isolation"),
    "flash-attn-4": (
        "attention on Hopper and Blackwell, taken by attn_implementation: auto",
        "pip install --pre flash-attn-4",
    ),
    "tensorboard": ("use_tensorboard", "pip install 'finetune-recipes[tracking]'"),
    "deepspeed": ("deepspeed", "pip install 'finetune-recipes[deepspeed]'"),
    "wandb": ("wandb_project", "pip install wandb"),
}
TIMEOUT_SECONDS = 180


@dataclass(frozen=True)
class Trial:
    """A line of Python that works where the capability does, and the recipe keys it stands for."""

    name: str
    needs: str
    code: str
    gpu: bool = False


TRIALS = (
    Trial("import the training libraries", "every recipe", "import torch, transformers, trl, peft, datasets"),
    Trial(
        "4-bit weights (bitsandbytes NF4)",
        "load_in_4bit",
        "import torch, bitsandbytes.functional as f; d = 'cuda' if torch.cuda.is_available() else 'cpu'; "
        "x = torch.randn(64, 64, device=d); q, s = f.quantize_4bit(x, quant_type='nf4'); "
        "assert (f.dequantize_4bit(q, s) - x).abs().mean() < 0.2",
    ),
    Trial(
        "8-bit weights (bitsandbytes)",
        "load_in_8bit",
        "import torch, bitsandbytes.functional as f; d = 'cuda' if torch.cuda.is_available() else 'cpu'; "
        "q, s, _ = f.int8_vectorwise_quant(torch.randn(8, 64, device=d).half())",
    ),
    Trial("a CUDA GPU", "backend: unsloth, 8-bit optimizers", "import torch; torch.zeros(1, device='cuda')", gpu=True),
    Trial("bfloat16 on the GPU", "bf16", "import torch; assert torch.cuda.is_bf16_supported()", gpu=True),
    Trial("import unsloth", "backend: unsloth", "import unsloth", gpu=True),
)


def doctor() -> int:
    """Print the report. MachineError, with the pip line, if what every recipe needs is missing or broken."""
    machine = probe()
    console = LastingConsole(highlight=False, soft_wrap=True)
    console.print(f"finetune {__version__}, Python {machine.python}, {machine.cores} cores")
    gpus = [f"{gpu.name}, {gpu.memory_gib} GiB, compute capability {gpu.capability}" for gpu in machine.gpus]
    console.print("GPU: " + ("; ".join(gpus) or f"none ({machine.reasons['gpu']})"))
    console.print(_packages(machine))
    console.print(_trials(machine))
    missing = [name for name in NEEDED if not machine.has(name)]
    if missing:
        wanted = " ".join(f"{name}=={tested()[name]}" for name in missing)
        raise MachineError(f"missing: {', '.join(missing)}. Install with: pip install {wanted}")
    return 0


def tested() -> dict[str, str]:
    """Distribution, as constraints.txt spells it -> the version that was tested."""
    lines = (line.partition("==") for line in tested_set().splitlines() if not line.startswith("#"))
    return {name: version for name, _, version in lines}


def _packages(machine: Machine) -> Table:
    table = Table(title="Packages", title_justify="left")
    for column in ("package", "installed", "tested with", "what to do"):
        table.add_column(column)
    versions = tested()
    for name in NEEDED:
        found = machine.packages.get(name)
        same = found is not None and found.split("+")[0] == versions[name]
        table.add_row(name, found or "missing", versions[name], "" if same else f"pip install {name}=={versions[name]}")
    for name, (needs, install) in OPTIONAL.items():
        found = machine.packages.get(name)
        table.add_row(name, found or "-", f"for {needs}", "" if found else install)
    if machine.has("triton") and not machine.cuda and machine.packages.get("trl", "").startswith("1.15"):
        table.add_row(
            "triton", machine.packages["triton"], "", "trl 1.15 crashes with it on a CPU: pip install trl==1.14.2"
        )
    return table


def _trials(machine: Machine) -> Table:
    table = Table(title="What works", title_justify="left")
    for column in ("capability", "needed for", "here"):
        table.add_column(column, overflow="fold")
    for trial in TRIALS:
        table.add_row(trial.name, trial.needs, _tried(trial, machine))
    return table


def _tried(trial: Trial, machine: Machine) -> str:
    if trial.gpu and not machine.cuda:
        return f"no: {machine.reasons['gpu']}"
    try:
        done = subprocess.run(
            [sys.executable, "-c", trial.code], capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT_SECONDS} s"
    if done.returncode == 0:
        return "works"
    return "no: " + (done.stderr.strip().splitlines() or ["it ended without a word"])[-1][:200]
