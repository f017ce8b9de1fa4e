"""What each optimizer and each course of the learning rate takes, and what it needs to run. Only tables; tests compare
them with the installed transformers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ADAM = frozenset({"adam_beta1", "adam_beta2", "adam_epsilon"})
_BETAS = frozenset({"adam_beta1", "adam_beta2"})
_GALORE = {"rank": "whole", "update_proj_gap": "whole", "scale": "number", "proj_type": "text"}
_APOLLO = _GALORE | {"proj": "text", "scale_type": "text"}
_ADEMAMIX = dict.fromkeys(("beta1", "beta2", "beta3", "alpha", "eps"), "number") | {
    "t_alpha": "whole",
    "t_beta3": "whole",
}
_SCHEDULE_FREE = {"weight_lr_power": "number", "r": "number"}
_GROK = dict.fromkeys(("alpha_init", "lamb", "gamma", "grokking_signal_decay_rate", "gradient_clipping"), "number")


@dataclass(frozen=True)
class Optimizer:
    """`arguments`: what optim_args may name, each with its kind (number, whole, flag, on, text; `on` is a flag that can
    only be switched on). `reads`: the keys of Adam that it heeds. `module`, `package`: what must be installed, and by
    which name. `gpu`: it runs nowhere else. `own`: built here, not by transformers."""

    arguments: Mapping[str, str] = field(default_factory=dict)
    reads: frozenset[str] = ADAM
    module: str = ""
    package: str = ""
    gpu: bool = False
    decays: bool = True
    own: bool = False


_BNB = ("bitsandbytes", "bitsandbytes==0.50.2")
_AO = ("torchao", "torchao==0.18.0")
_GALORE_PACKAGE = ("galore_torch", "galore-torch==1.0")
_APOLLO_PACKAGE = ("apollo_torch", "apollo-torch==1.0.3")
_FREE_PACKAGE = ("schedulefree", "schedulefree==1.4.1")
_OPTIMI = ("optimi", "torch-optimi==0.3.3")
_NONE: frozenset[str] = frozenset()

OPTIMIZERS: Mapping[str, Optimizer] = {
    "adamw_torch": Optimizer(),
    "adamw_torch_fused": Optimizer(),
    **dict.fromkeys(
        ("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit", "paged_adamw_32bit"), Optimizer({}, ADAM, *_BNB)
    ),
    **dict.fromkeys(("adamw_torch_8bit", "adamw_torch_4bit"), Optimizer({"bf16_stochastic_round": "flag"}, ADAM, *_AO)),
    "adafactor": Optimizer(reads=_NONE),
    "sgd": Optimizer({"momentum": "number", "dampening": "number", "nesterov": "flag"}, _NONE),
    "adagrad": Optimizer({"lr_decay": "number", "eps": "number"}, _NONE),
    "rmsprop": Optimizer({"momentum": "number", "alpha": "number", "eps": "number", "centered": "flag"}, _NONE),
    **dict.fromkeys(("rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit"), Optimizer({}, _NONE, *_BNB)),
    **dict.fromkeys(
        ("ademamix", "ademamix_8bit", "paged_ademamix_8bit", "paged_ademamix_32bit"), Optimizer(_ADEMAMIX, ADAM, *_BNB)
    ),
    **dict.fromkeys(("lion_8bit", "lion_32bit", "paged_lion_8bit", "paged_lion_32bit"), Optimizer({}, _BETAS, *_BNB)),
    "galore_adamw": Optimizer(_GALORE, _NONE, *_GALORE_PACKAGE, decays=False),
    "galore_adamw_8bit": Optimizer(_GALORE, _NONE, *_GALORE_PACKAGE, gpu=True, decays=False),
    "galore_adafactor": Optimizer(_GALORE, _NONE, *_GALORE_PACKAGE, decays=False),
    "apollo_adamw": Optimizer(_APOLLO, ADAM, *_APOLLO_PACKAGE, decays=False),
    "schedule_free_adamw": Optimizer(_SCHEDULE_FREE, ADAM, *_FREE_PACKAGE),
    "schedule_free_radam": Optimizer(_SCHEDULE_FREE, ADAM, *_FREE_PACKAGE),
    "schedule_free_sgd": Optimizer(_SCHEDULE_FREE, _NONE, *_FREE_PACKAGE),
    "stable_adamw": Optimizer({"max_lr": "number", "kahan_sum": "on", "decouple_lr": "on"}, ADAM, *_OPTIMI),
    "grokadamw": Optimizer(_GROK, _NONE, "grokadamw", "grokadamw==0.1.2"),
    "muon": Optimizer({"momentum": "number", "nesterov": "flag", "ns_steps": "whole"}, ADAM, own=True),
    "optimi_adamw": Optimizer({"kahan_sum": "flag", "decouple_lr": "flag"}, ADAM, *_OPTIMI, own=True),
    "came_pytorch": Optimizer(
        {"clip_threshold": "number"},
        ADAM | {"adam_beta3", "adam_epsilon2"},
        "came_pytorch",
        "came-pytorch==0.1.3",
        own=True,
    ),
}
"""Optimizers by Axolotl's names."""

REFUSED_OPTIMIZERS: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "galore_adamw_layerwise",
            "galore_adamw_8bit_layerwise",
            "galore_adafactor_layerwise",
            "apollo_adamw_layerwise",
            "lomo",
            "adalomo",
        ),
        "changes the weights inside the backward pass: max_grad_norm cannot hold, gradients cannot be accumulated, and "
        "its state is in no checkpoint. Write apollo_adamw or adamw_8bit, which save memory too",
    ),
    "adamw_torch_xla": "is for TPUs, which are not supported",
    "adamw_torch_npu_fused": "is for Ascend NPUs, which are not supported",
    "adamw_anyprecision": "needs torchdistx, which is no longer published. Write adamw_torch_8bit",
    "adamw_apex_fused": "needs apex; adamw_torch_fused is as fast",
    **dict.fromkeys(
        ("flash_adamw", "flash_adam", "flash_sgd", "flash_sgdw", "flash_lion"),
        "is not supported: its package runs on a GPU alone and was not tested here. Write adamw_torch_fused",
    ),
    **dict.fromkeys(
        ("adopt_adamw", "dion", "sinkgd", "q_galore_adamw8bit", "ao_adamw_fp8"),
        "is Axolotl's own and is not kept here. Write adamw_torch_fused, muon or apollo_adamw",
    ),
}
"""Optimizers that transformers or Axolotl name -> what follows "is known, but"."""

_CYCLES = {"num_cycles": "number"}
_PLATEAU = {
    "mode": "text",
    "factor": "number",
    "patience": "whole",
    "threshold": "number",
    "threshold_mode": "text",
    "cooldown": "whole",
    "min_lr": "number",
    "eps": "number",
}
SCHEDULERS: Mapping[str, Mapping[str, str]] = {
    "linear": {},
    "cosine": _CYCLES,
    "constant": {},
    "constant_with_warmup": {},
    "polynomial": {"lr_end": "number", "power": "number"},
    "inverse_sqrt": {"timescale": "whole"},
    "cosine_with_restarts": {"num_cycles": "whole"},
    "cosine_with_min_lr": _CYCLES | {"min_lr": "number", "min_lr_rate": "number"},
    "cosine_warmup_with_min_lr": _CYCLES | {"min_lr": "number", "min_lr_rate": "number", "warmup_lr_rate": "number"},
    "warmup_stable_decay": {
        "num_decay_steps": "whole",
        "num_stable_steps": "whole",
        "warmup_type": "text",
        "decay_type": "text",
        "min_lr_ratio": "number",
        "num_cycles": "number",
    },
    "reduce_lr_on_plateau": _PLATEAU,
    "greedy": _PLATEAU
    | {"warmup": "whole", "max_lr": "number", "smooth": "flag", "window_size": "whole"}
    | {"reset_start": "whole"},
    "rex": {},
}
"""Courses of the learning rate -> what lr_scheduler_kwargs may name, each with its kind. `rex` is built here."""
MEASURED = ("reduce_lr_on_plateau", "greedy")
"""They go by the validation loss, and know no warm-up."""


def given_arguments(written: Mapping[str, object] | str | None) -> dict[str, object]:
    """optim_args as a mapping, whichever way they are written."""
    if isinstance(written, str):
        pairs = (part.split("=", 1) for part in written.split(",") if "=" in part)
        return {name.strip(): value.strip() for name, value in pairs}
    return dict(written or {})
