"""What every backend hands on, and the tokenizer they load alike. Data and labels must not hang on the backend."""

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.errors import ModelError
from finetune.plan import Call, perform
from finetune.recipe.model import ModelSection


@dataclass(frozen=True)
class Loaded:
    """A model and its tokenizer. `chat_template` of the tokenizer is set by the format stage."""

    model: Any
    tokenizer: Any


def tokenizer_part(calls: tuple[Call, ...]) -> tuple[Call, ...]:
    """The calls of a load stage that make the tokenizer."""
    load, *rest = calls
    return (load, *(call for call in rest if call.target.endswith(".add_special_tokens")))


def tokenizer_calls(section: ModelSection) -> tuple[Call, ...]:
    load = Call(
        f"transformers.{section.tokenizer_type}.from_pretrained",
        {
            "pretrained_model_name_or_path": section.base_model,
            "revision": section.revision_of_model or "main",
            "trust_remote_code": section.trust_remote_code,
        },
    )
    if section.special_tokens is None:
        return (load,)
    names = section.special_tokens.model_dump(exclude_none=True)
    target = "transformers.PreTrainedTokenizerBase.add_special_tokens"
    return (load, Call(target, {"special_tokens_dict": names}, runtime=("self",)))


def load_tokenizer(calls: tuple[Call, ...]) -> Any:
    """The tokenizer, with a pad token. ModelError if it cannot be loaded or lacks a special token."""
    load, *rename = calls
    tokenizer = guarded(load)
    for call in rename:
        vocabulary = tokenizer.get_vocab()
        for key, token in call.arguments["special_tokens_dict"].items():
            if token not in vocabulary:
                raise ModelError(
                    f"special_tokens.{key}: {token!r} is not in the vocabulary of {tokenizer.name_or_path}, and adding "
                    "tokens is not supported yet. Name a token that is there, or remove the line"
                )
        perform(call, self=tokenizer)
    if tokenizer.pad_token is None:
        # Any token serves: labels are built from the text, never from padding. An unused one is kinder to readers.
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    if tokenizer.pad_token is None or tokenizer.eos_token is None:
        raise ModelError("the tokenizer has no eos_token: name one under special_tokens.eos_token")
    return tokenizer


def guarded(call: Call, **runtime: Any) -> Any:
    """Perform a loading call; what the libraries raise for a user's mistake becomes a ModelError."""
    name = call.arguments.get("pretrained_model_name_or_path") or call.arguments.get("model_name")
    try:
        return perform(call, **runtime)
    except AttributeError as error:
        if call.target.split(".")[1] in str(error):
            message = (
                f"the installed transformers has no class {call.target.split('.')[1]}: check model_type, tokenizer_type"
            )
            raise ModelError(message) from error
        raise
    except Exception as error:  # tokenizers raises bare Exceptions, safetensors and config readers types of their own
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        if "out of memory" in str(error).lower():
            raise ModelError(f"base_model {name!r} does not fit the memory: set load_in_4bit: true") from error
        raise ModelError(_explained(str(name), error)) from error


def _explained(name: str, error: Exception) -> str:
    if name.startswith((".", "/", "~")) and not Path(name).exists():
        return f"there is no folder {name} (looked beside the recipe and in the working directory): correct base_model"
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    hint = (
        "If it is a local folder, check the path (relative to the recipe or the working directory) and that it holds "
        "config.json, weights and tokenizer. If it is a hub id, check the spelling, the network, and `hf auth login` "
        "for gated models"
    )
    return f"base_model {name!r} cannot be loaded: {first.strip()[:300]}. {hint}"
