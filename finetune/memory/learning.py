"""Which parts of a model learn where no adapter does: those whose names a recipe's patterns begin with. Knows sizes
and planned work."""

import re
from dataclasses import dataclass

from finetune.memory.shapes import Shape
from finetune.memory.work import Work

ROWS = re.compile(r"\[\d*:\d*\]$")
"""Behind a pattern: rows that learn. The gradient is made of all of them."""


@dataclass(frozen=True)
class Learning:
    """`ends`: of embed_tokens, norm and lm_head those that learn. `blocks`: of each block, the names of its matrices
    and norms that learn."""

    ends: frozenset[str]
    blocks: tuple[frozenset[str], ...]

    @property
    def lowest(self) -> int:
        """The lowest block that learns, or that lies above what learns: nothing below it is kept."""
        if "embed_tokens" in self.ends:
            return 0
        return next((number for number, names in enumerate(self.blocks) if names), len(self.blocks))


def learning_of(shape: Shape, work: Work) -> Learning | None:
    """None where all of the model learns, or an adapter alone."""
    if work.patterns is None:
        return None
    wanted = [ROWS.sub("", pattern) for pattern in work.patterns]

    def learns(name: str) -> bool:
        # As a matrix or as its bias.
        return any(re.match(pattern, f"{name}.{kind}") for pattern in wanted for kind in ("weight", "bias"))

    inside = {matrix.name: _place(matrix.name) for matrix in shape.matrices}
    inside |= {name: name for name in shape.kind.norm_names}
    inside |= {name: f"self_attn.{name}" for name in shape.kind.head_named if shape.kind.head_norms}
    blocks = tuple(
        frozenset(name for name, place in inside.items() if learns(f"model.layers.{number}.{place}"))
        for number in range(shape.layers)
    )
    ends = {"embed_tokens": "model.embed_tokens", "norm": "model.norm", "lm_head": "lm_head"}
    if shape.tied:
        del ends["lm_head"]
    return Learning(frozenset(name for name, place in ends.items() if learns(place)), blocks)


def _place(matrix: str) -> str:
    return f"{'self_attn' if matrix in ATTENTION else 'mlp'}.{matrix}"


ATTENTION = ("q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj")


def tensors_of(shape: Shape, learning: Learning) -> tuple[tuple[int, int], ...]:
    """(numbers of a tensor, how many tensors of that size learn)"""
    end = shape.vocabulary * shape.hidden
    sizes = [(end, len(learning.ends & {"embed_tokens", "lm_head"}))]
    for matrix in shape.matrices:
        count = sum(matrix.name in names for names in learning.blocks)
        sizes += [(matrix.weights, count), *([(matrix.outputs, count)] if matrix.bias else [])]
    norms = sum(len(names & set(shape.kind.norm_names)) for names in learning.blocks) + ("norm" in learning.ends)
    sizes.append((shape.hidden, norms))
    widths = (shape.attention_width, shape.key_width) if shape.kind.whole_norms else (shape.head_width,) * 2
    for name, width in zip(shape.kind.head_named, widths, strict=True):
        sizes.append((width, sum(name in names for names in learning.blocks)))
    return tuple((numbers, count) for numbers, count in sizes if count)
