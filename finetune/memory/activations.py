"""Bytes that blocks keep of each token until the backward pass, and what one block's backward pass takes besides.
Counted from the operations that transformers' models make under mixed precision; tests compare them with what PyTorch
saves. Knows no recipe."""

from dataclasses import dataclass

from finetune.memory.learning import Learning, learning_of
from finetune.memory.shapes import Shape
from finetune.memory.weights import widened
from finetune.memory.work import Work

HALF, FULL = 2, 4
"""Bytes of a number in 16 bits and in float32."""


@dataclass(frozen=True)
class Tokens:
    """Bytes of one token. `block`: what a block keeps; `blocks`: how many keep something. `between`: a block's input,
    which is all that is kept of it with checkpointing. `ends`: what is kept outside of the blocks; `last`: the last
    hidden state, until the loss is made; `above`: what of a block is kept behind its attention. `backward`: what the
    backward pass takes at its height, beyond what is kept; with checkpointing the block that is computed again is part
    of it."""

    block: float
    blocks: int
    above: float
    between: float
    ends: float
    last: float
    backward: float


def is_wide(work: Work) -> bool:
    """Whether blocks hand on float32."""
    lora = work.lora
    # Embeddings that are trained beside quantized weights are float32, and all that follows with them.
    embedded = lora is not None and "embed_tokens" in lora.saved and lora.saved_bytes == FULL
    return embedded or not work.mixed or widened(work) or work.dtype_bytes == FULL


def tokens_of(shape: Shape, work: Work, row_tokens: int) -> Tokens:
    """`row_tokens`: of the longest row, which counts where attention keeps its scores."""
    between = (FULL if is_wide(work) else HALF) * shape.hidden
    learning = learning_of(shape, work)
    attention = kept_of_attention(shape, work, row_tokens)
    # With an adapter, or where all learns, each block is like the next.
    kinds = set(learning.blocks[learning.lowest :]) if learning else {names_of(shape, work)}
    of_kind = {
        names: kept_of_norms(shape, work, names) + attention + kept_of_products(shape, work, names) for names in kinds
    }
    above = learning.blocks[learning.lowest :] if learning else (names_of(shape, work),) * shape.layers
    block = sum(of_kind[names] for names in above) / max(len(above), 1)
    angles = 2 * shape.head_width * (FULL if is_wide(work) else HALF)
    norm = FULL * shape.hidden + FULL + _scale(shape, work) * shape.hidden * _final_norm_learns(work, learning)
    trained = _final_norm_learns(work, learning)
    height = _backward(shape, work, max(of_kind.values(), default=0.0), trained)
    behind = block - attention - FULL * shape.hidden
    return Tokens(block, len(above), behind, between, angles + norm + 8, between, height)


def names_of(shape: Shape, work: Work) -> frozenset[str]:
    """What of a block learns itself: nothing beside an adapter, else all."""
    if work.lora or work.other_adapter:
        return frozenset()
    return frozenset((*shape.kind.norm_names, *shape.kind.head_named, *(matrix.name for matrix in shape.matrices)))


def _final_norm_learns(work: Work, learning: Learning | None) -> bool:
    return "norm" in learning.ends if learning else work.lora is None and work.other_adapter is None


def kept_of_norms(shape: Shape, work: Work, learned: frozenset[str]) -> float:
    """Each norm keeps its input in float32; where its scale learns, its output before the scale too."""
    each: float = FULL * shape.hidden + FULL
    if "rms_norm" in work.liger:
        # Liger's keeps its input as it is.
        each = (FULL if is_wide(work) else HALF) * shape.hidden + FULL
    else:
        each += _scale(shape, work) * shape.hidden * len(learned & set(shape.kind.norm_names)) / shape.kind.norms
    of_heads = 0.0
    if shape.kind.head_norms:
        widths = dict(zip(shape.kind.head_named, (shape.attention_width, shape.key_width), strict=True))
        of_heads += FULL * (shape.heads + shape.key_heads)
        of_heads += sum((FULL + _scale(shape, work) * (name in learned)) * width for name, width in widths.items())
    return shape.kind.norms * each + of_heads


def _scale(shape: Shape, work: Work) -> int:
    """Bytes of a number that a norm's scale is multiplied with."""
    return FULL if shape.kind.wide_scale or not work.mixed else HALF


def kept_of_attention(shape: Shape, work: Work, row_tokens: int) -> float:
    """Query, key, value, what comes out, and a float32 number a head; scores where attention is eager, or a GPU has no
    kernel for it: in float32, where several query heads share a key head."""
    number = HALF if work.mixed else FULL
    attention, key = shape.attention_width, shape.key_width
    if keeps_scores(shape, work):
        # Keys and values are repeated for each query head.
        return FULL * (4 * attention + shape.heads * row_tokens)
    kept = number * (2 * attention + 2 * key) + FULL * shape.heads
    if shape.kind.joined:
        # Value is a part of the joined matrix's whole output, and what comes out is laid out anew.
        kept += number * (2 * attention + key)
    return kept + (shape.heads * row_tokens * (FULL + HALF) if work.eager else 0)


def keeps_scores(shape: Shape, work: Work) -> bool:
    return not work.mixed and not work.eager and shape.heads != shape.key_heads


def kept_of_products(shape: Shape, work: Work, learned: frozenset[str]) -> float:
    """The inputs of the linear layers, what is between gate, up and down, and what an adapter keeps besides."""
    widths = {"block": shape.hidden, "mlp": shape.hidden, "product": shape.intermediate}
    widths["attention"] = shape.attention_width
    named = [matrix for matrix in shape.matrices if work.lora and matrix.name in work.lora.targets]
    # Liger's makes the activated gate once more in the backward pass.
    kept = (2.0 if {"swiglu", "geglu"} & work.liger else 3.0) * _outputs(work) * shape.intermediate
    for reads, width in widths.items():
        readers = sum(matrix.reads == reads for matrix in named)
        learns = any(matrix.reads == reads and matrix.name in learned for matrix in shape.matrices)
        kept += _input(work, reads, readers) * width if learns or work.lora or work.other_adapter else 0.0
    if work.lora and work.lora.dora:
        # Its magnitude learns from what the layer gave and from what the adapter gave.
        kept += 2 * (HALF if work.mixed else FULL) * sum(matrix.outputs for matrix in named)
    return kept + (HALF if work.mixed else FULL) * sum(work.lora.rank for _ in named if work.lora)


def in_8_bits(work: Work) -> bool:
    """Whether products are made in 8 bits, which keeps inputs in its own way."""
    return work.bits == 8 and not work.unpacks


def _outputs(work: Work) -> int:
    """Bytes of a number that a linear layer gives: 8-bit layers give what they are given."""
    return HALF if work.mixed and not (in_8_bits(work) and is_wide(work)) else FULL


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
    if in_8_bits(work):
        shared = 0 if reads == "attention" else _outputs(work)
        casts = readers * (lora.dropout or shared == FULL)
        return float(shared + HALF * casts + readers * lora.dropout)
    if fuses(work):
        # What is there in float32 is cast for each of the layers that read it.
        return float(HALF * readers if between and is_wide(work) else there)
    casts = (between and is_wide(work)) or work.bits is None or work.unpacks or lora.dropout
    return float((HALF * readers if casts else there) + readers * lora.dropout)


def fuses(work: Work) -> bool:
    """Whether an adapter's layers are computed by kernels of ours."""
    return bool(work.lora and work.lora.fused and not work.lora.dropout and not work.lora.dora and work.bits != 8)


def _widens(work: Work) -> bool:
    """Whether an adapter's layers turn their input into float32 before mixed precision rounds it again."""
    lora = work.lora
    if lora is None or lora.number_bytes < FULL or not work.mixed or fuses(work):
        return False
    return (work.bits is None or work.unpacks) and not is_wide(work)


def held_in_8_bits(shape: Shape, work: Work) -> float:
    """Bytes that a block keeps although it is computed again: bitsandbytes 0.50.2 keeps the inputs of its 8-bit layers
    where checkpointing does not see them."""
    if not in_8_bits(work) or not work.lora or work.backend == "unsloth":
        return 0.0
    return float(_outputs(work) * (2 * shape.hidden + shape.intermediate) + HALF * shape.attention_width)


def _backward(shape: Shape, work: Work, block: float, trained: bool) -> float:
    """At its height, either in the last norm, which is `trained` or not, or between down and gate of the last block."""
    hidden, inner = shape.hidden, shape.intermediate
    number = HALF if work.mixed else FULL
    in_norm = (16 if trained or is_wide(work) else 18) * hidden
    in_product = 2 * number * inner - 4.4 * hidden
    if _widens(work):
        # What peft's own layers cast on the way forward is cast back, in float32 first.
        in_product = 6 * inner + 10 * hidden - 4 * shape.key_width
        in_product = max(in_product, 14 * inner - 8 * hidden) if work.lora and work.lora.dora else in_product
    if not work.checkpointing:
        return max(in_norm, in_product)
    # The block's input is there already.
    again = block - FULL * hidden
    if not trained and not is_wide(work) and not _widens(work):
        in_product += 4.4 * hidden
    if shape.kind.norm_names[-1] == "post_feedforward_layernorm":
        # A block that ends with a norm begins its backward pass there.
        return again + max(in_norm, in_product)
    return again + max(in_norm - 8 * hidden, in_product)
