"""`finetune serve`: what a run trained, as OpenAI's chat API."""

import argparse
from pathlib import Path

from finetune.errors import UsageError

HELP = "answer over HTTP, as OpenAI's chat API does"
USE = (("finetune serve RUN_DIR [--port 8000]", "answer over HTTP, as OpenAI's chat API does"),)
LONG = True


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN_DIR|RECIPE")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (127.0.0.1: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free (8000)")
    parser.add_argument("--name", help="the model's name in requests (the run folder's)")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="holds the key that requests must bring")
    parser.add_argument("--slots", type=int, default=32, metavar="N", help="answers written at the same time (32)")
    parser.add_argument("--queue", type=int, default=256, metavar="N", help="answers that may wait for a slot (256)")
    parser.add_argument("--body-limit", type=float, default=4.0, metavar="MIB", help="of one request (4)")
    parser.add_argument("--engine", choices=("finetune", "vllm"), default="finetune", help="vllm: start vLLM's server")


def run(parsed: argparse.Namespace) -> int:
    from finetune.serving.running import Listening, key_of, serve, serve_by_vllm
    from finetune.trained import folder_of

    for name, least in (("slots", 1), ("queue", 0), ("port", 0)):
        if getattr(parsed, name) < least:
            raise UsageError(f"--{name} {getattr(parsed, name)}: write {least} or more")
    if parsed.body_limit <= 0:
        raise UsageError(f"--body-limit {parsed.body_limit}: write how many MiB a request may have")
    listening = Listening(
        host=parsed.host,
        port=parsed.port,
        name=parsed.name or folder_of(parsed.run).resolve().name,
        key=key_of(parsed.key_file),
        slots=parsed.slots,
        queue=parsed.queue,
        body_bytes=int(parsed.body_limit * 2**20),
    )
    return (serve_by_vllm if parsed.engine == "vllm" else serve)(parsed.run, listening)
