"""Which number type the weights have and the computation uses. Decided once, from the recipe's keys and the GPU."""

from dataclasses import dataclass
from typing import Any, Literal

from finetune.machine import Machine


@dataclass(frozen=True)
class Precision:
    """`dtype`: of the loaded weights (or of the arithmetic on quantized ones). `bf16`, `fp16`: mixed precision."""

    dtype: str
    bf16: bool
    fp16: bool
    reason: str


Choice = bool | Literal["auto"]


def choose_precision(bf16: Choice, fp16: Choice, machine: Machine, all_weights: bool = False) -> Precision:
    """bf16 wins where both could; `auto` means "where this machine's GPU can".

    `all_weights`: no adapter. Weights that are trained in float16 must themselves be float32 (the loss is scaled, and
    float16 gradients cannot be scaled back)."""
    if bf16 is True or (bf16 == "auto" and fp16 is not True and machine.bf16):
        why = "bf16: true" if bf16 is True else "bf16: auto, and the GPU calculates in bfloat16"
        return Precision("bfloat16", True, False, why)
    if fp16 is True or (fp16 == "auto" and machine.cuda):
        why = "fp16: true" if fp16 is True else "fp16: auto, and bf16 is off or beyond the GPU"
        return Precision("float32" if all_weights else "float16", False, True, why)
    why = "bf16 is off" if bf16 is False else "bf16: auto, and there is no GPU that calculates in bfloat16"
    return Precision("float32", False, False, why)


def keep_float32(model: Any, mixed: bool) -> None:
    """Give what is trained on quantized weights its float32 back, which TRL turned into bfloat16: where nothing is
    computed in 16 bits (`mixed`), a module that is trained whole would not fit what it is given."""
    if mixed or not getattr(model, "is_quantized", False):
        return
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
