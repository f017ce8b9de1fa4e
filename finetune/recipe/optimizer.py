"""Recipe keys of the optimizer and of the learning rate's course. What each optimizer takes is in optimizers.py."""

from typing import Annotated, Literal

from pydantic import Field

from finetune.recipe.base import Number, Reaches, Section, Steps

_LORA = {"adapter": "lora"}
_COSINE = {"lr_scheduler": "cosine"}
_CAME = {"optimizer": "came_pytorch"}
_GALORE = {"optimizer": "galore_adamw", "optim_target_modules": "all_linear"}

OptimizerName = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_8bit",
    "adamw_bnb_8bit",
    "paged_adamw_8bit",
    "paged_adamw_32bit",
    "adamw_torch_8bit",
    "adamw_torch_4bit",
    "adafactor",
    "sgd",
    "adagrad",
    "rmsprop",
    "rmsprop_bnb",
    "rmsprop_bnb_8bit",
    "rmsprop_bnb_32bit",
    "ademamix",
    "ademamix_8bit",
    "paged_ademamix_8bit",
    "paged_ademamix_32bit",
    "lion_8bit",
    "lion_32bit",
    "paged_lion_8bit",
    "paged_lion_32bit",
    "galore_adamw",
    "galore_adamw_8bit",
    "galore_adafactor",
    "apollo_adamw",
    "schedule_free_adamw",
    "schedule_free_radam",
    "schedule_free_sgd",
    "stable_adamw",
    "grokadamw",
    "muon",
    "optimi_adamw",
    "came_pytorch",
]
SchedulerName = Literal[
    "linear",
    "cosine",
    "constant",
    "constant_with_warmup",
    "polynomial",
    "inverse_sqrt",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "warmup_stable_decay",
    "reduce_lr_on_plateau",
    "greedy",
    "rex",
]
Plain = bool | int | Annotated[float, Field(allow_inf_nan=False)] | str
"""A value inside a mapping that is handed on to a library."""


class LrGroup(Section):
    """Parameters with a learning rate of their own."""

    name: Annotated[str, Field(min_length=1, examples=["attention", "mlp"]), Reaches("train")]
    """What the group is called in messages."""
    modules: Annotated[
        Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)],
        Field(examples=[["q_proj", "k_proj"], ["mlp"]]),
        Reaches("train"),
    ]
    """Parts of parameter names; a parameter that holds one of them is in the group, the first group first."""
    lr: Annotated[Number, Field(gt=0, examples=[1e-5, 2e-5]), Reaches("train")]
    """Their peak step size."""


class OptimizerSection(Section):
    learning_rate: Annotated[Number, Field(gt=0, examples=[1e-4, 5e-5]), Reaches("train")] = 2e-4
    """Peak step size after warm-up."""
    lr_scheduler: Annotated[SchedulerName, Field(examples=["cosine", "linear"]), Reaches("train")] = "linear"
    """Course of the learning rate after warm-up."""
    lr_scheduler_kwargs: Annotated[
        dict[str, Plain] | None,
        Field(examples=[{"num_cycles": 2}, {"num_cycles": 3}]),
        Reaches("train", needs={"lr_scheduler": "cosine_with_restarts"}),
    ] = None
    """Further arguments of the scheduler, as transformers' function of that name takes them. One that it does not have
    is an error that names those it has."""
    cosine_min_lr_ratio: Annotated[
        Number | None, Field(ge=0, le=1, examples=[0.1, 0.2]), Reaches("train", needs={"lr_scheduler": "cosine"})
    ] = None
    """Where the cosine ends, as a share of learning_rate. Unset: 0."""
    eta_min: Annotated[Number | None, Field(ge=0, examples=[1e-6, 7e-7]), Reaches("train", needs=_COSINE)] = None
    """The same as a learning rate; write one of the two."""
    cosine_constant_lr_ratio: Annotated[
        Number | None,
        Field(ge=0, le=1, examples=[0.8, 0.5]),
        Reaches("train", needs=_COSINE | {"cosine_min_lr_ratio": 0.1}),
    ] = None
    """Share of all steps after which the cosine has reached its end and stays there. Unset or 0: at the last step."""
    lr_quadratic_warmup: Annotated[bool, Reaches("train", needs=_COSINE | {"warmup_steps": 10})] = False
    """Let the learning rate rise with the square of the step instead of evenly."""
    warmup_steps: Annotated[Steps | None, Field(ge=0, examples=[10, 0.1]), Reaches("train")] = None
    """Steps in which the learning rate rises to its peak; below 1, a share of all steps. Unset: none."""
    warmup_ratio: Annotated[Number | None, Field(ge=0, lt=1, examples=[0.03, 0.1]), Reaches("train")] = None
    """The same as a share of all steps; write one of the two."""
    optimizer: Annotated[OptimizerName, Field(examples=["adamw_8bit", "adamw_torch"]), Reaches("train")] = "adamw_torch"
    """Optimizer. 8-bit and paged ones hold less (bitsandbytes); some others need a package of their own."""
    optim_args: Annotated[
        dict[str, Plain] | Annotated[str, Field(pattern=r"^\s*\w+\s*=[^,=]+(,\s*\w+\s*=[^,=]+)*$")] | None,
        Field(examples=[{"rank": 64}, "rank=128"]),
        Reaches("train", needs=_GALORE),
    ] = None
    """Further arguments of the optimizer, as a mapping or as `name=value,name=value`. One that it does not have is an
    error that names those it has."""
    optim_target_modules: Annotated[
        Annotated[list[str], Field(min_length=1)] | Literal["all_linear"] | None,
        Field(examples=[["attn", "mlp"], "all_linear"]),
        Reaches("train", needs={"optimizer": "galore_adamw"}),
    ] = None
    """Modules that galore and apollo optimizers compress."""
    weight_decay: Annotated[Number, Field(ge=0, examples=[0.01, 0.1]), Reaches("train")] = 0.0
    """Pull of the weights towards zero."""
    adam_beta1: Annotated[Number, Field(ge=0, lt=1, examples=[0.8, 0.95]), Reaches("train")] = 0.9
    """Adam's average of gradients."""
    adam_beta2: Annotated[Number, Field(ge=0, lt=1, examples=[0.95, 0.99]), Reaches("train")] = 0.999
    """Adam's average of squared gradients."""
    adam_epsilon: Annotated[Number, Field(gt=0, examples=[1e-7, 1e-6]), Reaches("train")] = 1e-8
    """Adam's divisor floor."""
    adam_beta3: Annotated[Number, Field(ge=0, lt=1, examples=[0.999, 0.99995]), Reaches("train", needs=_CAME)] = 0.9999
    """CAME's average of its own instability."""
    adam_epsilon2: Annotated[Number, Field(gt=0, examples=[1e-15, 1e-14]), Reaches("train", needs=_CAME)] = 1e-16
    """CAME's second divisor floor; its first is adam_epsilon, and 1e-30 where that is not written."""
    loraplus_lr_ratio: Annotated[Number | None, Field(gt=0, examples=[16.0, 8.0]), Reaches("train", needs=_LORA)] = None
    """LoRA+: the learning rate of the adapter's B matrices is learning_rate times this."""
    loraplus_lr_embedding: Annotated[
        Number | None,
        Field(gt=0, examples=[1e-6, 1e-5]),
        Reaches("train", needs=_LORA | {"loraplus_lr_ratio": 16.0}),
    ] = None
    """LoRA+: the learning rate of adapters on embeddings. Unset: 1e-6."""
    embedding_lr: Annotated[Number | None, Field(gt=0, examples=[1e-5, 2e-5]), Reaches("train")] = None
    """Peak step size of the input and output embeddings, where they are trained. Unset: learning_rate."""
    embedding_lr_scale: Annotated[Number | None, Field(gt=0, examples=[0.1, 0.5]), Reaches("train")] = None
    """The same as a multiple of learning_rate; write one of the two."""
    lr_groups: Annotated[
        Annotated[list[LrGroup], Field(min_length=1)] | None,
        Field(
            examples=[
                [{"name": "attention", "modules": ["self_attn"], "lr": 1e-5}],
                [{"name": "mlp", "modules": ["mlp"], "lr": 1e-4}],
            ]
        ),
        Reaches("train"),
    ] = None
    """Parts of the model with learning rates of their own."""
    max_grad_norm: Annotated[Number, Field(ge=0, examples=[0.5, 0.3]), Reaches("train")] = 1.0
    """Gradients longer than this are shortened to it; 0 turns that off."""
