"""Recipe keys of the adapter: what is trained beside or inside the base model."""

from typing import Annotated, Literal

from pydantic import Field

from finetune.recipe.base import Number, Reaches, Section, Whole

_LORA = {"adapter": "lora"}
_LISTED = _LORA | {"lora_target_modules": ["q_proj"]}
Names = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
Rank = Annotated[Whole, Field(ge=1)]
Layer = Annotated[Whole, Field(ge=0)]


_IA3 = {"adapter": "ia3"}
_VIRTUAL = {"adapter": "prompt_tuning"}
_PREFIX = {"adapter": "prefix_tuning"}
_LSTM = {"adapter": "p_tuning", "prompt_encoder_type": "lstm"}


class LoftqSection(Section):
    loftq_bits: Annotated[Literal[4], Field(examples=[4]), Reaches("adapt", unsloth=())] = 4
    """Bits of the quantized weights."""


class PeftSection(Section):
    loftq_config: Annotated[LoftqSection | None, Field(examples=[{"loftq_bits": 4}]), Reaches("adapt", unsloth=())] = (
        None
    )
    """LoftQ: begin with what the 4-bit weights lost, instead of at zero."""


class AdapterSection(Section):
    adapter: Annotated[
        Literal["lora", "qlora", "ia3", "prefix_tuning", "prompt_tuning", "p_tuning"] | None,
        Field(examples=["lora", "qlora"]),
        Reaches("load", "adapt", "train", "save", unsloth=("load", "adapt", "save")),
    ] = None
    """`lora`: small trainable matrices on a frozen model. `qlora`: the same on a 4-bit model. `ia3`: one factor for
    each output of some layers. `prefix_tuning`, `prompt_tuning`, `p_tuning`: learned tokens before the row. Unset: all
    weights are trained."""
    lora_model_dir: Annotated[
        str | None, Field(min_length=1, examples=["./earlier/adapter", "org/adapter"]), Reaches("adapt", needs=_LORA)
    ] = None
    """Folder or hub id of an adapter to go on from. Its own settings hold; a line that contradicts them is refused."""
    lora_r: Annotated[Whole, Field(ge=1, examples=[16, 32]), Reaches("adapt", needs=_LORA)] = 8
    """Rank of the adapter's matrices."""
    lora_alpha: Annotated[Whole, Field(ge=1, examples=[32, 64]), Reaches("adapt", needs=_LORA)] = 16
    """Scale of the adapter; its output is multiplied by lora_alpha / lora_r."""
    lora_dropout: Annotated[Number, Field(ge=0, lt=1, examples=[0.05, 0.1]), Reaches("adapt", needs=_LORA)] = 0.0
    """Share of the adapter's inputs set to zero while training."""
    lora_target_modules: Annotated[
        Annotated[list[str], Field(min_length=1)] | Annotated[str, Field(min_length=1)] | None,
        Field(examples=[["q_proj", "v_proj"], ["q_proj", "k_proj"]]),
        Reaches("adapt", needs=_LORA),
    ] = None
    """Names of the linear layers that get an adapter, or one regular expression. Unset: all of them."""
    lora_target_linear: Annotated[
        bool | None,
        Field(examples=[True, False]),
        Reaches("adapt", needs={"adapter": "lora", "lora_target_modules": ["q_proj"]}),
    ] = None
    """true: adapters on every linear layer but the output head, whatever lora_target_modules lists. false: on those
    that it lists. Unset: on those, or on all if it lists none."""
    peft_use_rslora: Annotated[bool, Reaches("adapt", needs=_LORA)] = False
    """Scale by lora_alpha / sqrt(lora_r) (rank-stabilised LoRA), which suits large ranks."""
    peft_use_dora: Annotated[bool, Reaches("adapt", unsloth=(), needs=_LORA)] = False
    """Learn the length of each weight vector apart from its direction (DoRA); slower, and better at small ranks."""
    lora_modules_to_save: Annotated[
        Names | None, Field(examples=[["embed_tokens", "lm_head"], ["lm_head"]]), Reaches("adapt", needs=_LORA)
    ] = None
    """Modules trained and saved whole beside the adapter, such as embed_tokens and lm_head where tokens are new."""
    lora_fan_in_fan_out: Annotated[bool, Reaches("adapt", unsloth=(), needs=_LORA)] = False
    """For layers that store their weights as (in, out), as GPT-2 does."""
    lora_target_parameters: Annotated[
        Names | None,
        Field(examples=[["feed_forward.experts.down_proj"], ["mlp.experts.gate_up_proj"]]),
        Reaches("adapt", needs=_LORA),
    ] = None
    """Parameters that are no layer of their own (weights of experts) and get an adapter."""
    lora_rank_pattern: Annotated[
        dict[str, Rank] | None,
        Field(examples=[{"q_proj": 32}, {"v_proj": 4}]),
        Reaches("adapt", unsloth=(), needs=_LORA),
    ] = None
    """Name or regular expression -> rank, where it is not lora_r."""
    lora_alpha_pattern: Annotated[
        dict[str, Rank] | None,
        Field(examples=[{"q_proj": 64}, {"v_proj": 8}]),
        Reaches("adapt", unsloth=(), needs=_LORA),
    ] = None
    """Name or regular expression -> scale, where it is not lora_alpha."""
    peft_layers_to_transform: Annotated[
        Annotated[list[Layer], Field(min_length=1)] | None,
        Field(examples=[[0, 1], [2]]),
        Reaches("adapt", needs=_LISTED),
    ] = None
    """Numbers of the layers that get an adapter, from 0. Unset: all."""
    peft_layers_pattern: Annotated[
        Names | None,
        Field(examples=[["layers"], ["h"]]),
        Reaches("adapt", needs=_LISTED | {"peft_layers_to_transform": [0]}),
    ] = None
    """Name of the list of layers that peft_layers_to_transform counts in, where peft does not know it."""
    peft_layer_replication: Annotated[
        Annotated[list[Annotated[list[Layer], Field(min_length=2, max_length=2)]], Field(min_length=1)] | None,
        Field(examples=[[[0, 2], [1, 3]], [[0, 1]]]),
        Reaches("adapt", unsloth=(), needs=_LORA),
    ] = None
    """Build a deeper model from ranges of layers, [first, last), sharing their frozen weights."""
    peft_init_lora_weights: Annotated[
        bool
        | Literal["gaussian", "olora", "pissa", "orthogonal"]
        | Annotated[str, Field(pattern=r"^pissa_niter_\d+$")],
        Field(examples=[True, False, "gaussian", "pissa"]),
        Reaches("adapt", "save", unsloth=("adapt",), needs=_LORA),
    ] = True
    """First values of the adapter. true: B is zero, so training starts at the base model; false: random, for tests.
    pissa and olora take parts of the weights into the adapter; it is saved so that it fits the base model as it is."""
    peft: Annotated[
        PeftSection | None,
        Field(examples=[{"loftq_config": {"loftq_bits": 4}}]),
        Reaches("adapt", unsloth=(), needs={"adapter": "qlora", "load_in_4bit": True}),
    ] = None
    """Settings of peft."""
    peft_trainable_token_indices: Annotated[
        list[Layer] | dict[str, list[Layer]] | None,
        Field(examples=[[0, 1], [2]]),
        Reaches("adapt", unsloth=(), needs=_LORA),
    ] = None
    """Numbers of single tokens whose embeddings are trained, by embedding layer or for the input embeddings."""
    peft_ensure_weight_tying: Annotated[
        bool, Reaches("adapt", needs=_LORA | {"lora_modules_to_save": ["embed_tokens"]})
    ] = False
    """Where input and output embeddings are one matrix, train them as one."""
    peft_autocast_adapter_dtype: Annotated[bool, Reaches("adapt", "train", unsloth=(), needs=_LORA)] = True
    """Keep the adapter's weights in float32 where the model's are in 16 bits."""
    ia3_target_modules: Annotated[
        Names | None,
        Field(examples=[["k_proj", "v_proj", "down_proj"], ["v_proj"]]),
        Reaches("adapt", unsloth=(), needs=_IA3),
    ] = None
    """IA3: layers whose outputs get factors. Unset: peft's choice for the architecture."""
    ia3_feedforward_modules: Annotated[
        Names | None,
        Field(examples=[["down_proj"], ["v_proj"]]),
        Reaches("adapt", unsloth=(), needs=_IA3 | {"ia3_target_modules": ["v_proj", "down_proj"]}),
    ] = None
    """IA3: those of ia3_target_modules whose inputs get the factors instead."""
    num_virtual_tokens: Annotated[
        Whole, Field(ge=1, le=4096, examples=[8, 16]), Reaches("adapt", unsloth=(), needs=_VIRTUAL)
    ] = 20
    """prefix_tuning, prompt_tuning, p_tuning: learned tokens before each row; they count towards its length."""
    prompt_tuning_init_text: Annotated[
        str | None,
        Field(min_length=1, examples=["Answer in one sentence.", "Be kind."]),
        Reaches("adapt", unsloth=(), needs=_VIRTUAL),
    ] = None
    """prompt_tuning: words whose embeddings the learned tokens begin with. Unset: random ones."""
    prefix_projection: Annotated[bool, Reaches("adapt", unsloth=(), needs=_PREFIX)] = False
    """prefix_tuning: let a small network write the prefix."""
    prompt_encoder_type: Annotated[
        Literal["mlp", "lstm"],
        Field(examples=["mlp", "lstm"]),
        Reaches("adapt", unsloth=(), needs={"adapter": "p_tuning"}),
    ] = "mlp"
    """p_tuning: the network that writes the embeddings."""
    prompt_encoder_hidden_size: Annotated[
        Whole | None, Field(ge=1, examples=[64, 128]), Reaches("adapt", unsloth=(), needs={"adapter": "p_tuning"})
    ] = None
    """p_tuning, and prefix_tuning with prefix_projection: width of that network. Unset: the model's own."""
    prompt_encoder_layers: Annotated[Whole, Field(ge=1, examples=[1, 3]), Reaches("adapt", unsloth=(), needs=_LSTM)] = 2
    """p_tuning with prompt_encoder_type lstm: its layers."""
    prompt_encoder_dropout: Annotated[
        Number, Field(ge=0, lt=1, examples=[0.1, 0.2]), Reaches("adapt", unsloth=(), needs=_LSTM)
    ] = 0.0
    """p_tuning with prompt_encoder_type lstm: share of its values set to zero while training."""
    unfrozen_parameters: Annotated[
        Names | None,
        Field(examples=[["lm_head"], ["model.layers.1\\."], ["model.embed_tokens.weight$[:1000]"]]),
        Reaches("adapt"),
    ] = None
    """Regular expressions: without an adapter, train only parameters whose name begins with one of them. Rows behind
    it, as in `model.embed_tokens.weight$[32000:]`, train only those."""
