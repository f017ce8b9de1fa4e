"""Base model + adapter -> one model of the same architecture. Computed in float32 where memory allows, and rounded
once, to the numbers of the checkpoint. Knows no files but the adapter's; knows no prompts."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.backends.loaded import guarded, make_room
from finetune.backends.transformers import HEADS
from finetune.errors import ModelError
from finetune.exporting.finished import ADAPTER, Finished, attention_of, base_call, refuse_quantized, unpacking
from finetune.plan import Call, perform

SPARE = 1.2
"""Memory that is asked for, against what the weights alone take."""


@dataclass(frozen=True)
class Parts:
    """A model with its tokenizer. `kept`: the number type in which each weight is saved; `name` and `revision`: the
    base model's; `exact`: computed in float32."""

    model: Any
    tokenizer: Any
    kept: Mapping[str, Any]
    name: str
    revision: str
    exact: bool


def load_parts(run: Finished, instead: str | None = None) -> Parts:
    """The run's base model with its adapter on it, or the fully trained model; the tokenizer as it was saved.

    ModelError if the base model is gone, has no 16-bit weights, or the adapter is damaged or does not fit."""
    tokenizer = load_tokenizer(run.weights)
    if not run.plan.has_adapter:
        return _whole(run, tokenizer)
    call = base_call(run, instead, device())
    refuse_quantized(call)
    model = _base(call, run)
    kept = numbers_of(model)
    exact = widen(model)
    _make_room(run, model, tokenizer)
    name, revision = str(call.arguments["pretrained_model_name_or_path"]), str(call.arguments["revision"])
    commit = getattr(model.config, "_commit_hash", None)
    return Parts(attach(model, run.weights), tokenizer, kept, name, commit or revision, exact)


def _whole(run: Finished, tokenizer: Any) -> Parts:
    model = load_folder(run.weights, run.scores, attention_of(run))
    return Parts(model, tokenizer, numbers_of(model), str(run.weights), "", widen(model))


def numbers_of(model: Any) -> dict[str, Any]:
    """Weight -> its number type; one that is used twice stands under both names."""
    return {name: tensor.dtype for name, tensor in model.state_dict().items()}


def load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:  # tokenizers raises bare Exceptions
        raise ModelError(f"the tokenizer in {folder} cannot be loaded: {_first_line(error)}") from error


def load_folder(folder: Path, scores: bool, attention: str | None = None) -> Any:
    """A whole model of a folder, in the numbers of its files. `attention`: attn_implementation, where not the default
    one."""
    kind = "AutoModelForSequenceClassification" if scores else "AutoModelForCausalLM"
    arguments = {
        "pretrained_model_name_or_path": str(folder),
        "dtype": "auto",
        "device_map": {"": device()},
        "use_safetensors": True,
        "attn_implementation": attention,
        "output_loading_info": True,
    }
    model, found = guarded(Call(f"transformers.{kind}.from_pretrained", arguments))
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if found[problem]:
            raise ModelError(f"{folder}: {problem.replace('_', ' ')}: {sorted(map(str, found[problem]))[:3]}")
    return model.eval()


def device() -> str:
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


def _base(call: Call, run: Finished) -> Any:
    runtime = {}
    if call.runtime:
        planned = unpacking(run)
        assert planned is not None
        runtime = {"quantization_config": perform(planned)}
    try:
        model, found = guarded(call, **runtime)
    except ModelError as error:
        hint = "the run's adapter belongs to this model; --base NAME@REVISION names a copy of it"
        raise ModelError(f"{error.faults[0].message.removesuffix(': correct base_model')} ({hint})") from error
    missing = sorted(name for name in found["missing_keys"] if name not in HEADS)
    if missing:
        raise ModelError(f"the checkpoint of base_model lacks {len(missing)} weights ({missing[0]}, …)")
    return model.eval()


def widen(model: Any) -> bool:
    """Compute in float32 from here on, if the memory there is holds the weights so; whether it does."""
    import torch

    if all(weight.dtype == torch.float32 for weight in model.parameters()):
        return True
    if 4 * sum(weight.numel() for weight in model.parameters()) * SPARE > free_memory(model.device):
        return False
    model.float()
    return True


def free_memory(where: Any) -> float:
    """Bytes that are free, on a GPU or in the machine's memory; without limit where that is unknown."""
    import torch

    if where.type == "cuda":
        return float(torch.cuda.mem_get_info(where)[0])
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return float("inf")
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def _make_room(run: Finished, model: Any, tokenizer: Any) -> None:
    """Embeddings for the tokens that the run added."""
    planned = run.plan.one("load", ".make_room")
    if planned is None:
        return
    perform(Call("transformers.set_seed", {"seed": run.keys.get("seed", 42)}))
    make_room(model=model, tokenizer=tokenizer, **planned.arguments)


def attach(model: Any, folder: Path) -> Any:
    """The model with the adapter of a folder on it: every tensor of its file, and each of them a number.

    Weights that several modules share are given to each of them first: what is merged into one would else change the
    others too. ModelError if the adapter is damaged, or belongs to another model."""
    from peft import PeftModel

    tensors = _tensors(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about keys that are missing: looked at below, and an error
            adapted = PeftModel.from_pretrained(model, str(folder))
    except Exception as error:  # safetensors, peft and the hub each raise types of their own
        raise ModelError(f"the adapter in {folder} does not fit the base model: {_first_line(error)}") from error
    _all_there(adapted, tensors, folder)
    return adapted.eval()


def _tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    path = folder / ADAPTER
    try:
        tensors: dict[str, Any] = load_file(path)
    except Exception as error:  # safetensors has a type of its own
        raise ModelError(f"the adapter is damaged: {path} cannot be read ({_first_line(error)})") from error
    broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if broken or not tensors:
        what = f"{broken[0]} is not a number" if broken else "it is empty"
        raise ModelError(f"the adapter is damaged: {path}: {what}")
    return tensors


def _all_there(adapted: Any, tensors: Mapping[str, Any], folder: Path) -> None:
    """peft passes over what a file lacks or has too much."""
    from peft import get_peft_model_state_dict

    wanted = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    base = adapted.state_dict()
    lacking = sorted(wanted.keys() - tensors.keys())
    spare = sorted(name for name in tensors.keys() - wanted.keys() if not {name, _loaded_as(name)} & base.keys())
    other = [name for name in wanted.keys() & tensors.keys() if wanted[name].shape != tensors[name].shape]
    for names, what in ((lacking, "lacks"), (spare, "has no place in the model for"), (other, "has another shape of")):
        if names:
            raise ModelError(
                f"the adapter in {folder} does not fit the base model: it {what} {names[0]} ({len(names)})"
            )


def _loaded_as(name: str) -> str:
    """The name in the model of an embedding that a file holds because it was resized."""
    return name.replace(".modules_to_save.", ".modules_to_save.default.")


def merge(adapted: Any) -> Any:
    """The model alone, with what the adapter learned in its weights. ModelError if there is no way to merge it."""
    model = adapted.get_base_model()
    was_tied = bool(getattr(model.config.get_text_config(), "tie_word_embeddings", False))
    _unshare(model)
    config = adapted.peft_config["default"]
    if getattr(config, "layer_replication", None):
        config.layer_replication = None  # each copy has weights of its own by now, so that merging into it is right
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about tied embeddings: untied above, and tied again below if they can be
            merged = adapted.merge_and_unload(safe_merge=True)
    except (ValueError, NotImplementedError, RuntimeError, AttributeError) as error:
        raise ModelError(f"the adapter cannot be merged: {_first_line(error)}") from error
    if was_tied:
        _tie_again(merged)
    broken = [name for name, weight in merged.named_parameters() if not bool(weight.isfinite().all())]
    if broken:
        raise ModelError(f"merged, {broken[0]} is not a number: the adapter or the base model is damaged")
    return merged


def _unshare(model: Any) -> None:
    """Give each module weights of its own."""
    import torch

    seen: set[int] = set()
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if id(weight) in seen:
                setattr(module, name, torch.nn.Parameter(weight.detach().clone(), requires_grad=False))
            seen.add(id(weight))


def _tie_again(merged: Any) -> None:
    """One tensor for both ends if they are equal; else the model says in its config that they are two."""
    import torch

    first, last = merged.get_input_embeddings(), merged.get_output_embeddings()
    if last is None:
        return  # a model that scores has no output head to tie
    equal = first.weight.shape == last.weight.shape and torch.equal(first.weight, last.weight)
    if equal:
        last.weight = first.weight
    for config in {id(part): part for part in (merged.config, merged.config.get_text_config())}.values():
        config.tie_word_embeddings = equal


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
