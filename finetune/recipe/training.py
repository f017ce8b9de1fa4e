"""Recipe keys of the adapter, the optimizer and the training loop, evaluation while training included."""

from typing import Annotated, Literal

from pydantic import Field

from finetune.recipe.base import Number, Reaches, Section, Steps, Whole

_LORA = {"adapter": "lora"}
_EVAL = {"val_set_size": 0.1}


class AdapterSection(Section):
    adapter: Annotated[
        Literal["lora", "qlora"] | None,
        Field(examples=["lora", "qlora"]),
        Reaches("adapt", "save", unsloth=("load", "adapt", "save")),
    ] = None
    """`lora`: small trainable matrices on a frozen model. `qlora`: the same on a 4-bit model. Unset: all weights are
    trained."""
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
        bool, Reaches("adapt", needs={"adapter": "lora", "lora_target_modules": ["q_proj"]})
    ] = False
    """Adapters on every linear layer but the output head, whatever lora_target_modules lists."""
    peft_use_rslora: Annotated[bool, Reaches("adapt", needs=_LORA)] = False
    """Scale by lora_alpha / sqrt(lora_r) (rank-stabilised LoRA), which suits large ranks."""


Optimizer = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_8bit",
    "adamw_bnb_8bit",
    "paged_adamw_8bit",
    "paged_adamw_32bit",
    "adafactor",
    "sgd",
]
Scheduler = Literal[
    "linear", "cosine", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt", "cosine_with_restarts"
]


class TrainingSection(Section):
    micro_batch_size: Annotated[Whole, Field(ge=1, examples=[2, 4]), Reaches("train")] = 2
    """Rows in one forward pass on one GPU."""
    gradient_accumulation_steps: Annotated[Whole, Field(ge=1, examples=[4, 2]), Reaches("train")] = 4
    """Forward passes per optimizer step; rows per step = micro_batch_size x this x GPUs."""
    num_epochs: Annotated[Number, Field(gt=0, examples=[3.0, 2.0]), Reaches("train")] = 1.0
    """Passes over the training data."""
    max_steps: Annotated[Whole | None, Field(ge=0, examples=[60, 20]), Reaches("train")] = None
    """Optimizer steps instead of num_epochs; 0 or unset: as num_epochs says."""
    learning_rate: Annotated[Number, Field(gt=0, examples=[1e-4, 5e-5]), Reaches("train")] = 2e-4
    """Peak step size after warm-up."""
    lr_scheduler: Annotated[Scheduler, Field(examples=["cosine", "linear"]), Reaches("train")] = "linear"
    """Course of the learning rate after warm-up."""
    warmup_steps: Annotated[Steps | None, Field(ge=0, examples=[10, 0.1]), Reaches("train")] = None
    """Steps in which the learning rate rises to its peak; below 1, a share of all steps. Unset: none."""
    warmup_ratio: Annotated[Number | None, Field(ge=0, lt=1, examples=[0.03, 0.1]), Reaches("train")] = None
    """The same as a share of all steps; write one of the two."""
    optimizer: Annotated[Optimizer, Field(examples=["adamw_8bit", "adamw_torch"]), Reaches("train")] = "adamw_torch"
    """Optimizer; the 8-bit and paged ones (bitsandbytes) need a GPU."""
    weight_decay: Annotated[Number, Field(ge=0, examples=[0.01, 0.1]), Reaches("train")] = 0.0
    """Pull of the weights towards zero."""
    adam_beta1: Annotated[Number, Field(ge=0, lt=1, examples=[0.8, 0.95]), Reaches("train")] = 0.9
    """Adam's average of gradients."""
    adam_beta2: Annotated[Number, Field(ge=0, lt=1, examples=[0.95, 0.99]), Reaches("train")] = 0.999
    """Adam's average of squared gradients."""
    adam_epsilon: Annotated[Number, Field(gt=0, examples=[1e-7, 1e-6]), Reaches("train")] = 1e-8
    """Adam's divisor floor."""
    max_grad_norm: Annotated[Number, Field(ge=0, examples=[0.5, 0.3]), Reaches("train")] = 1.0
    """Gradients longer than this are shortened to it; 0 turns that off."""
    gradient_checkpointing: Annotated[
        bool | Literal["unsloth"], Field(examples=[True, False]), Reaches("train", unsloth=("load", "adapt"))
    ] = False
    """Recompute activations in the backward pass to save memory. `unsloth` is its offloading kind; on the transformers
    backend it means true."""
    gradient_checkpointing_kwargs: Annotated[
        dict[Literal["use_reentrant"], bool] | None,
        Field(examples=[{"use_reentrant": True}, {"use_reentrant": False}]),
        Reaches("train", unsloth=(), needs={"gradient_checkpointing": True}),
    ] = None
    """Arguments of torch's checkpointing. Unset: use_reentrant false, as PyTorch advises."""
    seed: Annotated[Whole, Field(ge=0, le=2**32 - 1, examples=[3407, 7]), Reaches("adapt", "train", "generate")] = 42
    """Start of every random number: adapter weights, data order, dropout, sampling."""
    group_by_length: Annotated[bool, Reaches("train")] = False
    """Batches of rows of similar length, so that less is padded."""
    dataloader_num_workers: Annotated[Whole, Field(ge=0, examples=[2, 1]), Reaches("train")] = 0
    """Processes that prepare batches; 0 prepares them in the training process."""
    dataloader_pin_memory: Annotated[bool, Reaches("train")] = True
    """Keep batches in page-locked memory, for faster copies to the GPU."""
    logging_steps: Annotated[Whole, Field(ge=1, examples=[25, 5]), Reaches("train")] = 10
    """Steps between two lines of metrics."""
    save_strategy: Annotated[
        Literal["epoch", "steps", "no"] | None, Field(examples=["epoch", "no"]), Reaches("train")
    ] = None
    """When checkpoints are written. Unset: as save_steps or saves_per_epoch say, else none; the finished adapter is
    always saved."""
    save_steps: Annotated[Steps | None, Field(ge=0, examples=[100, 0.1]), Reaches("train")] = None
    """Steps between checkpoints; below 1, a share of all training steps."""
    saves_per_epoch: Annotated[Whole | None, Field(ge=0, examples=[1, 2]), Reaches("train")] = None
    """Checkpoints per epoch."""
    save_total_limit: Annotated[
        Whole | None, Field(ge=0, examples=[2, 3]), Reaches("train", needs={"save_strategy": "epoch"})
    ] = None
    """Newest checkpoints that are kept. Unset: all."""


class EvaluationSection(Section):
    eval_strategy: Annotated[
        Literal["epoch", "steps", "no"] | None, Field(examples=["epoch", "no"]), Reaches("train", needs=_EVAL)
    ] = None
    """When validation loss is measured. Unset: as eval_steps or evals_per_epoch say, else each epoch; always at the
    end where there is validation data."""
    eval_steps: Annotated[Steps | None, Field(ge=0, examples=[50, 0.1]), Reaches("train", needs=_EVAL)] = None
    """Steps between two measurements; below 1, a share of all training steps."""
    evals_per_epoch: Annotated[Whole | None, Field(ge=0, examples=[1, 4]), Reaches("train", needs=_EVAL)] = None
    """Measurements per epoch."""
    eval_batch_size: Annotated[Whole | None, Field(ge=1, examples=[8, 4]), Reaches("train", needs=_EVAL)] = None
    """Rows in one forward pass of a measurement. Unset: micro_batch_size."""
