"""Why a machine could not run a Plan, each with what to write or install instead. No judgement of recipes."""

from collections.abc import Iterator

from finetune import several
from finetune.machine import Machine
from finetune.precision import Precision
from finetune.recipe.measures import MEASURES, USUAL
from finetune.recipe.optimizers import OPTIMIZERS
from finetune.recipe.recipe import Recipe
from finetune.tracking import TRACKERS, trackers


def blockers(recipe: Recipe, backend: str, precision: Precision, machine: Machine) -> tuple[str, ...]:
    return (
        *_backend(recipe, backend, machine),
        *_bitsandbytes(recipe, machine),
        *_torchao(recipe, machine),
        *_dora(recipe, machine),
        *_numbers(recipe, backend, precision, machine),
        *_packages(recipe, machine),
        *_compiling(recipe, machine),
        *_exports(recipe, machine),
        *several.blockers(recipe, backend, precision, machine),
    )


FLASH = {
    "flash_attention_2": ("flash_attn", 8.0, "pip install flash-attn --no-build-isolation"),
    "flash_attention_3": ("flash-attn-3", 8.0, "built from hopper/ of github.com/Dao-AILab/flash-attention"),
    "flash_attention_4": ("flash-attn-4", 9.0, "pip install flash-attn-4, before 4.0.0 with --pre"),
}
"""Value -> the package that it needs, the compute capability from which transformers takes it, and where it is from."""


def attends_with(machine: Machine, attention: str) -> bool:
    """Whether transformers can load a model with this attn_implementation here."""
    package, version, _ = FLASH.get(attention, ("", 0.0, ""))
    able = machine.cuda and machine.has(package) and all(gpu.capability >= version for gpu in machine.gpus)
    return not package or able


def _backend(recipe: Recipe, backend: str, machine: Machine) -> Iterator[str]:
    if backend == "unsloth" and not machine.cuda:
        yield "backend: unsloth needs a CUDA GPU; write backend: transformers"
    if backend == "unsloth" and not machine.has("unsloth"):
        yield "backend: unsloth is not installed: pip install 'finetune-recipes[unsloth]'"
    if backend == "transformers" and not attends_with(machine, recipe.attn_implementation):
        package, version, how = FLASH[recipe.attn_implementation]
        yield (
            f"attn_implementation: {recipe.attn_implementation} needs a CUDA GPU of compute capability {version} or "
            f"more and the package {package.replace('_', '-')} ({how}); write attn_implementation: auto"
        )


def _bitsandbytes(recipe: Recipe, machine: Machine) -> Iterator[str]:
    if (recipe.load_in_4bit or recipe.load_in_8bit) and not machine.has("bitsandbytes"):
        yield "bitsandbytes is not installed: pip install bitsandbytes==0.50.2"


def _dora(recipe: Recipe, machine: Machine) -> Iterator[str]:
    if recipe.peft_use_dora and recipe.adapter in ("lora", "qlora") and recipe.load_in_8bit and not machine.cuda:
        yield (
            "peft_use_dora on 8-bit weights fails on a CPU with bitsandbytes 0.50.2; write load_in_torchao: int8 "
            "instead of load_in_8bit: true, or load_in_4bit: true"
        )


def _torchao(recipe: Recipe, machine: Machine) -> Iterator[str]:
    if recipe.load_in_torchao and not machine.has("torchao"):
        yield "load_in_torchao: pip install torchao==0.18.0"


def _numbers(recipe: Recipe, backend: str, precision: Precision, machine: Machine) -> Iterator[str]:
    if precision.bf16 and machine.cuda and not machine.bf16:
        yield "bf16: true needs a GPU of compute capability 8.0 or more; write bf16: auto and fp16: auto"
    if precision.fp16 and not machine.cuda:
        yield "fp16: true needs a CUDA GPU; write fp16: false"
    if recipe.tf32 is True and not machine.bf16:
        yield "tf32: true needs an Ampere GPU or newer; write tf32: false"


def _compiling(recipe: Recipe, machine: Machine) -> Iterator[str]:
    if not recipe.torch_compile:
        return
    if recipe.torch_compile_backend in (None, "inductor") and not machine.compiler:
        yield (
            "torch_compile: true needs a C++ compiler, and there is none ($CXX, else g++): install one (apt install "
            "g++), or write torch_compile: false"
        )
    if recipe.torch_compile_backend == "cudagraphs" and not machine.cuda:
        yield "torch_compile_backend: cudagraphs needs a CUDA GPU; write torch_compile: false"


def _exports(recipe: Recipe, machine: Machine) -> Iterator[str]:
    if {"gguf", "ollama"} & set(recipe.export_to or ()) and not machine.has("gguf"):
        yield "export_to: pip install 'finetune-recipes[export]' (gguf is missing)"


def scored_by(recipe: Recipe) -> tuple[str, ...]:
    """The metrics that the recipe scores answers by."""
    return tuple(recipe.eval_causal_lm_metrics or USUAL) if recipe.do_causal_lm_eval else ()


def _packages(recipe: Recipe, machine: Machine) -> Iterator[str]:
    for name in trackers(recipe):
        package = "tensorboard" if name == "tensorboard" else TRACKERS[name].package
        key = "use_tensorboard" if name == "tensorboard" else TRACKERS[name].main
        if not machine.has(package):
            yield f"{key}: pip install {package}"
    for package in dict.fromkeys(MEASURES[name].package for name in scored_by(recipe)):
        if package and not machine.has(package):
            yield f"eval_causal_lm_metrics: pip install 'finetune-recipes[eval]' ({package} is missing)"
    optimizer = OPTIMIZERS[recipe.optimizer]
    if optimizer.module and not machine.has(optimizer.module):
        yield f"optimizer: {recipe.optimizer} needs a package: pip install {optimizer.package}"
    if optimizer.gpu and not machine.cuda:
        yield f"optimizer: {recipe.optimizer} needs a CUDA GPU; write optimizer: adamw_torch"
    liger = [key for key in type(recipe).model_fields if key.startswith("liger_") and getattr(recipe, key)]
    if liger and not machine.cuda:
        yield f"{liger[0]}: Liger's kernels need a CUDA GPU; remove the liger_ lines"
    if liger and not machine.has("liger_kernel"):
        yield f"{liger[0]}: pip install liger-kernel"
    if recipe.activation_offloading and not machine.cuda:
        yield "activation_offloading: true needs a CUDA GPU; write activation_offloading: false"
