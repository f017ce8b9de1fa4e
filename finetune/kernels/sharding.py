"""A model whose weights lie in parts on several GPUs: gathering them and the optimizer's state for a checkpoint of the
one form there is, and dealing them out again. Knows no data and no loss.

Imports torch: only the runner's stages may import it, inside a function."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from finetune import ranks
from finetune.kernels.zero import gathered, in_parts

OPTIMIZER, SCHEDULER = "optimizer.pt", "scheduler.pt"
WRAPPED = "_checkpoint_wrapped_module."
"""What recomputing activations puts into the names of parameters."""


class ShardedCheckpoints:
    """Part of a trainer: whatever number of processes shares the model, a checkpoint is that of one GPU."""

    model: Any
    optimizer: Any
    lr_scheduler: Any
    args: Any
    state: Any
    is_fsdp_enabled: bool
    is_deepspeed_enabled: bool

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        if not (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            super().save_model(output_dir, _internal_call)  # type: ignore[misc]
            return
        weights = whole_state(self.model)
        if self.args.should_save:
            self._save(output_dir, state_dict=weights)  # type: ignore[attr-defined]

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)  # type: ignore[misc]
            return
        found = self.optimizer.state_dict()
        kept = {key: {name: _whole(value) for name, value in each.items()} for key, each in found["state"].items()}
        if self.args.should_save:
            torch.save({**found, "state": kept}, Path(output_dir) / OPTIMIZER)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or self.args.world_size == 1 or self.is_deepspeed_enabled:
            super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
            return
        found = torch.load(Path(checkpoint) / OPTIMIZER, map_location="cpu", weights_only=True, mmap=True)
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        # An optimizer of several parts (Muon) has a state in each; its weights are whole on every GPU.
        for key, each in found.get("state", {}).items():
            for name, value in each.items():
                if torch.is_tensor(value) and value.shape == weights[key].shape and value.dim():
                    each[name] = _dealt(value, weights[key])
        self.optimizer.load_state_dict(found)
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULER, weights_only=True))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        deal_out(self.model, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        if not (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            super()._load_best_model()  # type: ignore[misc]
            return
        deal_out(self.model, Path(self.state.best_model_checkpoint))


def whole_state(model: Any) -> dict[str, Tensor]:
    """Name -> weight, in the first process's memory: of an adapter what is trained, else everything, but nothing twice
    that is tied. All processes ask at once."""
    adapter = hasattr(model, "peft_config")
    trained = {name.replace(WRAPPED, "") for name, weight in model.named_parameters() if weight.requires_grad}
    twice = set() if adapter else set(getattr(model, "all_tied_weights_keys", None) or ())
    found: dict[str, Tensor] = {}
    for name, weight in model.state_dict(keep_vars=True).items():
        if torch.is_tensor(weight) and name not in twice and (not adapter or name in trained):
            with gathered(model, [weight]):
                whole = _whole(weight)
                if ranks.this_rank().first:
                    found[name] = whole.clone() if hasattr(weight, "ds_id") else whole
    return found


def deal_out(model: Any, checkpoint: Path) -> None:
    """Give each process its part of a checkpoint's weights."""
    saved = dict(_saved(checkpoint))
    for name, weight in _named_as_saved(model):
        value = saved[name].to(weight.dtype)
        with torch.no_grad(), gathered(model, [weight], changes=True):
            weight.copy_(_dealt(value, weight) if isinstance(weight, DTensor) else value)


def _saved(checkpoint: Path) -> Iterator[tuple[str, Tensor]]:
    for path in sorted(checkpoint.glob("*.safetensors")):
        yield from load_file(path).items()


def _named_as_saved(model: Any) -> Iterator[tuple[str, Any]]:
    """The weights that a checkpoint holds, under the names that it has for them."""
    if not hasattr(model, "peft_config"):
        tied = set(getattr(model, "all_tied_weights_keys", None) or ())
        yield from ((name, weight) for name, weight in _state(model).items() if name not in tied)
        return
    from peft import get_peft_model_state_dict

    held: Mapping[str, Any] = get_peft_model_state_dict(model, state_dict=_state(model))
    yield from held.items()


def _state(model: Any) -> Mapping[str, Any]:
    """Where DeepSpeed keeps parts, the weights themselves: it knows nothing of other views of them."""
    state: Mapping[str, Any] = model.state_dict(keep_vars=in_parts(model))
    return state


def _whole(value: Any) -> Any:
    if not torch.is_tensor(value):
        return value
    whole = value.full_tensor() if isinstance(value, DTensor) else value
    return whole.detach().cpu()


def _dealt(value: Tensor, like: Any) -> Tensor:
    """This process's part of a whole tensor that all of them hold; nothing is sent."""
    if not isinstance(like, DTensor):
        return value
    device = like.to_local().device
    part = distribute_tensor(value.to(device), like.device_mesh, like.placements, src_data_rank=None)
    return part.contiguous()
