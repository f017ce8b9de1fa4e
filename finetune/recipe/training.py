"""Recipe keys of the training loop, checkpoints included."""

from typing import Annotated, Literal

from pydantic import Field

from finetune.recipe.base import Number, Reaches, Steps, Whole
from finetune.recipe.optimizer import OptimizerSection

_LIGER = Reaches("train", unsloth=())


class TrainingSection(OptimizerSection):
    micro_batch_size: Annotated[
        Annotated[Whole, Field(ge=1)] | Literal["auto"], Field(examples=[2, 4, "auto"]), Reaches("train")
    ] = 2
    """Rows in one forward pass on one GPU. `auto`: gradient_accumulation_steps rows make a step, in as few passes as
    the GPU's memory is estimated to hold."""
    gradient_accumulation_steps: Annotated[Whole, Field(ge=1, examples=[4, 2]), Reaches("train")] = 4
    """Forward passes per optimizer step; rows per step = micro_batch_size x this x GPUs."""
    num_epochs: Annotated[Number, Field(gt=0, examples=[3.0, 2.0]), Reaches("train")] = 1.0
    """Passes over the training data."""
    max_steps: Annotated[Whole | None, Field(ge=0, examples=[60, 20]), Reaches("train")] = None
    """Optimizer steps instead of num_epochs; 0 or unset: as num_epochs says."""
    gradient_checkpointing: Annotated[
        bool | Literal["unsloth", "auto"],
        Field(examples=[True, False]),
        Reaches("train", unsloth=("load", "adapt")),
    ] = False
    """Recompute activations in the backward pass to save memory. `unsloth` also keeps them in the CPU's memory; without
    a GPU it means true. `auto`: where memory would not hold them, or passes would be too small."""
    gradient_checkpointing_kwargs: Annotated[
        dict[Literal["use_reentrant"], bool] | None,
        Field(examples=[{"use_reentrant": True}, {"use_reentrant": False}]),
        Reaches("train", unsloth=(), needs={"gradient_checkpointing": True}),
    ] = None
    """Arguments of torch's checkpointing. Unset: use_reentrant false, as PyTorch advises."""
    activation_offloading: Annotated[bool, Reaches("train", unsloth=())] = False
    """Keep activations in the CPU's memory until the backward pass needs them."""
    torch_empty_cache_steps: Annotated[Whole | None, Field(ge=1, examples=[10, 50]), Reaches("train")] = None
    """Free PyTorch's cached GPU memory every so many steps; less memory, slower."""
    torch_compile: Annotated[bool, Reaches("train", unsloth=())] = False
    """Compile the model with torch.compile: slow at first, then faster."""
    torch_compile_backend: Annotated[
        Literal["inductor", "aot_eager", "eager", "cudagraphs"] | None,
        Field(examples=["inductor", "aot_eager"]),
        Reaches("train", unsloth=(), needs={"torch_compile": True}),
    ] = None
    """What torch.compile compiles with: `inductor` makes kernels and needs a C++ compiler; `aot_eager` and `eager` make
    none, and are for looking for faults; `cudagraphs` records CUDA graphs. Unset: inductor."""
    torch_compile_mode: Annotated[
        Literal["default", "reduce-overhead", "max-autotune"] | None,
        Field(examples=["reduce-overhead", "default"]),
        Reaches("train", unsloth=(), needs={"torch_compile": True}),
    ] = None
    """How hard torch.compile tries."""
    liger_rope: Annotated[bool, _LIGER] = False
    """Liger's fused rotary embedding (the liger-kernel package; a GPU)."""
    liger_rms_norm: Annotated[bool, _LIGER] = False
    """Liger's fused RMSNorm."""
    liger_layer_norm: Annotated[bool, _LIGER] = False
    """Liger's fused LayerNorm."""
    liger_glu_activation: Annotated[bool, _LIGER] = False
    """Liger's fused SwiGLU or GeGLU."""
    liger_cross_entropy: Annotated[bool, _LIGER] = False
    """Liger's fused cross-entropy."""
    liger_fused_linear_cross_entropy: Annotated[bool, _LIGER] = False
    """Liger's output layer and cross-entropy in one, which never holds the logits of a whole batch."""
    neftune_noise_alpha: Annotated[Number | None, Field(gt=0, examples=[5.0, 10.0]), Reaches("train")] = None
    """Scale of the noise added to embeddings while training (NEFTune)."""
    seed: Annotated[
        Whole,
        Field(ge=0, le=2**32 - 1, examples=[3407, 7]),
        Reaches("load", "adapt", "train", "generate", unsloth=("adapt", "train", "generate")),
    ] = 42
    """Start of every random number: adapter weights, data order, dropout, sampling."""
    data_seed: Annotated[Whole | None, Field(ge=0, le=2**32 - 1, examples=[1, 2]), Reaches("train")] = None
    """Start of the random order of the rows alone. Unset: as seed."""
    full_determinism: Annotated[bool, Reaches("train")] = False
    """Only kernels whose sums have a fixed order, so that one GPU gives the same bits again, as a CPU does anyway. They
    are slower, and an operation that has none ends the run."""
    curriculum_sampling: Annotated[bool, Reaches("train")] = False
    """Take the rows in their order instead of a random one."""
    group_by_length: Annotated[bool, Reaches("train")] = False
    """Batches of rows of similar length, so that less is padded."""
    dataloader_num_workers: Annotated[Whole, Field(ge=0, examples=[2, 1]), Reaches("train")] = 0
    """Processes that prepare batches; 0 prepares them in the training process."""
    dataloader_prefetch_factor: Annotated[
        Whole | None, Field(ge=1, examples=[4, 2]), Reaches("train", needs={"dataloader_num_workers": 2})
    ] = None
    """Batches that each of those processes prepares ahead."""
    dataloader_persistent_workers: Annotated[bool, Reaches("train", needs={"dataloader_num_workers": 2})] = False
    """Keep those processes from one epoch to the next."""
    dataloader_drop_last: Annotated[bool, Reaches("train")] = False
    """Leave out the last batch of an epoch where it is not full."""
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
    save_only_model: Annotated[bool, Reaches("train", needs={"save_strategy": "epoch"})] = False
    """Leave the optimizer's state out of checkpoints: smaller, and no run can be continued from them."""
    loss_watchdog_threshold: Annotated[Number | None, Field(gt=0, examples=[5.0, 20.0]), Reaches("train")] = None
    """End the run when the training loss stays above this for loss_watchdog_patience lines of metrics."""
    loss_watchdog_patience: Annotated[
        Whole, Field(ge=1, examples=[5, 10]), Reaches("train", needs={"loss_watchdog_threshold": 5.0})
    ] = 3
    """Lines of metrics in a row above the threshold that end the run."""

    @property
    def rows_at_once(self) -> int:
        """micro_batch_size, where it is not left to memory."""
        return self.micro_batch_size if isinstance(self.micro_batch_size, int) else 1
