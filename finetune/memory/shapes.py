"""config.json -> the sizes of a decoder: its matrices, its norms, how it attends. Knows the architectures in its table
and says of any other that it does not; knows no recipe and no library."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Matrix:
    """A linear layer of a block. `reads`: what it is fed: the normed input (`block` or `mlp`) or what `attention` or
    the gated `product` gave."""

    name: str
    outputs: int
    inputs: int
    bias: bool
    reads: str

    @property
    def weights(self) -> int:
        return self.outputs * self.inputs


@dataclass(frozen=True)
class Kind:
    """An architecture. `norms`: those of a block. `wide_scale`: norms multiply in float32. `bounded`: the scores of
    attention are, and it is made in tiles. `joined`: query, key and value are one matrix, gate and up another.
    `named`: what norms are called, where that is not usual; `whole_norms`: those of queries and keys are as wide as
    all heads."""

    norms: int = 2
    head_norms: bool = False
    named: tuple[str, ...] = ()
    head_named: tuple[str, str] = ("q_norm", "k_norm")
    whole_norms: bool = False
    wide_scale: bool = False
    bounded: bool = False
    joined: bool = False
    tied: bool = False
    biases: tuple[str, ...] = ()
    defaults: Mapping[str, int] | None = None

    @property
    def norm_names(self) -> tuple[str, ...]:
        return self.named or NORMS[: self.norms]


NORMS = (
    *("input_layernorm", "post_attention_layernorm"),
    *("pre_feedforward_layernorm", "post_feedforward_layernorm"),
)
_BEHIND = ("post_attention_layernorm", "post_feedforward_layernorm")
_QKV = ("q_proj", "k_proj", "v_proj")
_GEMMA3 = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "vocab_size": 262208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
}
KINDS: Mapping[str, Kind] = {
    "llama": Kind(),
    "mistral": Kind(),
    "ministral": Kind(),
    "qwen2": Kind(biases=_QKV),
    "qwen3": Kind(head_norms=True),
    "gemma": Kind(wide_scale=True, tied=True, defaults={"head_dim": 256}),
    "gemma2": Kind(norms=4, bounded=True, wide_scale=True, tied=True, defaults={"head_dim": 256}),
    "gemma3_text": Kind(norms=4, head_norms=True, wide_scale=True, tied=True, defaults=_GEMMA3),
    "phi3": Kind(joined=True),
    "smollm3": Kind(tied=True),
    "granite": Kind(),
    "ministral3": Kind(),
    "cwm": Kind(),
    "hunyuan_v1_dense": Kind(head_norms=True, head_named=("query_layernorm", "key_layernorm")),
    "exaone4": Kind(head_norms=True, named=_BEHIND),
    "olmo2": Kind(head_norms=True, whole_norms=True, wide_scale=True, named=_BEHIND),
    "olmo3": Kind(head_norms=True, whole_norms=True, wide_scale=True, named=_BEHIND),
}
"""`model_type` -> what its block is like. Tests compare the counts with transformers' own models."""
NEEDED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder. `attention_width`, `key_width`: of all query heads and all key heads together."""

    model_type: str
    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_heads: int
    head_width: int
    tied: bool
    matrices: tuple[Matrix, ...]
    kind: Kind

    @property
    def attention_width(self) -> int:
        return self.heads * self.head_width

    @property
    def key_width(self) -> int:
        return self.key_heads * self.head_width

    @property
    def embedding_weights(self) -> int:
        """Of the input embeddings, and of the output head where that is another matrix."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def matrix_weights(self) -> int:
        """Of all blocks' linear layers: what is quantized."""
        return self.layers * sum(matrix.weights for matrix in self.matrices)

    @property
    def small_weights(self) -> int:
        """Norms and biases."""
        biases = sum(matrix.outputs for matrix in self.matrices if matrix.bias)
        widths = self.attention_width + self.key_width if self.kind.whole_norms else 2 * self.head_width
        heads = widths if self.kind.head_norms else 0
        return self.layers * (self.kind.norms * self.hidden + heads + biases) + self.hidden

    @property
    def parameters(self) -> int:
        return self.embedding_weights + self.matrix_weights + self.small_weights


def shape_of(config: Mapping[str, Any]) -> Shape | str:
    """The Shape, or why it cannot be told."""
    inner = config.get("text_config")
    towers = [name for name, part in config.items() if name.endswith("_config") and _is_tower(name, part)]
    if isinstance(inner, dict) and towers:
        return (
            f"the memory of what a {config.get('model_type')} model has besides text ({towers[0]}) is not counted here"
        )
    inside = {"model_type": f"{config.get('model_type')}_text", **inner} if isinstance(inner, dict) else dict(config)
    name = str(inside.get("model_type"))
    kind = KINDS.get(name)
    if kind is None:
        return f"the memory of a {name} model is not counted here ({', '.join(KINDS)} are)"
    sizes = {**(kind.defaults or {}), **{key: value for key, value in inside.items() if value is not None}}
    missing = [key for key in NEEDED if not isinstance(sizes.get(key), int) or sizes[key] < 1]
    if missing:
        return f"its config.json does not say {missing[0]}"
    heads = sizes["num_attention_heads"]
    key_heads = sizes.get("num_key_value_heads") or heads
    width = sizes.get("head_dim") or sizes["hidden_size"] // heads
    tied = config.get("tie_word_embeddings", sizes.get("tie_word_embeddings"))
    return Shape(
        name,
        sizes["vocab_size"],
        sizes["hidden_size"],
        sizes["intermediate_size"],
        sizes["num_hidden_layers"],
        heads,
        key_heads,
        width,
        kind.tied if tied is None else bool(tied),
        _matrices(kind, sizes, heads * width, key_heads * width),
        kind,
    )


def _is_tower(name: str, part: Any) -> bool:
    """Whether a part of a configuration is another network than that of the text."""
    return name not in ("text_config", "quantization_config", "generation_config") and isinstance(part, dict)


def _matrices(kind: Kind, sizes: Mapping[str, Any], attention: int, key: int) -> tuple[Matrix, ...]:
    hidden, inner = sizes["hidden_size"], sizes["intermediate_size"]
    rows: list[tuple[str, int, int, str]] = [
        ("q_proj", attention, hidden, "block"),
        ("k_proj", key, hidden, "block"),
        ("v_proj", key, hidden, "block"),
        ("o_proj", hidden, attention, "attention"),
        ("gate_proj", inner, hidden, "mlp"),
        ("up_proj", inner, hidden, "mlp"),
        ("down_proj", hidden, inner, "product"),
    ]
    if kind.joined:
        rows = [
            ("qkv_proj", attention + 2 * key, hidden, "block"),
            ("o_proj", hidden, attention, "attention"),
            ("gate_up_proj", 2 * inner, hidden, "mlp"),
            ("down_proj", hidden, inner, "product"),
        ]
    biased = set(kind.biases)
    if sizes.get("attention_bias") and not kind.joined:
        biased |= {*_QKV, "o_proj"}
    if sizes.get("mlp_bias"):
        biased |= {"gate_proj", "up_proj", "down_proj"}
    return tuple(Matrix(name, outputs, inputs, name in biased, reads) for name, outputs, inputs, reads in rows)
