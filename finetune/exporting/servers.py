"""What servers need beside merged weights: a start command, and the template where each of them looks for it."""

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from finetune.exporting.finished import Finished
from finetune.exporting.gguf_file import text_config

START = "start.sh"
GREEDY = 0.0
"""The temperature at which the most likely token is taken each time."""
_HEAD = """#!/bin/sh
# Serves the model in this folder, with the template and stop tokens that it was trained with, on this machine alone.
"""


def vllm_defaults(folder: Path) -> list[str]:
    """Arguments by which vLLM answers as the run does where a request says nothing. vLLM reads generation_config.json,
    but draws where that says do_sample: false, and takes max_new_tokens for a bound that no request may exceed."""
    said = json.loads((folder / "generation_config.json").read_text("utf-8"))
    changes: dict[str, Any] = {} if said.get("do_sample") else {"temperature": GREEDY}
    changes |= {"max_new_tokens": None} if "max_new_tokens" in said else {}
    return ["--override-generation-config", json.dumps(changes)] if changes else []


def _vllm(run: Finished, name: str, folder: Path) -> str:
    """vLLM takes stop tokens and sampling from generation_config.json, the template from the tokenizer."""
    config = text_config(folder)
    notes = ""
    if config.get("dtype") == "float32":
        notes += "# The weights are float32, which vLLM rounds to 16 bits unless --dtype float32 is added.\n"
    if stops := run.keys.get("generation_stop"):
        notes += f"# vLLM knows no stop texts of a model: send them with each request, as in stop={json.dumps(stops)}\n"
    defaults = " ".join(map(shlex.quote, vllm_defaults(folder)))
    return (
        f'{notes}exec vllm serve "$(dirname "$0")" --served-model-name {shlex.quote(name)} --host 127.0.0.1 '
        f'--port 8000 --max-model-len {_length(run, config)} --generation-config auto {defaults} "$@"\n'
    )


def _tgi(run: Finished, name: str, folder: Path) -> str:
    """text-generation-inference takes the template from tokenizer_config.json, and float16 if nothing is said."""
    del name
    config = text_config(folder)
    length = _length(run, config)
    exact = "--dtype bfloat16 " if config.get("dtype") == "bfloat16" else ""
    asked = ", ".join(f'"{key}": {json.dumps(value)}' for key, value in run.sampling.items())
    return (
        f"# It draws with settings of its own where a request says nothing; the run's are {asked}\n"
        f'exec text-generation-launcher --model-id "$(dirname "$0")" --hostname 127.0.0.1 --port 8080 '
        f'{exact}--max-total-tokens {length} --max-input-tokens {max(1, length - 1)} "$@"\n'
    )


def _length(run: Finished, config: Mapping[str, Any]) -> int:
    return int(config.get("max_position_embeddings") or run.keys.get("sequence_len") or 4096)


SERVERS: Mapping[str, Callable[[Finished, str, Path], str]] = {"vllm": _vllm, "tgi": _tgi}


def write_server(target: str, run: Finished, folder: Path, name: str) -> None:
    """The start command, beside merged weights."""
    path = folder / START
    path.write_text(_HEAD + SERVERS[target](run, name, folder), "utf-8")
    path.chmod(0o755)
    template = folder / "chat_template.jinja"
    told = folder / "tokenizer_config.json"
    if target == "tgi" and template.is_file():
        facts = json.loads(told.read_text("utf-8"))
        facts["chat_template"] = template.read_text("utf-8")
        told.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", "utf-8")
