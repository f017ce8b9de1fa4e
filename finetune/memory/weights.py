"""Bytes of the base model's weights, of what is trained of it, and of an adapter. Knows no data."""

from dataclasses import dataclass

from finetune.memory.learning import learning_of, tensors_of
from finetune.memory.shapes import Matrix, Shape
from finetune.memory.work import Work

BLOCK = 64
"""Weights that share a scale in bitsandbytes' 4 bits."""
SCALES = 256
"""Scales that share a second one, where scales are quantized too."""


@dataclass(frozen=True)
class Weights:
    """Bytes. `base`: the model as it is kept. `scales`: what quantization keeps beside it. `adapter`: its numbers, and
    the trained copies beside it. `trained`: the tensors that learn, by their size, of `number_bytes` a number;
    `copies`: those that are trained whole beside an adapter, of `copy_bytes`; `embeddings`: how many of the trained
    numbers are those of input embeddings."""

    base: float
    scales: float
    adapter: float
    trained: tuple[tuple[int, int], ...]
    number_bytes: int
    embeddings: int = 0
    copies: tuple[tuple[int, int], ...] = ()
    copy_bytes: int = 4

    @property
    def learned(self) -> int:
        """How many numbers learn."""
        return sum(numbers * count for numbers, count in (*self.trained, *self.copies))

    @property
    def gradients(self) -> float:
        """Bytes of a gradient of each of them."""
        return bytes_of(self.trained, self.number_bytes) + bytes_of(self.copies, self.copy_bytes)


def weights_of(shape: Shape, work: Work) -> Weights:
    base, scales = _base(shape, work)
    if work.lora is None and work.other_adapter is None:
        learning, table = learning_of(shape, work), shape.vocabulary * shape.hidden
        if learning is None:
            return Weights(base, scales, 0.0, _whole(shape), work.dtype_bytes, table)
        embeddings = table if "embed_tokens" in learning.ends else 0
        return Weights(base, scales, 0.0, tensors_of(shape, learning), work.dtype_bytes, embeddings)
    number_bytes, copy_bytes = (work.lora.number_bytes, work.lora.saved_bytes) if work.lora else (4, 4)
    trained, copies = adapter_tensors(shape, work), _saved(shape, work)
    adapter = bytes_of(trained, number_bytes) + bytes_of(copies, copy_bytes)
    return Weights(base, scales, adapter, trained, number_bytes, copies=copies, copy_bytes=copy_bytes)


def bytes_of(tensors: tuple[tuple[int, int], ...], number_bytes: int) -> float:
    return float(sum(numbers * count for numbers, count in tensors) * number_bytes)


def _whole(shape: Shape) -> tuple[tuple[int, int], ...]:
    ends = ((shape.vocabulary * shape.hidden, 1 if shape.tied else 2),)
    small = ((shape.hidden, shape.small_weights // shape.hidden),)
    return (*ends, *((matrix.weights, shape.layers) for matrix in shape.matrices), *small)


def rest_bytes(work: Work) -> int:
    """Of a weight beside the quantized ones. In float16, which overflows there, they are kept in float32."""
    return 4 if widened(work) else work.dtype_bytes


def widened(work: Work) -> bool:
    """Whether a quantized model's norms and embeddings are in float32, and what flows between its blocks with them."""
    return work.bits is not None and work.float16 and work.backend != "unsloth"


def _base(shape: Shape, work: Work) -> tuple[float, float]:
    rest = (shape.embedding_weights + shape.small_weights) * rest_bytes(work)
    if work.bits == 4:
        blocks = shape.matrix_weights / BLOCK
        scales = blocks * (1 + 4 / SCALES) if work.double_quant else blocks * 4
        return shape.matrix_weights / 2 + rest, scales
    if work.bits == 8:
        rows = shape.layers * sum(matrix.outputs for matrix in shape.matrices)
        return shape.matrix_weights + rest, rows * 4.0
    return float(shape.parameters * work.dtype_bytes), 0.0


def adapter_tensors(shape: Shape, work: Work) -> tuple[tuple[int, int], ...]:
    """What LoRA trains; of other adapters, what is usual of them."""
    if work.lora is None:
        return ((shape.hidden * 8, shape.layers),) if work.other_adapter else ()
    sizes = []
    for matrix in targeted(shape, work):
        sizes += [(work.lora.rank * matrix.inputs, shape.layers), (work.lora.rank * matrix.outputs, shape.layers)]
        sizes += [(matrix.outputs, shape.layers)] if work.lora.dora else []
    return tuple(sizes)


def targeted(shape: Shape, work: Work) -> tuple[Matrix, ...]:
    if work.lora is None:
        return ()
    return tuple(matrix for matrix in shape.matrices if matrix.name in work.lora.targets)


def _saved(shape: Shape, work: Work) -> tuple[tuple[int, int], ...]:
    """Copies that are trained whole beside the adapter."""
    saved = work.lora.saved if work.lora else ()
    named = [name for name in saved if name.split(".")[-1] in ("embed_tokens", "lm_head")]
    return ((shape.vocabulary * shape.hidden, len(named)),) if named else ()
