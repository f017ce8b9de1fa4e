"""The recipe's keys of the optimizer and the learning rate's course -> arguments of a trainer's configuration, and the
calls for what transformers does not do by itself. Knows no model."""

from typing import Any

from finetune.plan import Call
from finetune.recipe.optimizer import OptimizerSection
from finetune.recipe.optimizers import ADAM, OPTIMIZERS, given_arguments

STANDS_IN = "adamw_torch"
"""What a configuration names where the optimizer is built here."""


def arguments(section: OptimizerSection) -> dict[str, Any]:
    known = OPTIMIZERS[section.optimizer]
    return {
        "learning_rate": section.learning_rate,
        **_scheduler(section),
        # transformers reads a value below 1 as a share of all steps.
        "warmup_steps": section.warmup_steps or section.warmup_ratio or 0,
        "optim": STANDS_IN if known.own else section.optimizer,
        "optim_args": None if known.own else _as_text(section.optim_args),
        "optim_target_modules": _compressed(section),
        "weight_decay": section.weight_decay,
        "max_grad_norm": section.max_grad_norm,
    } | ({} if known.own else {key: getattr(section, key) for key in sorted(ADAM & known.reads)})


def callbacks(section: OptimizerSection) -> tuple[Call, ...]:
    """The course of the learning rate, where transformers has none like it."""
    if not _bent(section):
        return ()
    least = section.cosine_min_lr_ratio or (section.eta_min or 0.0) / section.learning_rate
    course = {
        "shape": "rex" if section.lr_scheduler == "rex" else "cosine",
        "least": least,
        "ends_at": section.cosine_constant_lr_ratio or 1.0,
        "rise": 2 if section.lr_quadratic_warmup else 1,
    }
    return (Call("finetune.methods.courses.Course", course),)


def set_up_calls(section: OptimizerSection) -> tuple[Call, ...]:
    """What hands the finished trainer an optimizer of ours, or learning rates for parts of the model."""
    rates = _rates(section)
    own = _own(section) if OPTIMIZERS[section.optimizer].own else None
    if own is None and not any(rates.values()):
        return ()
    return (Call("finetune.methods.parts.set_optimizer", {"own": own, "rates": rates}, runtime=("trainer",)),)


def _bent(section: OptimizerSection) -> bool:
    bent = section.lr_quadratic_warmup or section.cosine_constant_lr_ratio
    return section.lr_scheduler == "rex" or (section.lr_scheduler == "cosine" and bool(bent))


def _scheduler(section: OptimizerSection) -> dict[str, Any]:
    name, inside = section.lr_scheduler, dict(section.lr_scheduler_kwargs or {})
    if _bent(section):
        return {"lr_scheduler_type": "linear", "lr_scheduler_kwargs": None}
    if section.cosine_min_lr_ratio is not None:
        name, inside = "cosine_with_min_lr", inside | {"min_lr_rate": section.cosine_min_lr_ratio}
    elif section.eta_min is not None:
        name, inside = "cosine_with_min_lr", inside | {"min_lr": section.eta_min}
    return {"lr_scheduler_type": name, "lr_scheduler_kwargs": inside or None}


def _as_text(given: Any) -> str | None:
    """transformers takes the optimizer's arguments as one text."""
    return ",".join(f"{name}={value}" for name, value in given_arguments(given).items()) or None


def _compressed(section: OptimizerSection) -> list[str] | str | None:
    """What galore and apollo work on; peft's word for every linear layer is transformers' too, spelled otherwise."""
    given = section.optim_target_modules
    return "all-linear" if given == "all_linear" else given


def _rates(section: OptimizerSection) -> dict[str, Any]:
    scaled = section.embedding_lr_scale and section.embedding_lr_scale * section.learning_rate
    return {
        "lora_plus": section.loraplus_lr_ratio,
        "lora_plus_embedding": (section.loraplus_lr_embedding or 1e-6) if section.loraplus_lr_ratio else None,
        "embedding": section.embedding_lr or scaled,
        "groups": [group.model_dump() for group in section.lr_groups or ()],
    }


def _own(section: OptimizerSection) -> dict[str, Any]:
    written = section.model_fields_set
    kinds = OPTIMIZERS[section.optimizer].arguments
    given = {name: _plain(value, kinds[name]) for name, value in given_arguments(section.optim_args).items()}
    betas, epsilon = [section.adam_beta1, section.adam_beta2], section.adam_epsilon
    if section.optimizer == "came_pytorch":
        first = epsilon if "adam_epsilon" in written else 1e-30
        given |= {"betas": [*betas, section.adam_beta3], "eps": [first, section.adam_epsilon2]}
    else:
        given |= {"betas": betas, "eps": epsilon}
    return {"name": section.optimizer, "arguments": given}


def _plain(value: Any, kind: str) -> Any:
    """A value inside optim_args, which may stand in a text."""
    text = str(value).strip()
    if kind in ("flag", "on"):
        return text.lower() == "true"
    return int(float(text)) if kind == "whole" else float(text) if kind == "number" else text
