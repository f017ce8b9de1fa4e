"""Recipe keys of training in several processes, one for each GPU. How many there are is said when a run is started."""

from typing import Annotated, Any, Literal

from pydantic import Field

from finetune.recipe.base import Reaches, Section, Whole

_SHARDED = {"fsdp_version": 2}


class FsdpConfig(Section):
    reshard_after_forward: Annotated[bool, Field(examples=[False, True]), Reaches("train", unsloth=())] = True
    """Give the gathered weights of a layer up after the forward pass, and gather them again for the backward pass: less
    memory, more traffic. False is what DeepSpeed calls ZeRO-2."""
    offload_params: Annotated[bool, Field(examples=[True, False]), Reaches("load", "train", unsloth=())] = False
    """Keep weights, gradients and optimizer in the CPU's memory: much smaller on the GPU, and slow."""
    cpu_ram_efficient_loading: Annotated[bool, Field(examples=[True, False]), Reaches("load", "train", unsloth=())] = (
        False
    )
    """Load the weights in the first process alone, into the CPU's memory, and deal them out from there: for models that
    do not fit one GPU. Without it each process loads the model onto its GPU before it is shared out."""
    activation_checkpointing: Annotated[bool, Field(examples=[True, False]), Reaches("train", unsloth=())] = False
    """Recompute the activations of each sharded layer in the backward pass; instead of gradient_checkpointing."""
    transformer_layer_cls_to_wrap: Annotated[
        str | list[Annotated[str, Field(min_length=1)]] | None,
        Field(min_length=1, examples=["LlamaDecoderLayer", ["Phi3DecoderLayer"]]),
        Reaches("train", unsloth=()),
    ] = None
    """Class of the layers that are gathered one at a time. Unset: those that the model itself names."""


class ParallelSection(Section):
    fsdp_version: Annotated[Literal[2] | None, Field(examples=[2, None]), Reaches("train", "save", unsloth=())] = None
    """Share weights, gradients and optimizer out over the GPUs of a run (PyTorch's FSDP2), so that each holds a part.
    Unset: each GPU holds the whole model (DDP). What asks for FSDP1 is read as this."""
    fsdp_config: Annotated[
        FsdpConfig | None,
        Field(examples=[{"offload_params": True}, {"reshard_after_forward": False}]),
        Reaches("load", "train", unsloth=(), needs=_SHARDED),
    ] = None
    """How it is shared out."""
    deepspeed: Annotated[
        str | dict[str, Any] | None,
        Field(examples=[{"zero_optimization": {"stage": number}} for number in (1, 2, 3)]),
        Reaches("load", "adapt", "train", "save", unsloth=()),
    ] = None
    """Share the optimizer (ZeRO-1), gradients (ZeRO-2) and weights (ZeRO-3) out over the GPUs of a run with DeepSpeed:
    its configuration as a mapping, or the path of a JSON file that holds it. deepspeed_configs/zero1.json, zero2.json,
    zero3.json, zero3_bf16.json, zero3_bf16_cpuoffload_params.json and zero3_bf16_cpuoffload_all.json need no file."""
    ddp_timeout: Annotated[Whole, Field(ge=1, examples=[7200, 600]), Reaches("train")] = 1800
    """Seconds that the processes of a run wait for each other."""
    ddp_bucket_cap_mb: Annotated[Whole | None, Field(ge=1, examples=[100, 50]), Reaches("train")] = None
    """Megabytes of gradients that are sent at a time. Unset: 25."""
    ddp_broadcast_buffers: Annotated[bool | None, Field(examples=[False, True]), Reaches("train")] = None
    """Send the model's buffers from the first process to the others before each step. Unset: they are."""
    ddp_find_unused_parameters: Annotated[bool, Field(examples=[True, False]), Reaches("train")] = False
    """Look, in each step, for trained parameters that took no part in it: for models that use some of their layers only
    now and then. Slower."""
