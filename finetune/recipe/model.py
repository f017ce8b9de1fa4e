"""Recipe keys of the model and tokenizer, their precision and quantization."""

from typing import Annotated, Literal

from pydantic import Field

from finetune.recipe.base import Reaches, Section


class SpecialTokens(Section):
    bos_token: Annotated[str | None, Field(min_length=1, examples=["<s>", "<|im_start|>"]), Reaches("load")] = None
    """Begin-of-sequence token."""
    eos_token: Annotated[str | None, Field(min_length=1, examples=["<|im_end|>", "</s>"]), Reaches("load")] = None
    """End-of-sequence token; generation stops at it."""
    unk_token: Annotated[str | None, Field(min_length=1, examples=["<unk>", "<|im_end|>"]), Reaches("load")] = None
    """Token for unknown text."""
    pad_token: Annotated[str | None, Field(min_length=1, examples=["<|pad|>", "<|im_end|>"]), Reaches("load")] = None
    """Token that fills short rows of a batch. It may equal eos_token: labels never come from padding."""
    additional_special_tokens: Annotated[
        list[Annotated[str, Field(min_length=1)]] | None,
        Field(examples=[["<|im_start|>", "<|im_end|>"], ["<tool>"]]),
        Reaches("load"),
    ] = None
    """Further tokens that are never split and not shown in answers."""


_BNB = Reaches("load", unsloth=())


class BnbConfig(Section):
    bnb_4bit_quant_type: Annotated[Literal["nf4", "fp4"], Field(examples=["nf4", "fp4"]), _BNB] = "nf4"
    """The 4-bit number type: nf4 (made for normally distributed weights) or fp4."""
    bnb_4bit_use_double_quant: Annotated[bool, Field(examples=[True, False]), _BNB] = True
    """Quantize the scales too, which saves 0.4 bits a weight."""
    bnb_4bit_compute_dtype: Annotated[
        Literal["bfloat16", "float16", "float32"] | None, Field(examples=["float16", "float32"]), _BNB
    ] = None
    """Number type of the products. Unset: as bf16 and fp16 say."""
    bnb_4bit_quant_storage: Annotated[
        Literal["uint8", "bfloat16", "float16", "float32"] | None, Field(examples=["uint8", "bfloat16"]), _BNB
    ] = None
    """Number type in which the 4-bit weights are packed. Unset: uint8."""


class QuantizationKwargs(Section):
    dequantize: Annotated[Literal[True], Field(examples=[True]), Reaches("load", unsloth=())] = True
    """Unpack the weights to 16 bits; packed, they cannot be trained."""
    modules_to_not_convert: Annotated[
        list[str] | None, Field(examples=[["lm_head"], ["gate"]]), Reaches("load", unsloth=())
    ] = None
    """Modules that are not packed in the checkpoint."""


class ModelSection(Section):
    backend: Annotated[
        Literal["auto", "unsloth", "transformers"],
        Field(examples=["transformers", "unsloth"]),
        Reaches("load", "adapt", "train"),
    ] = "auto"
    """What loads the model and attaches the adapter: `transformers` (with peft and bitsandbytes) runs everywhere,
    `unsloth` on a CUDA GPU. `auto` takes unsloth where it is installed, has a GPU and refuses nothing in the recipe."""
    base_model: Annotated[str, Field(min_length=1, examples=["Qwen/Qwen1.5-1.8B-Chat", "./my-model"]), Reaches("load")]
    """Hub id or local folder of the model to fine-tune. A relative path is looked up beside the recipe, then in the
    working directory."""
    revision_of_model: Annotated[str | None, Field(min_length=1, examples=["main", "v1.0"]), Reaches("load")] = None
    """Branch, tag or commit of base_model on the hub. Pin a commit to train the same weights next year. With
    trust_remote_code on a local folder: sha256:... of its Python files."""
    model_type: Annotated[
        str,
        Field(
            pattern=r"^([A-Z][A-Za-z0-9]*ForCausalLM|GPT2LMHeadModel)$",
            examples=["LlamaForCausalLM"],
        ),
        Reaches("load", unsloth=()),
    ] = "AutoModelForCausalLM"
    """Class of transformers that loads the model."""
    tokenizer_type: Annotated[
        str,
        Field(pattern=r"^[A-Z][A-Za-z0-9]*Tokenizer(Fast)?$", examples=["PreTrainedTokenizerFast", "LlamaTokenizer"]),
        Reaches("load"),
    ] = "AutoTokenizer"
    """Class of transformers that loads the tokenizer."""
    tokenizer_config: Annotated[
        str | None, Field(min_length=1, examples=["Qwen/Qwen1.5-1.8B", "./my-tokenizer"]), Reaches("load")
    ] = None
    """Hub id or local folder of the tokenizer, where it is not base_model's own."""
    allow_pickle_weights: Annotated[bool, Reaches("load", unsloth=())] = False
    """Also load weights in Python's pickle format (.bin, .pt), which can run code. false: safetensors only."""
    trust_remote_code: Annotated[bool, Reaches("load")] = False
    """Run Python code from the model's repository. Pin revision_of_model when it is on."""
    special_tokens: Annotated[
        SpecialTokens | None,
        Field(examples=[{"pad_token": "<|pad|>"}, {"pad_token": "<unk>"}]),
        Reaches("load"),
    ] = None
    """Tokens with a role. One that is not in the vocabulary is added; except for pad_token, its embedding must then be
    trained: lora_modules_to_save: [embed_tokens, lm_head], or no adapter."""
    tokens: Annotated[
        Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None,
        Field(examples=[["<|im_start|>", "<|im_end|>"], ["<tool>"]]),
        Reaches("load", unsloth=()),
    ] = None
    """Words added to the vocabulary, each one token; their embeddings must be trained, as for special_tokens."""
    resize_token_embeddings_to_32x: Annotated[bool, Reaches("load", unsloth=())] = False
    """Make the number of embeddings a multiple of 32, which is faster to compute."""
    mean_resizing_embeddings: Annotated[bool, Reaches("load", unsloth=(), needs={"tokens": ["<tool>"]})] = False
    """Begin new embeddings around the mean of the old ones instead of at random."""
    attn_implementation: Annotated[
        Literal[
            "auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3", "flash_attention_4", "flex_attention"
        ],
        Field(examples=["eager", "sdpa"]),
        Reaches("load", "train", unsloth=()),
    ] = "auto"
    """Attention kernel. `auto`: PyTorch's own (sdpa), in its variable-length kind where rows lie end to end and the
    model can; there by FlashAttention 3 or 4 (pip install flash-attn-4) where that is installed, agrees with PyTorch's
    and the GPU is Hopper's or later."""
    load_in_4bit: Annotated[
        bool | Literal["auto"], Field(examples=[True, False]), Reaches("load", needs={"adapter": "lora"})
    ] = False
    """Load the weights as 4-bit NF4 with double quantization (bitsandbytes); train an adapter on top (QLoRA). `auto`:
    where the GPU's memory would not hold them in 16 bits, or in passes too small."""
    load_in_8bit: Annotated[bool, Reaches("load", needs={"adapter": "lora"})] = False
    """Load the weights as 8-bit integers (bitsandbytes); train an adapter on top."""
    load_in_torchao: Annotated[
        Literal["int8"] | None, Field(examples=["int8"]), Reaches("load", unsloth=(), needs={"adapter": "lora"})
    ] = None
    """Load the weights as 8-bit integers (torchao, weights alone), on a CPU or a GPU; train an adapter on top. Its
    4-bit weights cannot be trained on in transformers."""
    model_quantization_config: Annotated[
        Literal["Mxfp4Config", "FineGrainedFP8Config"] | None,
        Field(examples=["Mxfp4Config", "FineGrainedFP8Config"]),
        Reaches("load", unsloth=()),
    ] = None
    """For a checkpoint in mxfp4 or fp8: how its weights are read. They are unpacked to 16 bits, to be trained."""
    model_quantization_config_kwargs: Annotated[
        QuantizationKwargs | None,
        Field(examples=[{"modules_to_not_convert": ["lm_head"]}, {"modules_to_not_convert": ["gate"]}]),
        Reaches("load", unsloth=(), needs={"model_quantization_config": "Mxfp4Config"}),
    ] = None
    """Further arguments of model_quantization_config."""
    bnb_config_kwargs: Annotated[
        BnbConfig | None,
        Field(examples=[{"bnb_4bit_quant_type": "fp4"}, {"bnb_4bit_use_double_quant": False}]),
        Reaches("load", unsloth=(), needs={"adapter": "lora", "load_in_4bit": True}),
    ] = None
    """How load_in_4bit quantizes."""
    device_map: Annotated[
        Literal["auto", "balanced", "sequential", "cpu", "cuda", "cuda:0"] | dict[str, int | str] | None,
        Field(examples=["auto", {"": 0}]),
        Reaches("load", "train", unsloth=()),
    ] = None
    """Where the weights are placed. Unset: on the first GPU, or the CPU without one."""
    bf16: Annotated[bool | Literal["auto"], Field(examples=[True, False]), Reaches("load", "train")] = "auto"
    """Compute in bfloat16. `auto`: where the GPU can; a CPU computes in float32."""
    fp16: Annotated[bool | Literal["auto"], Field(examples=[True, False]), Reaches("load", "train")] = False
    """Compute in float16, for GPUs without bfloat16. `auto`: on a GPU that cannot do bfloat16."""
    tf32: Annotated[bool | None, Field(examples=[True]), Reaches("train")] = None
    """Let float32 matrix products use TF32 on GPUs that have it. Unset: the library's default."""
