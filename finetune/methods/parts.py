"""Learning rates for parts of a model, and optimizers that transformers does not build. Sets them on a finished
trainer, which makes them when training begins. Knows no recipe."""

from collections.abc import Mapping, Sequence
from typing import Any

from finetune.errors import ModelError
from finetune.plan import find


def set_optimizer(*, trainer: Any, own: Mapping[str, Any] | None, rates: Mapping[str, Any]) -> None:
    """Have the trainer build its optimizer from groups of parameters. ModelError if a rate holds for none of them."""
    model, args = trainer.model, trainer.args
    if own is None:
        kind, arguments = type(trainer).get_optimizer_cls_and_kwargs(args, model)
    else:
        kind, arguments = _own(own["name"]), {"lr": args.learning_rate, **_tuples(own["arguments"])}
    decayed = set(trainer.get_decay_parameter_names(model))
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    of_name = learning_rates(model, [name for name, _ in named], args.learning_rate, rates)
    embeddings = _embedding_names(model)
    groups: dict[tuple[float, float, bool], dict[str, Any]] = {}
    for name, weight in named:
        decay = args.weight_decay if name in decayed else 0.0
        matrix = weight.ndim == 2 and name not in embeddings
        key = (of_name[name], decay, matrix and own is not None and own["name"] == "muon")
        group: dict[str, Any] = {"params": [], "lr": key[0], "weight_decay": decay} | ({"muon": True} if key[2] else {})
        groups.setdefault(key, group)["params"].append(weight)
    trainer.optimizer_cls_and_kwargs = (kind, {**arguments, "params": list(groups.values())})


def learning_rates(model: Any, names: Sequence[str], rate: float, rates: Mapping[str, Any]) -> dict[str, float]:
    """Name -> learning rate, for every trained parameter. ModelError if a rate holds for none of them."""
    embeddings = _embedding_names(model)
    found = dict.fromkeys(names, rate)
    used: set[str] = set()
    for name in names:
        for key, value in _rates_of(name, name in embeddings, rate, rates):
            found[name] = value
            used.add(key)
            break
    asked = [f"lr_groups ({group['name']})" for group in rates["groups"]]
    asked += ["embedding_lr"] if rates["embedding"] else []
    asked += ["loraplus_lr_ratio"] if rates["lora_plus"] else []
    for key in asked:
        if key not in used:
            shown = f"{names[0]!r} and {names[-1]!r}" if names else "none"
            raise ModelError(f"{key} holds for no parameter that is trained; those are named like {shown}")
    return found


def _rates_of(name: str, embedding: bool, rate: float, rates: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The keys that set this parameter's rate, the strongest first."""
    found = [
        (f"lr_groups ({group['name']})", group["lr"])
        for group in rates["groups"]
        if any(part in name for part in group["modules"])
    ]
    if embedding and rates["embedding"]:
        found.append(("embedding_lr", rates["embedding"]))
    if rates["lora_plus"] and "lora_embedding_" in name:
        found.append(("loraplus_lr_embedding", rates["lora_plus_embedding"]))
    if rates["lora_plus"] and ("lora_B" in name or "lora_magnitude_vector" in name):
        found.append(("loraplus_lr_ratio", rate * rates["lora_plus"]))
    return found


def _embedding_names(model: Any) -> set[str]:
    """Names of the parameters of the input and output embeddings, trained copies and new tokens included."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    inside = {id(weight) for end in ends if end is not None for weight in end.parameters()}
    return {name for name, weight in model.named_parameters() if id(weight) in inside}


def _own(name: str) -> Any:
    if name == "muon":
        from finetune.methods.muon import MuonAndAdam

        return MuonAndAdam
    if name == "came_pytorch":
        return find("came_pytorch.CAME.CAME")
    return find("optimi.AdamW")


def _tuples(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A Plan holds lists; torch's optimizers want tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()}
