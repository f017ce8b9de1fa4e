"""The peak of a training's memory, part by part: what is there all the time, and the highest of the moments of a step.
Knows sizes and planned work; reads no file."""

from dataclasses import dataclass

from finetune.memory.activations import Tokens, fuses, held_in_8_bits, is_wide, keeps_scores, tokens_of
from finetune.memory.dora import dora_bytes, kept_weights
from finetune.memory.learning import learning_of
from finetune.memory.losses import loss_of
from finetune.memory.optimizers import of_embeddings, state_bytes, step_bytes
from finetune.memory.parts import part_of, parts_of
from finetune.memory.shapes import Shape
from finetune.memory.weights import Weights, weights_of
from finetune.memory.work import Work
from finetune.memory.zero import Share, share_of

GIB = 2**30
QUERIES = 1024
"""Of a tile of attention."""
OF_A_SCORE = 15.0
"""Bytes: the score, its bound's and its share's and their gradients."""
LIBRARIES = 56 * 2**20
"""Work space of the matrix products, and what a batch and its labels take."""
OUTSIDE = 0.55 * GIB
"""What the driver and the libraries' kernels take beside PyTorch's memory."""
SCATTERED = 0.05
"""Share of the peak that lies between allocations, and cannot be used."""


@dataclass(frozen=True)
class Pass:
    """The largest forward pass. `tokens`: with padding; `learned`: those that the loss counts; `longest`: of a row."""

    tokens: int
    learned: int
    longest: int


@dataclass(frozen=True)
class Estimate:
    """Bytes. The parts add up to `peak`, which is what PyTorch allocates at most; `moment`: when that is."""

    weights: float
    quantization: float
    adapter: float
    gradients: float
    optimizer: float
    activations: float
    loss: float
    workspace: float
    moment: str
    largest: Pass

    @property
    def peak(self) -> float:
        parts = (self.weights, self.quantization, self.adapter, self.gradients, self.optimizer)
        return sum(parts) + self.activations + self.loss + self.workspace

    @property
    def needed(self) -> float:
        """Memory of a GPU on which this fits."""
        return self.peak * (1 + SCATTERED) + OUTSIDE

    def as_json(self) -> dict[str, object]:
        parts = ("weights", "quantization", "adapter", "gradients", "optimizer", "activations", "loss", "workspace")
        gib = {name: round(getattr(self, name) / GIB, 3) for name in parts}
        return {"peak_gib": round(self.peak / GIB, 3), "needed_gib": round(self.needed / GIB, 3), "parts_gib": gib} | {
            "moment": self.moment,
            "largest_pass": vars(self.largest),
        }


@dataclass(frozen=True)
class _Moment:
    """What is there at one moment of a step, besides what is always there."""

    name: str
    gradients: float = 0.0
    activations: float = 0.0
    loss: float = 0.0
    workspace: float = 0.0

    @property
    def total(self) -> float:
        return self.gradients + self.activations + self.loss + self.workspace


def estimated(shape: Shape, work: Work, largest: Pass, processes: int = 1) -> Estimate:
    """The peak of training with this largest pass, on each GPU of so many processes."""
    share = _share(shape, work, processes)
    weights = share.weights
    highest = max(_moments(shape, work, largest, share), key=lambda moment: moment.total)
    reference = weights.base if work.reference else 0.0
    return Estimate(
        weights.base + reference,
        weights.scales,
        weights.adapter,
        highest.gradients,
        share.states,
        highest.activations,
        highest.loss,
        highest.workspace + share.buckets + LIBRARIES,
        highest.name,
        largest,
    )


def _share(shape: Shape, work: Work, processes: int) -> Share:
    """What one GPU holds. Several passes of a step add whole gradients up before they are dealt out."""
    weights = weights_of(shape, work)
    if work.zero is not None and processes > 1:
        return share_of(shape, work, weights, processes)
    whole_gradients = weights.gradients
    parts = parts_of(shape, work, weights, processes)
    if parts is not None:
        weights = part_of(weights, parts)
    tensors = ((weights.trained, weights.number_bytes), (weights.copies, weights.copy_bytes))
    states = sum(state_bytes(work.optimizer, *each) for each in tensors)
    states += of_embeddings(work.optimizer, weights.embeddings)
    gradients = whole_gradients if _several(work) else weights.gradients
    return Share(weights, gradients, states, sum(step_bytes(work.optimizer, *each) for each in tensors))


def _several(work: Work) -> bool:
    """Whether a step has several passes."""
    return work.rows.passes > 1 or work.rows.tokens_per_pass is not None


def _moments(shape: Shape, work: Work, largest: Pass, share: Share) -> tuple[_Moment, ...]:
    weights, tokens = share.weights, tokens_of(shape, work, largest.longest)
    loss = loss_of(shape, work, largest.tokens, largest.learned)
    before = share.gradients if _several(work) else 0.0
    kept = _kept(shape, work, tokens) * largest.tokens
    of_block = _kept_weights(shape, work)
    copied = _copied_matrix(shape, work) + (of_block if work.checkpointing else 0.0)
    height = max(tokens.backward * largest.tokens, _in_attention(shape, work, tokens, largest))
    height += _in_tiles(shape, work, largest)
    one_block = (tokens.between if work.checkpointing else tokens.block) * largest.tokens
    cast = _cast(work, weights)
    there = cast + (0.0 if work.checkpointing else tokens.blocks * of_block)
    moments = (
        _Moment("the loss", before, kept + tokens.last * largest.tokens, loss.height, there),
        _Moment("the backward pass", before, kept + height, loss.kept, copied + there),
        _Moment("the end of the backward pass", share.gradients, one_block + height, _tied(shape, work), copied + cast),
        _Moment("the optimizer's step", share.gradients, 0.0, 0.0, share.step),
    )
    dora = dora_bytes(shape, work, largest.tokens)
    if not dora:
        return moments
    again = (tokens.block - tokens.between) * largest.tokens if work.checkpointing else 0.0
    of_loss = loss.kept if work.checkpointing else 0.0
    return (*moments, _Moment("DoRA's lengths", before, kept + again, of_loss, dora + copied + there))


def _in_attention(shape: Shape, work: Work, tokens: Tokens, largest: Pass) -> float:
    """What the backward pass of an attention that keeps its scores takes: of a row at a time, two more of them."""
    if not keeps_scores(shape, work):
        return 0.0
    block = tokens.block - tokens.between if work.checkpointing else 0.0
    return (block - tokens.above) * largest.tokens + 2 * 4.0 * shape.heads * largest.longest**2


def _in_tiles(shape: Shape, work: Work, largest: Pass) -> float:
    """What the backward pass of attention in tiles takes (finetune/kernels/tiled.py): the scores of one."""
    if not shape.kind.bounded or work.eager or work.backend == "unsloth":
        return 0.0
    asked = min(QUERIES, largest.tokens)
    return OF_A_SCORE * shape.heads * asked * max(asked, largest.longest)


def _kept_weights(shape: Shape, work: Work) -> float:
    """Unpacked weights that a block keeps until its backward pass."""
    if not work.unpacks:
        return kept_weights(shape, work)
    return float((4 if is_wide(work) else 2) * sum(matrix.weights for matrix in shape.matrices))


def _kept(shape: Shape, work: Work, tokens: Tokens) -> float:
    """Bytes of each token that wait for the backward pass."""
    if not work.checkpointing:
        # Where nothing below learns, nothing needs the gradient of the first norm.
        first = 4.0 * (shape.hidden + 1) if tokens.blocks and not _embeddings_learn(shape, work) else 0.0
        return tokens.blocks * tokens.block + tokens.ends - first
    # Offloaded, the inputs of two blocks are under way at a time.
    blocks = min(tokens.blocks, 2) if work.offloads else tokens.blocks
    return blocks * tokens.between + shape.layers * held_in_8_bits(shape, work) + tokens.ends


def _cast(work: Work, weights: Weights) -> float:
    """Copies in 16 bits that mixed precision makes of float32 weights, and keeps until the step is made."""
    if not work.mixed:
        return 0.0
    of_base = weights.base / 2 if work.dtype_bytes == 4 and not work.bits else 0.0
    return of_base + (weights.adapter / 2 if weights.number_bytes == 4 and not fuses(work) else 0.0)


def _embeddings_learn(shape: Shape, work: Work) -> bool:
    if work.lora:
        return "embed_tokens" in work.lora.saved
    learning = learning_of(shape, work)
    return "embed_tokens" in learning.ends if learning else not work.other_adapter


def _copied_matrix(shape: Shape, work: Work) -> float:
    """The largest matrix, unpacked, where weights are quantized."""
    if not work.bits or work.unpacks:
        return 0.0
    number = 4 if work.bits == 8 and is_wide(work) else 2
    return float(number * max(matrix.weights for matrix in shape.matrices))


def _tied(shape: Shape, work: Work) -> float:
    """The gradient of embeddings that are trained is made whole before it is added."""
    if work.lora or not _embeddings_learn(shape, work):
        return 0.0
    return float(shape.vocabulary * shape.hidden * work.dtype_bytes) if shape.tied else 0.0
