"""What servers need beside merged weights: a start command, and the template where each of them looks for it."""

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from finetune.exporting.finished import Finished

START = "start.sh"
_HEAD = """#!/bin/sh
# Serves the model in this folder, with the template and stop tokens that it was trained with, on this machine alone.
"""


def _vllm(run: Finished, name: str, length: int) -> str:
    """vLLM takes stop tokens and sampling from generation_config.json, the template from the tokenizer."""
    del run
    return (
        f'exec vllm serve "$(dirname "$0")" --served-model-name {shlex.quote(name)} --host 127.0.0.1 --port 8000 '
        f'--max-model-len {length} --generation-config auto "$@"\n'
    )


def _tgi(run: Finished, name: str, length: int) -> str:
    """text-generation-inference takes the template from tokenizer_config.json."""
    del run, name
    return (
        f'exec text-generation-launcher --model-id "$(dirname "$0")" --hostname 127.0.0.1 --port 8080 '
        f'--max-total-tokens {length} --max-input-tokens {max(1, length - 1)} "$@"\n'
    )


SERVERS: Mapping[str, Callable[[Finished, str, int], str]] = {"vllm": _vllm, "tgi": _tgi}


def write_server(target: str, run: Finished, folder: Path, name: str) -> None:
    """The start command, beside merged weights."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    length = int(config.get("max_position_embeddings") or run.keys.get("sequence_len") or 4096)
    path = folder / START
    path.write_text(_HEAD + SERVERS[target](run, name, length), "utf-8")
    path.chmod(0o755)
    template = folder / "chat_template.jinja"
    told = folder / "tokenizer_config.json"
    if target == "tgi" and template.is_file():
        facts = json.loads(told.read_text("utf-8"))
        facts["chat_template"] = template.read_text("utf-8")
        told.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", "utf-8")
