"""The recipe's keys of several processes -> arguments of a trainer's configuration. Knows no method and no machine."""

from typing import Any

from finetune.recipe.parallel import FsdpConfig, ParallelSection
from finetune.recipe.zero_known import GATHERING


def arguments(section: ParallelSection) -> dict[str, Any]:
    return {
        "ddp_timeout": section.ddp_timeout,
        "ddp_bucket_cap_mb": section.ddp_bucket_cap_mb,
        "ddp_broadcast_buffers": section.ddp_broadcast_buffers,
        "ddp_find_unused_parameters": section.ddp_find_unused_parameters,
        "fsdp": True if section.fsdp_version else None,
        "fsdp_config": _sharding(section.fsdp_config or FsdpConfig()) if section.fsdp_version else None,
        "deepspeed": _zero(section.deepspeed) if isinstance(section.deepspeed, dict) else None,
    }


def loading_config(config: dict[str, Any], bf16: bool) -> dict[str, Any]:
    """What DeepSpeed needs to know where a model is loaded in parts, or computes before it is trained. Every weight is
    given up at once: which ones stay is the training's to say."""
    kept = {key: value for key, value in config["zero_optimization"].items() if key in ("stage", "offload_param")}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "bf16": {"enabled": bf16},
        "zero_optimization": kept | {"stage3_param_persistence_threshold": 0},
    }


def _zero(config: dict[str, Any]) -> dict[str, Any]:
    """With what must be the recipe's: DeepSpeed would clip nothing where it is not told, and refuse the optimizer. The
    trainer fills `auto` in."""
    # The trainer knows the names of stage 3 in their long form.
    inside = {f"stage3_{key}" if key in GATHERING else key: value for key, value in config["zero_optimization"].items()}
    inside.setdefault("reduce_bucket_size", "auto")
    if inside["stage"] == 3:
        inside.setdefault("stage3_prefetch_bucket_size", "auto")
        inside.setdefault("stage3_param_persistence_threshold", "auto")
    return {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        **config,
        "zero_optimization": inside,
    }


def _sharding(config: FsdpConfig) -> dict[str, Any]:
    named = config.transformer_layer_cls_to_wrap
    return {
        "version": 2,
        "reshard_after_forward": config.reshard_after_forward,
        "cpu_offload": config.offload_params,
        "cpu_ram_efficient_loading": config.cpu_ram_efficient_loading,
        "activation_checkpointing": config.activation_checkpointing,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "transformer_layer_cls_to_wrap": [named] if isinstance(named, str) else named,
        "min_num_params": 0,
        "state_dict_type": "FULL_STATE_DICT",
        # The configuration writes these into what it is given; so it finds nothing to write.
        "xla": False,
        "xla_fsdp_v2": False,
        "xla_fsdp_grad_ckpt": False,
    }
