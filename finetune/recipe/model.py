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
    """Branch, tag or commit of base_model on the hub. Pin a commit to train the same weights next year."""
    model_type: Annotated[
        str,
        Field(pattern=r"^(AutoModelForCausalLM|[A-Z][A-Za-z0-9]*ForCausalLM)$", examples=["LlamaForCausalLM"]),
        Reaches("load", unsloth=()),
    ] = "AutoModelForCausalLM"
    """Class of transformers that loads the model."""
    tokenizer_type: Annotated[
        str,
        Field(pattern=r"^[A-Z][A-Za-z0-9]*Tokenizer(Fast)?$", examples=["PreTrainedTokenizerFast", "LlamaTokenizer"]),
        Reaches("load"),
    ] = "AutoTokenizer"
    """Class of transformers that loads the tokenizer."""
    trust_remote_code: Annotated[bool, Reaches("load")] = False
    """Run Python code from the model's repository. Pin revision_of_model when it is on."""
    special_tokens: Annotated[
        SpecialTokens | None,
        Field(examples=[{"pad_token": "<|pad|>"}, {"pad_token": "<unk>"}]),
        Reaches("load"),
    ] = None
    """Names of tokens that are already in the vocabulary. A new one is refused: adding tokens is not supported yet."""
    attn_implementation: Annotated[
        Literal["auto", "sdpa", "eager", "flash_attention_2"],
        Field(examples=["eager", "sdpa"]),
        Reaches("load", unsloth=()),
    ] = "auto"
    """Attention kernel. `auto` is PyTorch's own (sdpa)."""
    load_in_4bit: Annotated[bool, Reaches("load", "adapt", unsloth=("load",), needs={"adapter": "lora"})] = False
    """Load the weights as 4-bit NF4 with double quantization (bitsandbytes); train an adapter on top (QLoRA)."""
    load_in_8bit: Annotated[bool, Reaches("load", "adapt", unsloth=("load",), needs={"adapter": "lora"})] = False
    """Load the weights as 8-bit integers (bitsandbytes); train an adapter on top."""
    bf16: Annotated[bool | Literal["auto"], Field(examples=[True, False]), Reaches("load", "train")] = "auto"
    """Compute in bfloat16. `auto`: where the GPU can; a CPU computes in float32."""
    fp16: Annotated[bool | Literal["auto"], Field(examples=[True, False]), Reaches("load", "train")] = False
    """Compute in float16, for GPUs without bfloat16. `auto`: on a GPU that cannot do bfloat16."""
    tf32: Annotated[bool | None, Field(examples=[True]), Reaches("train")] = None
    """Let float32 matrix products use TF32 on GPUs that have it. Unset: the library's default."""
