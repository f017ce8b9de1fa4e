"""A merged model -> a folder that every loader of the Hugging Face layout reads, and whether its files hold what they
should. Knows no adapter and no prompt."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.errors import ModelError
from finetune.exporting.finished import Finished
from finetune.exporting.older import for_older_readers
from finetune.exporting.places import check_space

SHARD = "5GB"
Tensors = Mapping[str, tuple[tuple[int, ...], str]]
"""Name -> shape and number type."""


@dataclass(frozen=True)
class Inventory:
    """What the weight files hold. `parameters`: numbers in them; `numbers`: type -> tensors of it."""

    tensors: int
    parameters: int
    size: int
    numbers: Mapping[str, int]


def save_merged(run: Finished, model: Any, tokenizer: Any, kept: Mapping[str, Any], folder: Path) -> Inventory:
    """Weights, configuration, tokenizer with its template, and stop tokens. ModelError if the files do not hold every
    tensor in its shape and number type."""
    stops = list(run.stop_ids)
    narrow(model, kept)
    check_space(folder, sum(tensor.nbytes for tensor in distinct(model).values()))
    _set_ends(model, tokenizer, stops)
    model.generation_config = _generation(run)
    model.save_pretrained(folder, max_shard_size=SHARD)
    tokenizer.save_pretrained(folder)
    for_older_readers(folder)
    wanted = {name: (tuple(tensor.shape), NUMBERS[str(tensor.dtype)]) for name, tensor in distinct(model).items()}
    return take_stock(folder, wanted)


NUMBERS = {
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.bool": "BOOL",
}
"""Number types as torch and safetensors call them."""


def narrow(model: Any, kept: Mapping[str, Any]) -> None:
    """Round each weight to the number type it is kept in; a new one goes by the majority of the others."""
    types = list(kept.values())
    usual = max(set(types), key=types.count)
    for name, tensor in model.state_dict(keep_vars=True).items():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(kept.get(name, usual))
    for config in {id(part): part for part in (model.config, model.config.get_text_config())}.values():
        config.dtype = usual


def distinct(model: Any) -> dict[str, Any]:
    """The tensors that are written: of those that are one, the first."""
    found: dict[int, tuple[str, Any]] = {}
    for name, tensor in model.state_dict().items():
        found.setdefault(tensor.data_ptr() or id(tensor), (name, tensor))
    return dict(found.values())


def _set_ends(model: Any, tokenizer: Any, stops: list[int]) -> None:
    """Programs that read no generation_config.json take the stop tokens from config.json."""
    config = model.config
    if not stops:
        return
    from huggingface_hub.errors import StrictDataclassError

    try:
        config.eos_token_id = stops if len(stops) > 1 else stops[0]
    except StrictDataclassError:
        config.eos_token_id = stops[0]  # some architectures allow one alone; generation_config.json has them all
    config.pad_token_id = tokenizer.pad_token_id


def _generation(run: Finished) -> Any:
    """How the run answers: its stop tokens and sampling, as saved beside the adapter."""
    from transformers import GenerationConfig

    config = GenerationConfig.from_pretrained(str(run.weights))
    return GenerationConfig(**{key: value for key, value in config.to_diff_dict().items() if key != "max_new_tokens"})


def copy_whole(run: Finished, folder: Path) -> Inventory:
    """The model of a run without an adapter, file by file."""
    files = [path for path in sorted(run.weights.iterdir()) if path.is_file()]
    check_space(folder, sum(path.stat().st_size for path in files))
    for path in files:
        shutil.copy2(path, folder / path.name)
    for_older_readers(folder)
    return take_stock(folder, None)


def take_stock(folder: Path, wanted: Tensors | None) -> Inventory:
    """What the weight files hold, by their headers and sizes. `wanted`: name -> shape and number type.

    ModelError if a file is cut short, or a tensor is missing, too many, or of another shape or type."""
    found: dict[str, tuple[tuple[int, ...], str]] = {}
    size = 0
    for path in sorted(folder.glob("*.safetensors")):
        for name, shape, numbers in tensors_in(path):
            found[name] = (shape, numbers)
        size += path.stat().st_size
    if wanted is not None:
        _compare(found, wanted, folder)
    numbers_ = [numbers for _, numbers in found.values()]
    count = sum(_product(shape) for shape, _ in found.values())
    return Inventory(len(found), count, size, {kind: numbers_.count(kind) for kind in sorted(set(numbers_))})


def _compare(found: Tensors, wanted: Tensors, folder: Path) -> None:
    if found.keys() == wanted.keys():
        wrong = next((name for name in wanted if found[name] != wanted[name]), None)
        if wrong is not None:
            raise ModelError(f"{folder}: {wrong} was written as {found[wrong]}, not as {wanted[wrong]}")
        return
    # Some architectures are written under the names of their checkpoints: then the amounts must agree.
    if _amounts(found) != _amounts(wanted):
        name = sorted(found.keys() ^ wanted.keys())[0]
        raise ModelError(f"{folder}: {name} is {'too much' if name in found else 'missing'} in the weight files")


def _amounts(tensors: Tensors) -> dict[str, int]:
    """Number type -> numbers."""
    total: dict[str, int] = {}
    for shape, numbers in tensors.values():
        total[numbers] = total.get(numbers, 0) + _product(shape)
    return total


def tensors_in(path: Path) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """(name, shape, number type) of each tensor of a safetensors file. ModelError if it is not whole."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise ModelError(f"{path} is damaged: its header cannot be read ({error})") from None
    header.pop("__metadata__", None)
    end = max((facts["data_offsets"][1] for facts in header.values()), default=0)
    if path.stat().st_size != 8 + length + end:
        raise ModelError(f"{path} is damaged: {path.stat().st_size} bytes, not {8 + length + end}")
    for name, facts in header.items():
        yield name, tuple(facts["shape"]), facts["dtype"]


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
