"""Bytes that a block keeps of each token until the backward pass, and what one block's backward pass takes besides.
Counted from the operations that transformers' models make under mixed precision; tests compare them with what PyTorch
saves. Knows no recipe."""

from dataclasses import dataclass

from finetune.memory.shapes import Shape
from finetune.memory.weights import widened
from finetune.memory.work import Work

HALF, FULL = 2, 4
"""Bytes of a number in 16 bits and in float32."""


@dataclass(frozen=True)
class Tokens:
    """Bytes of one token. `block`: what a block keeps. `between`: its input, which is all that is kept of it with
    checkpointing. `ends`: what is kept outside of the blocks; `last`: the last hidden state, until the loss is made.
    `backward`: what the backward pass takes at its height, beyond what is kept; with checkpointing the block that is
    computed again is part of it."""

    block: float
    between: float
    ends: float
    last: float
    backward: float


def is_wide(work: Work) -> bool:
    """Whether blocks hand on float32."""
    return not work.mixed or widened(work) or work.dtype_bytes == FULL


def tokens_of(shape: Shape, work: Work, row_tokens: int) -> Tokens:
    """`row_tokens`: of the longest row, which counts where attention keeps its scores."""
    between = (FULL if is_wide(work) else HALF) * shape.hidden
    block = kept_of_norms(shape, work) + kept_of_attention(shape, work, row_tokens) + kept_of_products(shape, work)
    angles = 2 * shape.head_width * (FULL if is_wide(work) else HALF)
    norm = FULL * shape.hidden + FULL + _learned_scale(shape, work) * shape.hidden
    return Tokens(block, between, angles + norm + 8, between, _backward(shape, work, block))


def kept_of_norms(shape: Shape, work: Work) -> float:
    """Each norm keeps its input in float32; where its scale learns, its output before the scale too."""
    each = FULL * shape.hidden + FULL + _learned_scale(shape, work) * shape.hidden
    if "rms_norm" in work.liger:
        # Liger's keeps its input as it is.
        each = (FULL if is_wide(work) else HALF) * shape.hidden + FULL
    heads = shape.heads + shape.key_heads
    inner = FULL + _learned_scale(shape, work)
    of_heads = inner * (shape.attention_width + shape.key_width) + FULL * heads if shape.kind.head_norms else 0
    return shape.kind.norms * each + of_heads


def _learned_scale(shape: Shape, work: Work) -> int:
    if work.lora or work.other_adapter:
        return 0
    return FULL if shape.kind.wide_scale or not work.mixed else HALF


def kept_of_attention(shape: Shape, work: Work, row_tokens: int) -> float:
    """Query, key, value, what comes out, and a float32 number a head; scores where attention is eager."""
    number = HALF if work.mixed else FULL
    attention, key = shape.attention_width, shape.key_width
    kept = number * (2 * attention + 2 * key) + FULL * shape.heads
    if shape.kind.joined:
        # Value is a part of the joined matrix's whole output, and what comes out is laid out anew.
        kept += number * (2 * attention + key)
    return kept + (shape.heads * row_tokens * (FULL + HALF) if work.eager else 0)


def kept_of_products(shape: Shape, work: Work) -> float:
    """The inputs of the linear layers, what is between gate, up and down, and what an adapter keeps besides."""
    widths = {"block": shape.hidden, "mlp": shape.hidden, "product": shape.intermediate}
    widths["attention"] = shape.attention_width
    named = [matrix for matrix in shape.matrices if work.lora and matrix.name in work.lora.targets]
    # Liger's makes the activated gate once more in the backward pass.
    kept = (2.0 if {"swiglu", "geglu"} & work.liger else 3.0) * _outputs(work) * shape.intermediate
    for reads, width in widths.items():
        readers = sum(matrix.reads == reads for matrix in named)
        kept += _input(work, reads, readers) * width
    return kept + (HALF if work.mixed else FULL) * sum(work.lora.rank for _ in named if work.lora)


def _outputs(work: Work) -> int:
    """Bytes of a number that a linear layer gives: 8-bit layers give what they are given."""
    return HALF if work.mixed and not (work.bits == 8 and is_wide(work)) else FULL


def _input(work: Work, reads: str, readers: int) -> float:
    """Bytes a number of an input that `readers` adapted layers read, beyond what attention keeps anyway."""
    between = reads in ("block", "mlp")
    number = HALF if work.mixed else FULL
    lora = work.lora
    if lora is None:
        return 0.0 if reads == "attention" else float(number)
    there = number * bool(readers) * (reads != "attention")
    if not work.mixed:
        return there + FULL * readers * lora.dropout
    if work.bits == 8:
        shared = 0 if reads == "attention" else _outputs(work)
        casts = readers * (lora.dropout or shared == FULL)
        return float(shared + HALF * casts + readers * lora.dropout)
    if fuses(work):
        # What is there in float32 is cast for each of the layers that read it.
        return float(HALF * readers if between and is_wide(work) else there)
    casts = (between and is_wide(work)) or work.bits is None or lora.dropout
    return float((HALF * readers if casts else there) + readers * lora.dropout)


def fuses(work: Work) -> bool:
    """Whether an adapter's layers are computed by kernels of ours."""
    return bool(work.lora and work.lora.fused and not work.lora.dropout and not work.lora.dora and work.bits != 8)


def held_in_8_bits(shape: Shape, work: Work) -> float:
    """Bytes that a block keeps although it is computed again: bitsandbytes 0.50.2 keeps the inputs of its 8-bit layers
    where checkpointing does not see them."""
    if work.bits != 8 or not work.lora or work.backend == "unsloth":
        return 0.0
    return float(_outputs(work) * (2 * shape.hidden + shape.intermediate) + HALF * shape.attention_width)


def _backward(shape: Shape, work: Work, block: float) -> float:
    """At its height, either in the last norm or between down and gate of the last block."""
    hidden, inner = shape.hidden, shape.intermediate
    number = HALF if work.mixed else FULL
    trained = work.lora is None and work.other_adapter is None
    in_norm = (16 if trained or is_wide(work) else 18) * hidden
    in_product = 2 * number * inner - 4.4 * hidden
    if not work.checkpointing:
        return max(in_norm, in_product)
    # The block's input is there already.
    again = block - FULL * hidden
    if not trained and not is_wide(work):
        in_product += 4.4 * hidden
    if shape.kind.norms == 4:
        return again + max(in_norm, in_product)
    return again + max(in_norm - 8 * hidden, in_product)
