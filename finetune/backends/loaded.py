"""What every backend hands on, and the tokenizer they load alike. Data and labels must not hang on the backend."""

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.backends.trust import refuse_code
from finetune.errors import ModelError
from finetune.kernels.zero import rows_of
from finetune.plan import Call, perform
from finetune.recipe.adapter import AdapterSection
from finetune.recipe.model import ModelSection


@dataclass(frozen=True)
class Loaded:
    """A model and its tokenizer. `chat_template` of the tokenizer is set by the format stage. `new_tokens`: those that
    were not in the vocabulary and appear in the text. `notes`: what the user should know of it."""

    model: Any
    tokenizer: Any
    new_tokens: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def tokenizer_part(calls: tuple[Call, ...]) -> tuple[Call, ...]:
    """The calls of a load stage that make the tokenizer."""
    load, *rest = calls
    return (load, *(call for call in rest if call.target.endswith((".add_special_tokens", ".add_tokens"))))


def partial_calls(section: AdapterSection) -> tuple[Call, ...]:
    """Without an adapter: which parameters learn, where the recipe does not say all."""
    if section.unfrozen_parameters is None:
        return ()
    return (
        Call("finetune.adapters.partial.train_only", {"patterns": section.unfrozen_parameters}, runtime=("model",)),
    )


def tokenizer_calls(section: ModelSection) -> tuple[Call, ...]:
    load = Call(
        f"transformers.{section.tokenizer_type}.from_pretrained",
        {
            "pretrained_model_name_or_path": section.tokenizer_config or section.base_model,
            "revision": "main" if section.tokenizer_config else section.revision_of_model or "main",
            "trust_remote_code": section.trust_remote_code,
        },
    )
    calls = [load]
    owner = "transformers.PreTrainedTokenizerBase"
    if section.special_tokens is not None:
        names = section.special_tokens.model_dump(exclude_none=True)
        calls.append(Call(f"{owner}.add_special_tokens", {"special_tokens_dict": names}, runtime=("self",)))
    if section.tokens:
        calls.append(Call(f"{owner}.add_tokens", {"new_tokens": section.tokens}, runtime=("self",)))
    return tuple(calls)


def resize_calls(section: ModelSection) -> tuple[Call, ...]:
    """What makes room for new tokens, where the recipe may bring some."""
    if not (section.tokens or section.special_tokens or section.resize_token_embeddings_to_32x):
        return ()
    arguments = {
        "pad_to_multiple_of": 32 if section.resize_token_embeddings_to_32x else None,
        "mean_resizing": section.mean_resizing_embeddings,
    }
    return (Call("finetune.backends.loaded.make_room", arguments, runtime=("model", "tokenizer")),)


def make_room(*, model: Any, tokenizer: Any, pad_to_multiple_of: int | None, mean_resizing: bool) -> None:
    """Give the model an embedding for every token. Models often have some to spare; they are never made fewer."""
    rows = rows_of(model.get_input_embeddings().weight)
    wanted = max(rows, len(tokenizer))
    if wanted > rows or (pad_to_multiple_of and rows % pad_to_multiple_of):
        model.resize_token_embeddings(wanted, pad_to_multiple_of=pad_to_multiple_of, mean_resizing=mean_resizing)


def new_tokens_learn(model: Any, new_tokens: tuple[str, ...]) -> None:
    """ModelError if tokens are new and the embeddings that stand for them stay as they were made: at random."""
    ends = [model.get_input_embeddings()]
    if not getattr(model.config, "tie_word_embeddings", False):
        ends.append(model.get_output_embeddings())
    frozen = [end for end in ends if end is not None and not any(p.requires_grad for p in end.parameters())]
    if new_tokens and frozen:
        raise ModelError(
            f"special_tokens and tokens bring {len(new_tokens)} tokens that are not in the vocabulary "
            f"({new_tokens[0]!r}), but their embeddings would not be trained: set lora_modules_to_save: "
            "[embed_tokens, lm_head], or use tokens that are there"
        )


def load_tokenizer(calls: tuple[Call, ...]) -> tuple[Any, tuple[str, ...]]:
    """(the tokenizer, with a pad token; the tokens that are new and appear in the text). ModelError if it cannot be
    loaded or lacks a special token."""
    load, *adding = calls
    tokenizer = guarded(load)
    old = set(tokenizer.get_vocab())
    for call in adding:
        perform(call, self=tokenizer)
    # A pad token is never learned and never seen.
    new = tuple(sorted(set(tokenizer.get_vocab()) - old - {tokenizer.pad_token}))
    if tokenizer.pad_token is None:
        # Any token serves: labels are built from the text, never from padding. An unused one is kinder to readers.
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    if tokenizer.pad_token is None or tokenizer.eos_token is None:
        raise ModelError("the tokenizer has no eos_token: name one under special_tokens.eos_token")
    return tokenizer, new


NO_MEMORY = ("out of memory", "allocate memory", "alloc_failed")


def guarded(call: Call, **runtime: Any) -> Any:
    """Perform a loading call; what the libraries raise for a user's mistake becomes a ModelError."""
    name = call.arguments.get("pretrained_model_name_or_path") or call.arguments.get("model_name")
    refuse_code(call)
    try:
        made = perform(call, **runtime)
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
        if isinstance(error, MemoryError) or any(words in str(error).lower() for words in NO_MEMORY):
            raise ModelError(f"base_model {name!r} does not fit the memory: set load_in_4bit: true") from error
        raise ModelError(_explained(str(name), error)) from error
    if call.target.startswith("transformers.") and "attn_implementation" in call.arguments:
        from finetune.kernels.attention import keep_bound

        model = made[0] if isinstance(made, tuple) else made
        keep_bound(model, chosen=call.arguments["attn_implementation"] is not None)
    return made


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
