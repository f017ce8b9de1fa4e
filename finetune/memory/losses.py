"""Bytes that the output head and the loss take. Knows no recipe."""

from dataclasses import dataclass

from finetune.memory.activations import is_wide
from finetune.memory.learning import learning_of
from finetune.memory.shapes import Shape
from finetune.memory.weights import rest_bytes
from finetune.memory.work import Work
from finetune.pieces import tokens_of_a_piece

LIGER_SHARE = 3.0
"""Copies of its piece of logits that Liger's loss holds."""
COMPARED = {"pairs": 10, "known_pairs": 8, "odds": 10, "kto": 12}
"""Bytes for each logit where TRL 1.14.2 compares answers. `pairs`: float32 logits of what is trained, and the
reference's in 16 bits and turned to float32. `known_pairs`: logits and their gradient. `odds`: logits, the log-softmax
of the chosen half, and a gradient. `kto`: logits, the reference's, and a copy for the figures; of what is learned of
that, another."""


@dataclass(frozen=True)
class Loss:
    """Bytes. `height`: at the height of the loss. `kept`: from there until the backward pass."""

    height: float
    kept: float


def loss_of(shape: Shape, work: Work, tokens: int, learned: int) -> Loss:
    """`tokens` go through the output head, `learned` of them are learned."""
    if work.loss == "scores":
        return Loss(0.0, 0.0)  # one number for a row, and no output head
    if work.loss == "cut":
        return _cut(shape, work, learned)
    if work.loss == "liger":
        return _liger(shape, work, tokens)
    if work.loss in COMPARED:
        logits = tokens * COMPARED[work.loss] + (4 * learned if work.loss == "kto" else 0)
        return Loss(float(logits * shape.vocabulary), _whole(shape, work, tokens).kept)
    return _whole(shape, work, tokens)


def _head_bytes(work: Work) -> int:
    if work.lora and "lm_head" in work.lora.saved:
        return work.lora.saved_bytes
    return rest_bytes(work)


def _learns(shape: Shape, work: Work) -> bool:
    learning = learning_of(shape, work)
    if learning:
        return bool(learning.ends & {"lm_head", "embed_tokens" if shape.tied else "lm_head"})
    saved = work.lora.saved if work.lora else ()
    return (work.lora is None and work.other_adapter is None) or "lm_head" in saved


def _cut(shape: Shape, work: Work, learned: int) -> Loss:
    head = shape.vocabulary * shape.hidden
    number = 2 if work.mixed else 4
    most = tokens_of_a_piece(shape.vocabulary, _learns(shape, work))
    rows = min(learned, most)
    piece = rows * shape.vocabulary
    # The gradient of the piece before is still there.
    second = min(max(learned - most, 0), most) * shape.vocabulary
    hidden_bytes = 4 if is_wide(work) else 2
    hidden = learned * shape.hidden * hidden_bytes
    # Logits, the same in float32, and the difference to their largest.
    height = max(piece * (number + 8), second * (number + 8) + piece * number)
    if _head_bytes(work) != number:
        # Under mixed precision a head in float32 is cast for each product, and so is the gradient of the piece.
        height = max(height, head * number + piece * (number + 4))
    height += 2 * hidden
    kept = float(hidden)
    if _learns(shape, work):
        height += head * 4
        kept += head * _head_bytes(work)
    return Loss(height, kept)


def _whole(shape: Shape, work: Work, tokens: int) -> Loss:
    number = 2 if work.mixed else 4
    logits = tokens * shape.vocabulary
    cast = shape.vocabulary * shape.hidden * number if _head_bytes(work) != number else 0
    of_head = shape.vocabulary * shape.hidden * _head_bytes(work) if _learns(shape, work) else 0
    # The log-softmax in float32, its gradient, and that of the logits; all gone before the blocks' backward pass.
    return Loss(logits * 12.0 + cast, float(of_head))


def _liger(shape: Shape, work: Work, tokens: int) -> Loss:
    pieces = max(1, -(-shape.vocabulary // shape.hidden))
    rows = min(tokens, max(1, 2 ** max(0, (max(tokens // pieces, 1) - 1).bit_length())))
    number = 2 if work.mixed else 4
    head = shape.vocabulary * shape.hidden * 4 if _learns(shape, work) else 0
    hidden = tokens * shape.hidden * number
    return Loss(rows * shape.vocabulary * number * LIGER_SHARE + hidden + head, hidden + head)
