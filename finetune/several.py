"""What several processes mean for a Plan: what is said of them, and what a machine could not run. Decides no call."""

from collections.abc import Iterator
from typing import Any

from finetune.derived import effective_batch
from finetune.machine import Machine
from finetune.precision import Precision
from finetune.recipe.model import BnbConfig
from finetune.recipe.recipe import Recipe
from finetune.recipe.zero_known import idle, offloads, zero_stage

SHARED = {1: "the optimizer is", 2: "optimizer and gradients are", 3: "weights, gradients and optimizer are"}
OFFLOADED = {"optimizer": "optimizer", "param": "weights"}
ONLINE = ("grpo", "gdpo", "rloo")


def notes(recipe: Recipe, machine: Machine) -> tuple[str, ...]:
    if machine.processes == 1:
        if len(machine.gpus) < 2:
            return ()
        return (
            f"one GPU is used, the first of {len(machine.gpus)}: --nproc {len(machine.gpus)} trains on all of them",
        )
    way = "shared out over them (FSDP2)" if recipe.fsdp_version else "whole in each of them (DDP)"
    if stage := zero_stage(recipe.deepspeed):
        way = f"with DeepSpeed ZeRO-{stage}: {SHARED[stage]} shared out over them"
    given = recipe.deepspeed if isinstance(recipe.deepspeed, dict) else None
    micro, each = recipe.rows_at_once, recipe.gradient_accumulation_steps
    return (
        f"{machine.processes} processes, the model {way}",
        f"rows per optimizer step: micro_batch_size {micro} x gradient_accumulation_steps {each} x {machine.processes} "
        f"processes = {effective_batch(recipe, machine.processes)}",
        *(_of_zero(recipe, given) if given else ()),
        *(("deepspeed: a checkpoint goes on with as many processes as wrote it",) if given else ()),
    )


def _of_zero(recipe: Recipe, config: dict[str, Any]) -> Iterator[str]:
    kept = [name for name in ("optimizer", "param") if offloads(config, name)]
    if kept:
        yield f"deepspeed: kept in the CPU's memory: {', '.join(OFFLOADED[name] for name in kept)}"
    if zero_stage(config) == 3 and recipe.adapter is not None and recipe.lora_kernels:
        yield "lora_kernels: not with ZeRO-3, which puts a layer's weights together only while the layer computes"
    if without := list(idle(config)):
        yield f"deepspeed: without effect here: {', '.join(without)}"


def blockers(recipe: Recipe, backend: str, precision: Precision, machine: Machine) -> Iterator[str]:
    if machine.processes == 1:
        if recipe.fsdp_version:
            yield "fsdp_version: 2 shares the model out over several processes: add --nproc 2, or remove it"
        if recipe.deepspeed:
            yield "deepspeed shares a model out over several processes: add --nproc 2, or remove it"
        return
    if isinstance(recipe.deepspeed, dict):
        yield from _zero(recipe, recipe.deepspeed, precision, machine)
    if machine.cuda and machine.device >= len(machine.gpus):
        yield f"each process needs a GPU of its own, and this machine has {len(machine.gpus)}: start fewer processes"
    if backend == "unsloth":
        yield "backend: unsloth trains in one process here; write backend: transformers"
    if recipe.rl in ONLINE:
        yield f"rl: {recipe.rl} is not tested in several processes; train in one"
    if recipe.device_map:
        yield "device_map says where one process puts the model, and each of several has its own GPU: remove it"
    if recipe.fsdp_version:
        yield from _sharded(recipe, precision, machine)


def _zero(recipe: Recipe, config: dict[str, Any], precision: Precision, machine: Machine) -> Iterator[str]:
    if not machine.has("deepspeed"):
        yield "deepspeed is not installed: pip install 'finetune-recipes[deepspeed]'"
    if precision.fp16:
        yield "fp16 does not go with deepspeed here; write bf16: true where the GPUs can"
    bf16 = (config.get("bf16") or {}).get("enabled", "auto")
    if bf16 not in ("auto", precision.bf16):
        yield (
            f"deepspeed: bf16: {{enabled: {str(bf16).lower()}}} contradicts the recipe on this machine (bf16 is "
            f"{'on' if precision.bf16 else 'off'}: {precision.reason}); write enabled: auto, or bf16: true or false"
        )
    rows, said = effective_batch(recipe, machine.processes), config.get("train_batch_size", "auto")
    if said not in ("auto", rows):
        yield f"deepspeed: train_batch_size: {said} contradicts the {rows} rows of a step; write auto, or that"


def _sharded(recipe: Recipe, precision: Precision, machine: Machine) -> Iterator[str]:
    if not machine.cuda:
        yield "fsdp_version: 2 needs GPUs: accelerate shares nothing out on CPUs. Remove it to try the recipe here"
    if precision.fp16:
        yield "fp16 does not go with fsdp_version: 2 here; write bf16: true where the GPUs can"
    if recipe.load_in_4bit:
        given = recipe.bnb_config_kwargs or BnbConfig()
        compute = given.bnb_4bit_compute_dtype or precision.dtype
        if given.bnb_4bit_quant_storage != compute:
            yield (
                f"bnb_4bit_quant_storage: {given.bnb_4bit_quant_storage} must be the type that is computed in with "
                f"fsdp_version: 2, here {compute}: write it under bnb_config_kwargs"
            )
