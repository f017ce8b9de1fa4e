"""A folder of merged weights -> one GGUF file, tensor by tensor, so that memory holds one at a time."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finetune.errors import ModelError
from finetune.exporting.gguf_model import (
    Architecture,
    Array,
    architecture_of,
    arranged,
    extra_tensors,
    restored,
    write_settings,
)
from finetune.exporting.gguf_tokens import name_for_tokens, vocabulary_of, write_specials, write_vocabulary
from finetune.exporting.saving import tensors_in

FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
DRAWN = {"temperature": "temp", "repetition_penalty": "penalty_repeat"}
"""Of how answers are drawn: what llama.cpp's programs call otherwise."""
BLOCK = 32
"""Numbers that q8_0 packs together; a row that is no multiple of it stays in 16 bits."""


@dataclass(frozen=True)
class Source:
    """A folder of merged weights. `stop_ids`: what ends an answer; `begins`: whether prompts begin with the begin
    token; `name`: how the model is called; `sampling`: how answers are drawn."""

    folder: Path
    tokenizer: Any
    stop_ids: Sequence[int]
    begins: bool
    name: str
    sampling: Mapping[str, float]


def write_gguf(source: Source, quantization: str, path: Path) -> None:
    """ModelError if architecture, tokenizer or a weight cannot be written so."""
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGUFWriter, LlamaFileType, get_tensor_name_map

    config = text_config(source.folder)
    architecture = architecture_of(config)
    arch = getattr(MODEL_ARCH, architecture.arch)
    weights = {
        name: (file, shape)
        for file in sorted(source.folder.glob("*.safetensors"))
        for name, shape, _ in tensors_in(file)
    }
    rows = next(shape[0] for name, (_, shape) in weights.items() if name.endswith("embed_tokens.weight"))
    writer = GGUFWriter(str(path), MODEL_ARCH_NAMES[arch])
    writer.add_name(name_for_tokens(source.name, source.tokenizer))
    writer.add_file_type(getattr(LlamaFileType, FILE_TYPES[quantization]))
    writer.add_vocab_size(rows)
    write_settings(writer, architecture, config)
    write_vocabulary(writer, vocabulary_of(source.tokenizer, rows))
    write_specials(writer, source.tokenizer, source.stop_ids, source.begins)
    for key, value in sampling_facts(source.sampling).items():
        add: Any = writer.add_int32 if isinstance(value, int) else writer.add_float32
        add(key, value)
    names = get_tensor_name_map(arch, int(config["num_hidden_layers"]))
    planned = [(name, _named(names, name, architecture), file) for name, (file, _) in weights.items()]
    plan = [(name, there, file) for name, there, file in planned if there is not None]
    extra = extra_tensors(config)
    _announce(writer, plan, {name: shape for name, (_, shape) in weights.items()}, extra, quantization)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in extra.values():
            writer.write_tensor_data(tensor)
        for name, weight in _read(plan):
            writer.write_tensor_data(_packed(name, arranged(name, weight, architecture, config), quantization))
    finally:
        writer.close()


def sampling_facts(sampling: Mapping[str, float]) -> dict[str, float]:
    """What llama-server does where a request says nothing, by the file's keys. A penalty counts the whole text, as the
    run's own does, and not llama.cpp's last 64 tokens."""
    given = dict(sampling)
    if given.get("repetition_penalty", 1) != 1:
        given["penalty_last_n"] = -1
    whole = ("top_k", "penalty_last_n")
    return {
        f"general.sampling.{DRAWN.get(name, name)}": int(value) if name in whole else float(value)
        for name, value in given.items()
    }


def text_config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    return {**config, **config.get("text_config", {})}


def _named(names: Any, name: str, architecture: Architecture) -> str | None:
    """GGUF's name of a weight; None for one that llama.cpp makes itself."""
    if name.endswith(("rotary_emb.inv_freq", "attention.masked_bias")) or (
        architecture.headless and name == "lm_head.weight"
    ):
        return None
    found = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise ModelError(f"GGUF has no name for the weight {name} in this architecture")
    return str(found)


def _kind(shape: Sequence[int], quantization: str) -> Any:
    """Vectors stay in float32; what q8_0 cannot pack stays in 16 bits."""
    from gguf import GGMLQuantizationType

    if len(shape) < 2:
        return GGMLQuantizationType.F32
    if quantization == "q8_0" and shape[-1] % BLOCK:
        return GGMLQuantizationType.F16
    return getattr(GGMLQuantizationType, quantization.upper())


def _announce(
    writer: Any,
    plan: Sequence[tuple[str, str, Path]],
    shapes: Mapping[str, tuple[int, ...]],
    extra: Mapping[str, Array],
    quantization: str,
) -> None:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    for name, tensor in extra.items():
        writer.add_tensor_info(name, tensor.shape, tensor.dtype, tensor.nbytes, GGMLQuantizationType.F32)
    for name, there, _ in plan:
        kind = _kind(shapes[name], quantization)
        block, size = GGML_QUANT_SIZES[kind]
        count = int(np.prod(shapes[name]))
        writer.add_tensor_info(there, shapes[name], np.dtype(np.float32), count // block * size, kind)


def read_back(path: Path, folder: Path) -> dict[str, Array]:
    """The weights in a GGUF file, under the names and in the order of the folder that it was made of. ModelError if one
    is missing or of another shape."""
    from gguf import MODEL_ARCH, GGUFReader, get_tensor_name_map
    from gguf.quants import dequantize

    config = text_config(folder)
    architecture = architecture_of(config)
    names = get_tensor_name_map(getattr(MODEL_ARCH, architecture.arch), int(config["num_hidden_layers"]))
    there = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    found: dict[str, Array] = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name, shape, _ in tensors_in(file):
            called = _named(names, name, architecture)
            if called is None:
                continue
            if called not in there or tuple(reversed(there[called].shape.tolist())) != shape:
                raise ModelError(f"{path.name} does not hold {name} as {called} in its shape")
            flat = dequantize(there[called].data, there[called].tensor_type)
            found[name] = restored(name, np.array(flat, np.float32).reshape(shape), architecture, config)
    return found


def _read(plan: Sequence[tuple[str, str, Path]]) -> Iterator[tuple[str, Array]]:
    from safetensors import safe_open

    files: dict[Path, Any] = {}
    for name, _, path in plan:
        if path not in files:
            files[path] = safe_open(path, framework="pt")
        yield name, np.asarray(files[path].get_tensor(name).float().numpy(), dtype=np.float32)


def _packed(name: str, weight: Array, quantization: str) -> np.ndarray[Any, Any]:
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    kind = _kind(weight.shape, quantization)
    if kind == GGMLQuantizationType.F16 and float(np.abs(weight).max(initial=0.0)) > np.finfo(np.float16).max:
        raise ModelError(f"{name} holds numbers that float16 cannot: write --quantization bf16")
    packed: np.ndarray[Any, Any] = quantize(weight, kind)
    return packed
