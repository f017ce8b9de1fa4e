"""Recipe keys that make training faster or smaller, and leave what is learned as it is."""

from typing import Annotated, Literal

from pydantic import Field

from finetune.recipe.base import Reaches, Section, Whole


class SpeedSection(Section):
    batch_flattening: Annotated[bool | Literal["auto"], Field(examples=[True, False]), Reaches("train")] = "auto"
    """Lay the rows of a batch end to end instead of padding them; none of them sees another. `auto`: on backend:
    transformers, where attention can be told where rows end (attn_implementation: auto, or flash attention)."""
    tokens_per_pass: Annotated[
        Annotated[Whole, Field(ge=1)] | Literal["auto"] | None,
        Field(examples=[8192, 16384]),
        Reaches("train", unsloth=()),
    ] = None
    """Tokens of one forward pass at most. The rows of an optimizer step (micro_batch_size times
    gradient_accumulation_steps) are then computed in as few passes as that allows, with the same result. `auto`: as
    many as the GPU's memory is estimated to hold. Unset: micro_batch_size rows a pass."""
    cut_cross_entropy: Annotated[bool | None, Field(examples=[False, True]), Reaches("train", unsloth=())] = None
    """Compute the loss straight from the last hidden states, and never store the logits of a whole pass. Unset: where
    rows are laid end to end, and no Liger loss is asked for."""
    cuda_graphs: Annotated[bool, Field(examples=[True]), Reaches("train", unsloth=())] = False
    """Record the model's layers once for each of a few lengths of a pass, and replay them: for passes of few tokens, in
    which the GPU waits for the host. Takes rows laid end to end on one GPU, and no gradient checkpointing."""
    lora_kernels: Annotated[
        bool, Field(examples=[False, True]), Reaches("adapt", unsloth=(), needs={"adapter": "lora"})
    ] = True
    """Compute LoRA's layers in fewer passes over memory. Layers with dropout, DoRA or 8-bit weights are left as they
    are."""
