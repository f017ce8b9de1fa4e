"""A Plan -> what of it takes memory: number types, what is trained, how rows come to the model. Reads planned calls
only; knows no recipe and no model."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.memory.shapes import Shape
from finetune.plan import Call, Plan

ALL_LINEAR = "all-linear"
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Lora:
    """`targets`: the names of the linear layers it is on. `fused`: with kernels of ours. `saved`: modules trained whole
    beside it (embed_tokens, lm_head). `number_bytes`: of what it trains."""

    rank: int
    targets: frozenset[str]
    fused: bool
    dropout: bool
    dora: bool
    saved: tuple[str, ...]
    number_bytes: int = 4


@dataclass(frozen=True)
class Rows:
    """How rows come to the model. `together`: laid end to end. `passes`: those of an optimizer step, where each has
    `micro` rows. `sides`: sequences of a row (two where answers are compared)."""

    micro: int
    passes: int
    sequence_len: int
    together: bool
    packed: bool
    tokens_per_pass: int | None
    sides: int = 1

    @property
    def of_a_step(self) -> int:
        return self.micro * self.passes


@dataclass(frozen=True)
class Fsdp:
    """How weights are shared out. `reshard`: gathered ones are given up after the forward pass."""

    reshard: bool
    offloaded: bool


@dataclass(frozen=True)
class Work:
    """What a run does with memory. `bits`: of the quantized weights, or None. `dtype_bytes`: of a weight that is not
    quantized, as loaded. `mixed`: products are made in 16 bits. `loss`: cut, liger, whole, or scores; `liger`: Liger's
    kernels that are in use. `float16`: the 16 bits are those, not bfloat16. `zero`: how DeepSpeed shares things
    out. `unmeasured`: why the estimate is coarse here, if it is."""

    backend: str
    bits: int | None
    double_quant: bool
    dtype_bytes: int
    mixed: bool
    lora: Lora | None
    other_adapter: str | None
    checkpointing: bool
    offloads: bool
    loss: str
    optimizer: str
    eager: bool
    rows: Rows
    reference: bool
    unmeasured: tuple[str, ...]
    liger: frozenset[str] = frozenset()
    float16: bool = False
    fsdp: Fsdp | None = None
    zero: Mapping[str, Any] | None = None


def work_of(plan: Plan, shape: Shape) -> Work:
    """What a Plan does with memory."""
    config = _config(plan)
    model = _model_call(plan)
    bits, double = _quantization(plan, model)
    dtype = BYTES.get(str(model.arguments.get("dtype")), 4)
    lora = _lora(plan, shape)
    kind = config.target.rsplit(".", 1)[1]
    return Work(
        plan.backend,
        bits,
        double,
        dtype,
        bool(config.arguments.get("bf16") or config.arguments.get("fp16")),
        lora,
        None if lora else _other_adapter(plan),
        _checkpoints(plan, config),
        bool(config.arguments.get("activation_offloading")) or _offloads(plan),
        # Unsloth makes its loss in pieces too.
        "cut" if plan.backend == "unsloth" else _loss(config),
        _optimizer(plan, config),
        model.arguments.get("attn_implementation") == "eager",
        _rows(plan, config, kind),
        kind in ("DPOConfig", "KTOConfig") and lora is None and _other_adapter(plan) is None,
        tuple(_unmeasured(plan, config, lora)),
        frozenset(name for name, used in (config.arguments.get("liger_kernel_config") or {}).items() if used),
        bool(config.arguments.get("fp16")),
        _fsdp(config),
        (config.arguments.get("deepspeed") or {}).get("zero_optimization"),
    )


def _config(plan: Plan) -> Call:
    """The trainer's configuration."""
    return next(call for call in plan.stage("train") if "per_device_train_batch_size" in call.arguments)


def _model_call(plan: Plan) -> Call:
    return next(call for call in plan.stage("load") if "dtype" in call.arguments)


def _quantization(plan: Plan, model: Call) -> tuple[int | None, bool]:
    """(bits, whether the scales are quantized too)"""
    for call in plan.stage("load"):
        arguments = call.arguments
        if call.target.endswith("BitsAndBytesConfig"):
            return (4 if arguments.get("load_in_4bit") else 8), bool(arguments.get("bnb_4bit_use_double_quant"))
        if call.target.endswith("Int8WeightOnlyConfig"):
            return 8, False
    if plan.backend == "unsloth" and model.arguments["load_in_4bit"]:
        return 4, True
    return (8 if plan.backend == "unsloth" and model.arguments["load_in_8bit"] else None), False


def _lora(plan: Plan, shape: Shape) -> Lora | None:
    made = plan.one("adapt", "LoraConfig") or plan.one("adapt", "get_peft_model")
    if made is None or "r" not in made.arguments:
        return None
    given = made.arguments
    return Lora(
        int(given["r"]),
        _targets(given["target_modules"], shape),
        plan.one("adapt", "kernels.lora.fuse") is not None or plan.backend == "unsloth",
        bool(given.get("lora_dropout")),
        bool(given.get("use_dora")),
        tuple(given.get("modules_to_save") or ()),
        4 if plan.backend == "unsloth" or made_in_float32(plan) else 2,
    )


def made_in_float32(plan: Plan) -> bool:
    """Whether an adapter's numbers are float32; else they are in the model's own 16 bits."""
    made = plan.one("adapt", "peft.get_peft_model") or plan.one("adapt", "PeftModel.from_pretrained")
    return made is None or bool(made.arguments.get("autocast_adapter_dtype", True))


def _targets(wanted: Sequence[str] | str, shape: Shape) -> frozenset[str]:
    names = [matrix.name for matrix in shape.matrices]
    if wanted == ALL_LINEAR:
        return frozenset(names)
    if isinstance(wanted, str):
        parts = {matrix.name: "mlp" if matrix.reads in ("mlp", "product") else "self_attn" for matrix in shape.matrices}
        try:
            return frozenset(name for name in names if re.fullmatch(wanted, f"model.layers.0.{parts[name]}.{name}"))
        except re.error:
            return frozenset(names)
    return frozenset(name for name in names if name in {one.split(".")[-1] for one in wanted})


def _other_adapter(plan: Plan) -> str | None:
    made = [call.target.rsplit(".", 1)[1] for call in plan.stage("adapt") if call.target.endswith("Config")]
    loaded = [call for call in plan.stage("adapt") if call.target.endswith("PeftModel.from_pretrained")]
    return made[0] if made else "an adapter that is trained on" if loaded else None


def _fsdp(config: Call) -> Fsdp | None:
    if not config.arguments.get("fsdp"):
        return None
    given = config.arguments["fsdp_config"]
    return Fsdp(bool(given["reshard_after_forward"]), bool(given["cpu_offload"]))


def _checkpoints(plan: Plan, config: Call) -> bool:
    if plan.backend == "unsloth":
        return bool(_model_call(plan).arguments["use_gradient_checkpointing"])
    in_parts = (config.arguments.get("fsdp_config") or {}).get("activation_checkpointing")
    return bool(config.arguments.get("gradient_checkpointing") or in_parts)


def _offloads(plan: Plan) -> bool:
    return _model_call(plan).arguments.get("use_gradient_checkpointing") == "unsloth"


def _loss(config: Call) -> str:
    given = config.arguments
    if config.target.endswith("RewardConfig"):
        return "scores"
    kernels: Mapping[str, bool] = given.get("liger_kernel_config") or {}
    if kernels.get("fused_linear_cross_entropy"):
        return "liger"
    return "cut" if given.get("cut_cross_entropy") else "whole"


def _optimizer(plan: Plan, config: Call) -> str:
    own = plan.one("train", "parts.set_optimizer")
    if own is not None and own.arguments["own"]:
        return str(own.arguments["own"]["name"])
    return str(config.arguments["optim"])


def _rows(plan: Plan, config: Call, kind: str) -> Rows:
    given = config.arguments
    prepare = plan.one("format", "Place.prepare")
    assert prepare is not None
    packed = any(call.target.endswith(".pack_documents") for call in plan.stage("format"))
    together = kind == "FlatSFTConfig" or packed or bool(given.get("padding_free"))
    return Rows(
        given["per_device_train_batch_size"],
        given["gradient_accumulation_steps"],
        prepare.arguments["lengths"]["sequence_len"],
        together,
        packed,
        given.get("tokens_per_pass"),
        2 if kind in ("DPOConfig", "CPOConfig", "ORPOConfig", "RewardConfig", "KTOConfig") else 1,
    )


def _unmeasured(plan: Plan, config: Call, lora: Lora | None) -> list[str]:
    reasons = []
    kind = config.target.rsplit(".", 1)[1]
    if plan.backend == "unsloth":
        reasons.append("Unsloth computes in its own way, and mostly takes less")
    if kind not in ("SFTConfig", "FlatSFTConfig", "RewardConfig"):
        reasons.append(f"the loss of {kind.removesuffix('Config')} is counted like that of supervised training")
    if kind == "RewardConfig":
        reasons.append("reward models were not measured")
    if kind in ("GRPOConfig", "RLOOConfig"):
        reasons.append("answers that are generated are not counted")
    if any(call.target.endswith("Int8WeightOnlyConfig") for call in plan.stage("load")):
        reasons.append("torchao's 8-bit layers are counted like those of bitsandbytes")
    if config.arguments.get("fsdp"):
        reasons.append("weights that are shared out were measured on two GPUs alone")
    if config.arguments.get("deepspeed"):
        reasons.append("what DeepSpeed shares out was not measured on GPUs")
    if config.arguments.get("torch_compile"):
        reasons.append("torch_compile fuses what is counted apart")
    if lora is None and _other_adapter(plan):
        reasons.append("of adapters, LoRA alone is counted exactly")
    return reasons
