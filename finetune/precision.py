"""Which number type the weights have and the computation uses. Decided once, from the recipe's keys and the GPU."""

from dataclasses import dataclass
from typing import Literal

from finetune.machine import Machine


@dataclass(frozen=True)
class Precision:
    """`dtype`: of the loaded weights (or of the arithmetic on quantized ones). `bf16`, `fp16`: mixed precision."""

    dtype: str
    bf16: bool
    fp16: bool
    reason: str


def choose_precision(bf16: bool | Literal["auto"], fp16: bool | Literal["auto"], machine: Machine) -> Precision:
    """bf16 wins where both could; `auto` means "where this machine's GPU can"."""
    if bf16 is True or (bf16 == "auto" and fp16 is not True and machine.bf16):
        why = "bf16: true" if bf16 is True else "bf16: auto, and the GPU calculates in bfloat16"
        return Precision("bfloat16", True, False, why)
    if fp16 is True or (fp16 == "auto" and machine.cuda):
        why = "fp16: true" if fp16 is True else "fp16: auto, and the GPU does not calculate in bfloat16"
        return Precision("float16", False, True, why)
    why = "bf16 is off" if bf16 is False else "bf16: auto, and there is no GPU that calculates in bfloat16"
    return Precision("float32", False, False, why)
