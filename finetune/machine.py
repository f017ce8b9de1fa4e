"""What this machine has, and how each fact is known. Imports no heavy library: `plan` and `validate` stay light."""

import functools
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

# What a run may need; `doctor` shows all of them.
PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "accelerate",
    "bitsandbytes",
    "tokenizers",
    "unsloth",
    "unsloth_zoo",
    "triton",
    "flash_attn",
    "flash-attn-3",
    "flash-attn-4",
    "liger_kernel",
    "gguf",
    "llama_cpp",
    "tensorboard",
    "wandb",
    "mlflow",
    "comet_ml",
    "trackio",
    "swanlab",
    "torchao",
    "galore_torch",
    "apollo_torch",
    "schedulefree",
    "optimi",
    "grokadamw",
    "came_pytorch",
    "deepspeed",
    "rouge-score",
    "sacrebleu",
    "scikit-learn",
    "optuna",
)
TRAINING_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")
BF16_CAPABILITY = 8.0
"""Compute capability from which NVIDIA GPUs calculate in bfloat16 (Ampere)."""


@dataclass(frozen=True)
class Gpu:
    name: str
    memory_gib: float
    capability: float


@dataclass(frozen=True)
class Machine:
    """Facts about a machine. `processes`: in how many a run trains, on this machine and others; `device`: the
    GPU of this one; `compiler`: of C++, by its command. `reasons`: fact -> how it is known."""

    gpus: tuple[Gpu, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    python: str = sys.version.split()[0]
    cores: int = 1
    processes: int = 1
    device: int = 0
    compiler: str | None = "assumed"
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def cuda(self) -> bool:
        return bool(self.gpus)

    @property
    def bf16(self) -> bool:
        return bool(self.gpus) and all(gpu.capability >= BF16_CAPABILITY for gpu in self.gpus)

    def trains_with(self, backend: str) -> dict[str, str]:
        """Versions of the packages on which the weights of a run hang."""
        names = TRAINING_PACKAGES + (("unsloth", "unsloth_zoo") if backend == "unsloth" else ())
        return {name: self.packages[name] for name in names if name in self.packages}

    def has(self, package: str) -> bool:
        return package in self.packages

    def as_json(self) -> dict[str, object]:
        import platform

        return {
            "gpus": [vars(gpu) for gpu in self.gpus],
            "packages": dict(self.packages),
            "python": self.python,
            "cores": self.cores,
            "processes": self.processes,
            "compiler": self.compiler,
            "platform": platform.platform(),
            "reasons": dict(self.reasons),
        }


def assumed(memory_gib: float = 24.0) -> Machine:
    """A machine with one bfloat16 GPU of this size and every package: what a recipe is checked against where no machine
    is meant, so that CI and a laptop say the same."""
    packages = dict.fromkeys(PACKAGES, "assumed")
    return Machine((Gpu("assumed GPU", memory_gib, 9.0),), packages, cores=8, reasons={"gpu": "assumed"})


def probe() -> Machine:
    """This machine. The GPU is read from nvidia-smi and from whether torch is a CUDA build, without importing it."""
    packages = {name: version for name in PACKAGES if (version := installed(name))}
    gpus, why = _gpus(packages.get("torch", ""))
    reasons = {"gpu": why, "packages": "importlib.metadata"}
    return Machine(gpus, packages, cores=_cores(), compiler=_compiler(), reasons=reasons)


def _compiler() -> str | None:
    """As PyTorch looks for it."""
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    return name if shutil.which(name) else None


def _cores() -> int:
    """The cores this process may use; macOS cannot tell, and counts all."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def installed(name: str) -> str | None:
    """The version of an installed package, "unknown" for one without metadata, or None."""
    import importlib.metadata
    import importlib.util

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        # A wheel unpacked without its metadata counts as installed; a folder that packages share does not.
        found = importlib.util.find_spec(name.replace("-", "_"))
        return "unknown" if found and found.origin else None


@functools.cache
def _gpus(torch_version: str) -> tuple[tuple[Gpu, ...], str]:
    import shutil
    import subprocess

    if torch_version.endswith("+cpu"):
        return (), f"torch {torch_version} is a CPU build"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return (), "CUDA_VISIBLE_DEVICES hides every GPU"
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return (), "nvidia-smi is not on PATH"
    query = [tool, "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        query += ["-i", visible]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (subprocess.SubprocessError, OSError) as error:
        return (), f"nvidia-smi failed: {error}"
    return tuple(gpus_of(answer)), "nvidia-smi"


def gpus_of(answer: str) -> list[Gpu]:
    """The GPUs in nvidia-smi's lines `name, MiB, compute capability`; 0 GiB where it shares the host's."""
    found = []
    for line in answer.strip().splitlines():
        name, mib, capability = (part.strip() for part in line.rsplit(",", 2))
        memory = round(float(mib) / 1024, 1) if mib.replace(".", "").isdigit() else 0.0
        found.append(Gpu(name, memory, float(capability)))
    return found
