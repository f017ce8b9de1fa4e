"""Bytes that PEFT's DoRA takes for a moment in each layer: it makes the adapter's whole product and the length of each
of its rows anew, from an identity matrix as wide as the layer's input. Knows sizes and planned work."""

from finetune.memory.shapes import Matrix, Shape
from finetune.memory.weights import targeted
from finetune.memory.work import Work

HALF, FULL = 2, 4


def dora_bytes(shape: Shape, work: Work, tokens: int) -> float:
    """At its height, on the way forward; 0 without DoRA."""
    if work.lora is None or not work.lora.dora:
        return 0.0
    return max((_of_matrix(matrix, work, tokens) for matrix in targeted(shape, work)), default=0.0)


def _of_matrix(matrix: Matrix, work: Work, tokens: int) -> float:
    assert work.lora is not None
    of_adapter = work.lora.number_bytes
    # Layers of quantized weights are given their input as it is, others in the adapter's own number type.
    given = HALF if work.bits and work.mixed else of_adapter
    casts = work.mixed and of_adapter == FULL
    identity, product = matrix.inputs**2, matrix.weights
    number = HALF if work.mixed else of_adapter
    making = identity * (of_adapter + (HALF if casts else 0)) + product * number
    # The adapter's product, the weights, the product times its scale, and both added.
    copies = 4 if given != work.dtype_bytes or work.bits else 3
    measuring = identity * number + product * given * copies
    # Beside the input that was turned to float32 there is still the one that was given.
    widened = (FULL + HALF) * matrix.inputs * tokens if given == FULL and work.mixed else 0
    return float(max(making, measuring) + widened)


def kept_weights(shape: Shape, work: Work) -> float:
    """Bytes of unpacked weights that a block keeps: with dropout, each layer is computed once more."""
    if work.lora is None or not work.lora.dora or not work.lora.dropout:
        return 0.0
    number = HALF if work.mixed else work.lora.number_bytes
    return float(number * sum(matrix.weights for matrix in targeted(shape, work)))
