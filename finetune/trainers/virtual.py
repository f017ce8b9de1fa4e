"""Virtual tokens in the midst of their training. peft saves what an encoder makes of them, which is what answers need;
training goes on from the encoder itself."""

from pathlib import Path
from typing import Any

FILE = "prompt_encoder.safetensors"


def save(model: Any, folder: Path) -> None:
    """Nothing, where no virtual tokens are trained."""
    from safetensors.torch import save_file

    if _trained(model):
        save_file({name: weight.detach().cpu().contiguous() for name, weight in _trained(model).items()}, folder / FILE)


def take_over(trainer: Any, folder: Path) -> None:
    """Keeps the trainer from loading what an encoder made as if it were the encoder."""
    if (folder / FILE).is_file():
        trainer._load_from_checkpoint = lambda *given, **named: None


def restore(model: Any, folder: Path) -> None:
    """The weights as they were saved; nothing, where none were."""
    import torch
    from safetensors.torch import load_file

    if not (folder / FILE).is_file():
        return
    saved = load_file(folder / FILE)
    with torch.no_grad():
        for name, weight in _trained(model).items():
            weight.copy_(saved[name])


def _trained(model: Any) -> dict[str, Any]:
    if not getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return {}
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
