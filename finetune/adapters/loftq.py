"""LoftQ: the adapter begins as the best low-rank estimate of what 4-bit weights lost, so that training starts nearer to
the 16-bit model. The quantized weights stay as they are; the adapter alone carries it, and loads like any other."""

from pathlib import Path
from typing import Any

from finetune.errors import ModelError


def start_from_lost_part(*, model: Any, base_model: str, revision: str) -> None:
    """Set A and B of every adapter on a 4-bit layer. ModelError if the checkpoint's own weights cannot be read."""
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from peft.tuners.lora.bnb import Linear4bit

    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, Linear4bit)}
    if not layers:
        raise ModelError("peft.loftq_config: no 4-bit layer has an adapter. Set load_in_4bit: true")
    files = _files(base_model, revision)
    for name, layer in layers.items():
        packed = layer.get_base_layer().weight
        kept = dequantize_4bit(packed.data, packed.quant_state).float()
        whole = _weight(files, name.removeprefix("base_model.model.") + ".weight", model).to(kept.device).float()
        rank, scale = layer.r["default"], layer.scaling["default"]
        left, strength, right = torch.linalg.svd((whole - kept) / scale, full_matrices=False)
        root = strength[:rank].sqrt()
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        down.data = (root[:, None] * right[:rank]).to(down.dtype).contiguous()
        up.data = (left[:, :rank] * root).to(up.dtype).contiguous()


def _files(base_model: str, revision: str) -> dict[str, Path]:
    """Name of a weight -> its safetensors file."""
    from safetensors import safe_open

    folder = Path(base_model)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(base_model, revision=revision, allow_patterns=["*.safetensors"]))
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found |= dict.fromkeys(file.keys(), path)
    return found


def _weight(files: dict[str, Path], name: str, model: Any) -> Any:
    from safetensors import safe_open

    # A checkpoint of the bare model lacks the first part of the names.
    bare = name.removeprefix(f"{model.get_base_model().base_model_prefix}.")
    for key in (name, bare):
        if key in files:
            with safe_open(files[key], framework="pt") as file:
                weight = file.get_tensor(key)
            if weight.dtype.is_floating_point:
                return weight
            raise ModelError("peft.loftq_config needs the 16-bit checkpoint as base_model; this one is quantized")
    raise ModelError(f"peft.loftq_config: the checkpoint has no weight {name} to compare the 4-bit one with")
