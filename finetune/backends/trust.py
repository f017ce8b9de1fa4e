"""What is refused before a model is loaded, since loading it would run code: unpinned code of a repository, and weights
in Python's pickle format. Loads nothing itself."""

import hashlib
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from finetune.errors import ModelError
from finetune.plan import Call

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
COMMIT = re.compile(r"[0-9a-f]{40}")
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def refuse_code(call: Call) -> None:
    """ModelError if the loading call would run code that the recipe did not pin or did not ask for."""
    arguments = call.arguments
    name = str(arguments.get("pretrained_model_name_or_path") or arguments.get("model_name"))
    revision = str(arguments.get("revision") or "main")
    folder = Path(name)
    if arguments.get("trust_remote_code"):
        if folder.is_dir():
            _pinned_folder(folder, revision)
        else:
            _pinned_repository(name, revision)
    loads_weights = "dtype" in arguments
    if loads_weights:
        _refuse_adapter(name, revision)
    if loads_weights and folder.is_dir() and arguments.get("use_safetensors", True):
        files = [path.name for path in folder.iterdir()]
        pickled = [file for file in files if file.endswith(PICKLED) and "model" in file]
        if pickled and not any(file.endswith((".safetensors", ".gguf")) for file in files):
            raise ModelError(
                f"base_model {name!r} holds its weights in Python's pickle format ({pickled[0]}), which can run code. "
                "Convert them to safetensors, or set allow_pickle_weights: true if you trust whoever made them"
            )


def _pinned_repository(name: str, revision: str) -> None:
    config = _hub_config(name, revision)
    elsewhere = [
        str(value) for value in _named(config) if "--" in str(value) and not str(value).startswith(f"{name}--")
    ]
    if elsewhere:
        raise ModelError(
            f"the configuration of {name} names code of another repository ({elsewhere[0]}), which would be loaded as "
            "it is today, whatever revision_of_model says: download the model, copy that code into its folder and name "
            "it there"
        )
    if _names_code(config) and not COMMIT.fullmatch(revision):
        raise ModelError(
            f"trust_remote_code: true would run code of {name} as it is today. Read it, and pin the commit that "
            "you read: revision_of_model: <40 hexadecimal digits>"
        )


def _refuse_adapter(name: str, revision: str) -> None:
    """ModelError for an adapter: transformers would load the model that it names, from wherever that is now."""
    from transformers.utils import find_adapter_config_file

    found = None
    with suppress(OSError):  # loading it will say what is wrong
        if Path(name).is_dir() or REPOSITORY.fullmatch(name):
            found = find_adapter_config_file(name, revision=revision)
    if found is None:
        return
    base = _json(Path(found)).get("base_model_name_or_path") or "the model that it was made for"
    raise ModelError(
        f"base_model {name!r} holds an adapter and no model. To go on from it, write base_model: {base} and "
        f"lora_model_dir: {name}; to train something new on both, merge them first (finetune merge)"
    )


def digest_of(folder: Path) -> str:
    """`sha256:` and the digest of a folder's Python files, names included."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        total.update(f"{path.relative_to(folder)}\0{len(path.read_bytes())}\0".encode() + path.read_bytes())
    return f"sha256:{total.hexdigest()}"


def _pinned_folder(folder: Path, revision: str) -> None:
    config = {**_json(folder / "tokenizer_config.json"), **_json(folder / "config.json")}
    if not _names_code(config):
        return
    digest = digest_of(folder)
    if any("--" in str(value) for value in _named(config)):
        raise ModelError(
            f"the auto_map in {folder}/config.json names code of another repository, which would be loaded unpinned: "
            "copy that code into the folder and name it there"
        )
    if revision != digest:
        raise ModelError(
            f"trust_remote_code: true would run the Python files in {folder}. Read them, and pin what you read: "
            f"revision_of_model: {digest}"
        )


def config_of(name: str, revision: str) -> dict[str, Any]:
    """config.json of a model, local or on the hub; {} where it cannot be had, and loading will say why."""
    folder = Path(name)
    return _json(folder / "config.json") if folder.is_dir() else _hub_config(name, revision)


def _named(config: dict[str, Any]) -> list[Any]:
    named = config.get("auto_map")
    values = list(named.values()) if isinstance(named, dict) else [named] if named else []
    return [item for value in values for item in (value if isinstance(value, list) else [value]) if item]


def _names_code(config: dict[str, Any]) -> bool:
    return bool(_named(config))


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _hub_config(name: str, revision: str) -> dict[str, Any]:
    """The repository's configs, without any of its code; {} where they cannot be had, and loading will say why."""
    from httpx import HTTPError
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    found: dict[str, Any] = {}
    for file in ("tokenizer_config.json", "config.json"):
        try:
            found |= _json(Path(hf_hub_download(name, file, revision=revision)))
        except (HfHubHTTPError, HTTPError, HFValidationError, LocalEntryNotFoundError, OSError):
            continue
    return found
