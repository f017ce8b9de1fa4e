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
    beside it (embed_tokens, lm_head). `number_bytes`: of its own numbers; `saved_bytes`: of those modules'."""

    rank: int
    targets: frozenset[str]
    fused: bool
    dropout: bool
    dora: bool
    saved: tuple[str, ...]
    number_bytes: int = 4
    saved_bytes: int = 4


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
    quantized, as loaded. `mixed`: products are made in 16 bits. `loss`: cut, liger, whole, scores, or a way to compare
    answers: odds, pairs (with a reference, or `known_pairs`, whose reference was made before) and kto; `liger`: Liger's
    kernels that are in use. `float16`: the 16 bits are those, not bfloat16. `zero`: how DeepSpeed shares things
    out. `unmeasured`: why the estimate is coarse here, if it is. `patterns`: names of what learns, where no adapter and
    not all does. `unpacks`: 8-bit weights are unpacked for each product, and kept so until the backward pass."""

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
    patterns: tuple[str, ...] | None = None
    unpacks: bool = False


def work_of(plan: Plan, shape: Shape) -> Work:
    """What a Plan does with memory."""
    config = _config(plan)
    model = _model_call(plan)
    bits, double = _quantization(plan, model)
    dtype = BYTES.get(str(model.arguments.get("dtype")), 4)
    lora = _lora(plan, shape, 4 if bits else dtype)
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
        _loss(plan, config),
        _optimizer(plan, config),
        model.arguments.get("attn_implementation") == "eager",
        _rows(plan, config, kind),
        _keeps_reference(config) and lora is None and _other_adapter(plan) is None,
        tuple(_unmeasured(plan, config, lora)),
        frozenset(name for name, used in (config.arguments.get("liger_kernel_config") or {}).items() if used),
        bool(config.arguments.get("fp16")),
        _fsdp(config),
        (config.arguments.get("deepspeed") or {}).get("zero_optimization"),
        _patterns(plan),
        any(call.target.endswith("Int8WeightOnlyConfig") for call in plan.stage("load")),
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


def _lora(plan: Plan, shape: Shape, saved_bytes: int) -> Lora | None:
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
        saved_bytes if made_in_float32(plan) else min(saved_bytes, 2),
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


COMPARING = {"ORPOConfig": "odds", "CPOConfig": "odds", "DPOConfig": "pairs", "KTOConfig": "kto"}
"""A trainer's configuration -> how its loss compares answers."""


def _loss(plan: Plan, config: Call) -> str:
    given = config.arguments
    kind = config.target.rsplit(".", 1)[1]
    if kind == "RewardConfig":
        return "scores"
    kernels: Mapping[str, bool] = given.get("liger_kernel_config") or {}
    if kernels.get("fused_linear_cross_entropy"):
        return "liger"
    if kind in COMPARING:
        return "known_pairs" if kind == "DPOConfig" and given.get("precompute_ref_log_probs") else COMPARING[kind]
    if plan.backend == "unsloth":
        return "cut"  # it makes its loss in pieces too
    return "cut" if given.get("cut_cross_entropy") else "whole"


def _keeps_reference(config: Call) -> bool:
    """Whether answers are compared with those of a second model, where no adapter can be switched off."""
    compares = config.target.endswith(("DPOConfig", "KTOConfig"))
    return compares and not config.arguments.get("precompute_ref_log_probs")


def _patterns(plan: Plan) -> tuple[str, ...] | None:
    partial = plan.one("adapt", "partial.train_only")
    return tuple(partial.arguments["patterns"]) if partial is not None else None


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
        2 if kind in ("DPOConfig", "CPOConfig", "ORPOConfig", "RewardConfig") else 1,
    )


def _unmeasured(plan: Plan, config: Call, lora: Lora | None) -> list[str]:
    reasons = []
    kind = config.target.rsplit(".", 1)[1]
    if plan.backend == "unsloth":
        reasons.append(
            "Unsloth computes in its own way, which is not counted apart; measured on one model, it took less"
        )
    if kind in COMPARING and _loss(plan, config) == "liger":
        reasons.append("Liger's loss over two answers is counted like that of supervised training")
    if kind not in ("SFTConfig", "FlatSFTConfig", "RewardConfig", *COMPARING):
        reasons.append(f"the loss of {kind.removesuffix('Config')} is counted like that of supervised training")
    if kind == "RewardConfig":
        reasons.append("reward models were not measured")
    if kind in ("GRPOConfig", "RLOOConfig"):
        reasons.append("answers that are generated are not counted")
    if config.arguments.get("fsdp"):
        reasons.append("weights that are shared out were measured on two GPUs alone")
    if config.arguments.get("deepspeed"):
        reasons.append("what DeepSpeed shares out is coarse: with loading, ZeRO-3 took a quarter more on two GPUs")
    if config.arguments.get("torch_compile"):
        reasons.append("torch_compile fuses what is counted apart")
    if lora is None and _other_adapter(plan):
        reasons.append("of adapters, LoRA alone is counted exactly")
    return reasons
