"""Merged files that programs which stand on transformers 4 read as well: what its fifth version writes under new names
stands under the old ones too. Knows no run and no weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CLASSES = {"TokenizersBackend": "PreTrainedTokenizerFast"}
"""Tokenizer classes of transformers 5 -> what does the same in both."""
NEOX = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
OF_LOADING = ("is_local", "local_files_only")
"""What says how the tokenizer was loaded, and nothing of it."""


def for_older_readers(folder: Path) -> None:
    """Without it transformers 4 knows neither the tokenizer's class nor the base of the rotary embeddings, for which it
    would take its own default without a word. Where version 5 would take the old names for something else, they are
    left out: version 4 does not have such a model."""
    config = folder / "config.json"
    before, meant = config.read_bytes() if config.is_file() else b"", _turned(config)
    _rewrite(config, _config)
    if meant is not None and _turned(config) != meant:
        config.write_bytes(before)
    _rewrite(folder / "tokenizer_config.json", _tokenizer)


def _rewrite(path: Path, change: Any) -> None:
    if path.is_file():
        said = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps(change(said), indent=2, ensure_ascii=False) + "\n", "utf-8")


def _turned(path: Path) -> Any:
    """How the installed transformers reads what is said of rotary embeddings; None where it cannot."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if not path.is_file():
        return None
    said = json.loads(path.read_text("utf-8"))
    try:
        config = CONFIG_MAPPING[said["model_type"]].from_dict(said)
    except (KeyError, ValueError, TypeError, AttributeError, StrictDataclassError):
        return None
    return [getattr(part, "rope_parameters", None) for part in (config, config.get_text_config())]


def _config(said: Mapping[str, Any]) -> dict[str, Any]:
    found = {**said, **_rotary(said.get("rope_parameters"), str(said.get("model_type")).startswith("phi"))}
    for new, old in NEOX.items() if said.get("model_type") == "gpt_neox" else ():
        if new in found:
            found[old] = found[new]
    if "dtype" in said:
        found["torch_dtype"] = said["dtype"]
    if isinstance(said.get("text_config"), dict):
        found["text_config"] = _config(said["text_config"])
    return found


def _rotary(parameters: Any, phi: bool = False) -> dict[str, Any]:
    """The old names of what is said of rotary embeddings, of each kind of layer where they differ."""
    if not isinstance(parameters, dict):
        return {}
    if "full_attention" in parameters:
        near = (parameters.get("sliding_attention") or {}).get("rope_theta")
        return _rotary(parameters["full_attention"], phi) | ({"rope_local_base_freq": near} if near else {})
    found = {name: parameters[name] for name in ("rope_theta", "partial_rotary_factor") if name in parameters}
    scaling = {name: value for name, value in parameters.items() if name not in found}
    kind = scaling.get("rope_type", "default")
    if kind == "longrope":
        # Version 4's Phi allows these two alone, and has the rest beside them; other models have it here.
        kept = ("short_factor", "long_factor") if phi else tuple(name for name in scaling if name != "rope_type")
        scaling = {"type": kind} | {name: scaling[name] for name in kept if name in scaling}
    return found | {"rope_scaling": None if kind == "default" else scaling}


def _tokenizer(said: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in said.items() if name not in OF_LOADING}
    known = str(found.get("tokenizer_class"))
    found["tokenizer_class"] = CLASSES.get(known, known)
    if isinstance(found.get("extra_special_tokens"), list):
        found["additional_special_tokens"] = found.pop("extra_special_tokens")
    return found
