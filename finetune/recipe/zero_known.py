"""What may stand in DeepSpeed's configuration, and what of it counts with which stage of ZeRO: tables and their
reading. Knows no file and no library."""

from collections.abc import Iterator, Mapping
from typing import Any

_OFFLOADED = {"device": "cpu", "pin_memory": True}
_THREE = {
    "stage": 3,
    "overlap_comm": True,
    "contiguous_gradients": True,
    # No weight lies whole longer than it is computed with: memory is what stage 3 is taken for.
    "stage3_max_live_parameters": 0,
    "stage3_max_reuse_distance": 0,
}
KNOWN: Mapping[str, Mapping[str, Any]] = {
    "zero1.json": {"zero_optimization": {"stage": 1, "overlap_comm": True}},
    "zero2.json": {
        "zero_optimization": {
            "stage": 2,
            "offload_optimizer": {"device": "cpu"},
            "contiguous_gradients": True,
            "overlap_comm": True,
        }
    },
    "zero3.json": {"zero_optimization": _THREE},
    "zero3_bf16.json": {"zero_optimization": _THREE, "bf16": {"enabled": True}},
    "zero3_bf16_cpuoffload_params.json": {
        "zero_optimization": {**_THREE, "offload_param": _OFFLOADED},
        "bf16": {"enabled": True},
    },
    "zero3_bf16_cpuoffload_all.json": {
        "zero_optimization": {**_THREE, "offload_param": _OFFLOADED, "offload_optimizer": _OFFLOADED},
        "bf16": {"enabled": True},
    },
}
"""Names that Axolotl's guides use under deepspeed_configs/ -> what they ask for."""
TOP = frozenset(
    "zero_optimization bf16 fp16 gradient_clipping gradient_accumulation_steps train_batch_size "
    "train_micro_batch_size_per_gpu zero_allow_untested_optimizer zero_force_ds_cpu_optimizer wall_clock_breakdown "
    "steps_per_print".split()
)
SHARED = frozenset(
    "stage overlap_comm contiguous_gradients reduce_scatter reduce_bucket_size allgather_partitions "
    "allgather_bucket_size round_robin_gradients offload_optimizer".split()
)
GATHERING = ("prefetch_bucket_size", "param_persistence_threshold", "max_live_parameters", "max_reuse_distance")
GATHERS = ("gather_16bit_weights_on_model_save", "stage3_gather_16bit_weights_on_model_save")
THREE = frozenset(["offload_param", "sub_group_size", *GATHERS, *GATHERING, *(f"stage3_{name}" for name in GATHERING)])
"""What counts with stage 3 alone. DeepSpeed reads these names with and without the prefix."""
SIZES = ("reduce_bucket_size", "allgather_bucket_size", "sub_group_size", *GATHERING)
"""Settings that are numbers; the others are switches."""
IDLE = {
    "allgather_partitions": (1, 2, 3),
    "allgather_bucket_size": (3,),
    "round_robin_gradients": (3,),
    **dict.fromkeys(GATHERS, (3,)),
}
"""Settings that DeepSpeed 0.19 reads and that change nothing here -> with which stages. Whole weights are always
saved."""
SILENT = ("wall_clock_breakdown", "steps_per_print")
"""What DeepSpeed would only print, below the level that is shown."""
OF_NVME = ("buffer_count", "buffer_size", "max_in_cpu")
OFFLOADS = frozenset(("device", "pin_memory", *OF_NVME))


def zero_stage(config: Any) -> int:
    """0: nothing is shared out."""
    inside = config.get("zero_optimization") if isinstance(config, Mapping) else None
    stage = inside.get("stage", 0) if isinstance(inside, Mapping) else 0
    return stage if isinstance(stage, int) and not isinstance(stage, bool) else 0


def offloads(config: Mapping[str, Any], what: str) -> bool:
    """Whether `param` or `optimizer` is kept in the CPU's memory."""
    given = config["zero_optimization"].get(f"offload_{what}")
    return isinstance(given, Mapping) and given.get("device") == "cpu"


def idle(config: Mapping[str, Any]) -> Iterator[str]:
    """Names of written settings without effect."""
    stage = zero_stage(config)
    yield from (f"zero_optimization.{key}" for key in config["zero_optimization"] if stage in IDLE.get(key, ()))
    yield from (key for key in SILENT if config.get(key))
    for kind in ("offload_optimizer", "offload_param"):
        given = config["zero_optimization"].get(kind)
        yield from (f"{kind}.{key}" for key in given if key in OF_NVME) if isinstance(given, Mapping) else ()
    half = config.get("fp16")
    yield from (f"fp16.{key}" for key in half if key != "enabled") if isinstance(half, Mapping) else ()
