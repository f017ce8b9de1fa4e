"""What rewards an answer, loaded: a function of a file whose bytes are those of the plan, or a reward model."""

import hashlib
import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.errors import ModelError, RecipeError, RewardError
from finetune.recipe.reward_models import base_in, weights_folder


@dataclass(frozen=True)
class Rewarder:
    """`model_tokenizer`: of a reward model, else None."""

    reward: Any
    model_tokenizer: Any = None


def load_function(*, file: str, name: str, sha256: str, alone: bool) -> Rewarder:
    """The function of a file; `alone`: nothing else rewards. RecipeError if the file is gone, is not the one that was
    planned with, cannot be run, or has no such function."""
    try:
        code = Path(file).read_bytes()
    except OSError as error:
        raise RecipeError(f"reward_funcs: {file} cannot be read: {error.strerror or error}") from None
    digest = hashlib.sha256(code).hexdigest()
    if not sha256:
        raise RecipeError(f"reward_funcs: {file} is not pinned: write {file}:{name}@{digest[:16]}")
    if not digest.startswith(sha256):
        raise RecipeError(
            f"reward_funcs: {file} has the sha256 {digest[:16]}..., and the recipe's plan has {sha256[:16]}...: it "
            "changed. Read it, and write the new one"
        )
    space: dict[str, Any] = {"__name__": Path(file).stem, "__file__": file}
    try:
        exec(compile(code, file, "exec"), space)
    except Exception as error:
        raise RecipeError(f"reward_funcs: {file} cannot be run: {type(error).__name__}: {error}") from error
    found = space.get(name)
    if not callable(found):
        there = sorted(one for one, value in space.items() if callable(value) and not one.startswith("_"))
        raise RecipeError(f"reward_funcs: {file} has no function {name}; it has {', '.join(there) or 'none'}")
    return Rewarder(_checked(found, f"{Path(file).name}:{name}", file, alone))


def _checked(function: Callable[..., Any], shown: str, file: str, alone: bool) -> Callable[..., Any]:
    """The function, whose faults and wrong answers are named as its own."""

    def rewarded(**columns: Any) -> list[Any]:
        try:
            given = function(**columns)
        except Exception as error:
            what = f"{type(error).__name__}: {error}{_given(error, columns)}"
            raise RewardError(f"reward_funcs: {shown} failed{_line_of(error, file)}: {what}") from error
        count = len(columns["completions"])
        numbers = list(given) if hasattr(given, "__iter__") else None
        if numbers is None or len(numbers) != count:
            gave = f"a list of {len(numbers)}" if numbers is not None else type(given).__name__
            raise RewardError(
                f"reward_funcs: {shown} should give a list of {count} numbers, one for each answer; it gave {gave}"
            )
        if alone and all(number is None for number in numbers):
            raise RewardError(
                f"reward_funcs: {shown} gave None for each of {count} answers, and nothing else rewards them"
            )
        for number in numbers:
            if number is not None and (isinstance(number, str) or not _is_number(number)):
                raise RewardError(f"reward_funcs: {shown} gave {number!r}, which is no finite number")
        return [None if number is None else float(number) for number in numbers]

    rewarded.__name__ = getattr(function, "__name__", shown)
    return rewarded


def _given(error: BaseException, columns: Mapping[str, Any]) -> str:
    """What a function is called with, where it was written for something else."""
    if not (isinstance(error, TypeError) and "argument" in str(error)):
        return ""
    return f". It is called with {', '.join(columns)}; a function takes what it does not need as **columns"


def _line_of(error: BaseException, file: str) -> str:
    """The last line of the file that the error passed through."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" in line {lines[-1]}" if lines else ""


def _is_number(value: Any) -> bool:
    """One with an end: an infinite reward would make all that is compared with it none."""
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def load_model(
    *, path: str, dtype: str, device_map: dict[str, Any], revision: str | None = None, base_revision: str | None = None
) -> Rewarder:
    """A reward model: a run folder, a model or an adapter there, or a hub id. `revision`: of a hub id; `base_revision`:
    of the model that an adapter stands on; unset: main. ModelError if it is none, or scores with more than one
    number."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = weights_folder(path)
    arguments = {"num_labels": 1, "dtype": dtype, "device_map": device_map, "use_safetensors": True}
    own = {"revision": revision or "main"}
    try:
        base = _base_of(folder, own["revision"])
        arguments |= {"revision": base_revision or "main"} if base else own
        model, found = AutoModelForSequenceClassification.from_pretrained(
            base or folder, output_loading_info=True, **arguments
        )
        if base is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, folder, **own).merge_and_unload()
        tokenizer = AutoTokenizer.from_pretrained(folder, **own)
    except Exception as error:  # safetensors, peft, tokenizers and the hub each raise types of their own
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"the reward model {path!r} cannot be loaded: {first[:300]}") from error
    if base is None and any("score" in name or "classifier" in name for name in found["missing_keys"]):
        raise ModelError(
            f"{path!r} is no reward model: it has no head that scores, which would be random. Train one with "
            "reward_model: true"
        )
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return Rewarder(model, tokenizer)


def _base_of(folder: str, revision: str) -> str | None:
    """What an adapter stands on; None for a whole model."""
    from transformers.utils import find_adapter_config_file

    config = find_adapter_config_file(folder, revision=revision)
    return None if config is None else base_in(Path(config))
