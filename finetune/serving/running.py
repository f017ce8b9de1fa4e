"""The server as a process: where it listens, what it says, vLLM in its place. Knows no route."""

import contextlib
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from finetune.errors import MachineError, UsageError
from finetune.exporting.servers import vllm_defaults

KEY = "FINETUNE_SERVE_KEY"
"""Of the environment: the key that requests must bring."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Listening:
    """What the command line asked for. `name`: the model's, in requests."""

    host: str
    port: int
    name: str
    key: str | None
    slots: int
    queue: int
    body_bytes: int


def key_of(file: Path | None) -> str | None:
    """The key, from a file or the environment; None where none is asked for."""
    if file is None:
        return os.environ.get(KEY) or None
    try:
        key = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--key-file {file} cannot be read: {error}") from None
    if not key:
        raise UsageError(f"--key-file {file} is empty")
    return key


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens. MachineError if it cannot."""
    try:
        kind = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=kind, backlog=512)
    except (OSError, OverflowError) as error:
        raise MachineError(f"cannot listen on {host}:{port}: {error}. Name another with --host and --port") from None


def serve(run: Path, listening: Listening) -> int:
    """Answer until the process is told to stop."""
    try:
        import uvicorn
        from starlette import __version__ as _  # noqa: F401
    except ImportError as error:
        raise MachineError(f"serving needs {error.name}: pip install 'finetune-recipes[serve]'") from None
    from finetune.serving.app import Door, app_of
    from finetune.serving.engine import Engine
    from finetune.trained import opened

    with bound(listening.host, listening.port) as place:
        trained = opened(run)
        engine = Engine(trained, listening.slots, listening.queue)
        local = listening.host in LOOPBACK
        door = Door(listening.name, listening.key, LOOPBACK if local else None, listening.body_bytes)
        port = place.getsockname()[1]
        host = f"[{listening.host}]" if ":" in listening.host else listening.host
        if not local and listening.key is None:
            print(f"warning: whoever reaches {host}:{port} may ask; set {KEY} or --key-file for a key", flush=True)
        if engine.writers.batch is None:
            print("answers are written one after the other: this model cannot write several at a time", flush=True)
        print(f"{listening.name} at http://{host}:{port}/v1 (Ctrl-C ends)", flush=True)
        config = uvicorn.Config(
            app_of(engine, door), log_level="warning", timeout_graceful_shutdown=10, lifespan="on", ws="none"
        )
        with contextlib.suppress(KeyboardInterrupt):  # how it is meant to end
            uvicorn.Server(config).run(sockets=[place])
    return 0


def vllm_command(folder: Path, base: str, rank: int | None, listening: Listening) -> list[str]:
    """What vLLM is started with. `rank`: of the adapter; None where all weights were trained."""
    template = folder / "chat_template.jinja"
    command = ["vllm", "serve", base if rank is not None else str(folder), "--tokenizer", str(folder)]
    command += ["--host", listening.host, "--port", str(listening.port)]
    command += ["--generation-config", str(folder), *vllm_defaults(folder)]
    if template.is_file():
        command += ["--chat-template", str(template)]
    if rank is None:
        return [*command, "--served-model-name", listening.name]
    ranks = next(known for known in (8, 16, 32, 64, 128, 256, 512) if known >= min(rank, 512))
    return [*command, "--enable-lora", "--lora-modules", f"{listening.name}={folder}", "--max-lora-rank", str(ranks)]


def serve_by_vllm(run: Path, listening: Listening) -> int:
    """Become vLLM's own server. MachineError if it is not installed, or the adapter is of a kind it does not know."""
    import json

    from finetune.rundir import RunDir
    from finetune.trained import base_of, folder_of

    found = shutil.which("vllm")
    if found is None:
        raise MachineError("vLLM is not installed: pip install vllm, or leave --engine out")
    folder = RunDir(folder_of(run))
    weights, rank, base = folder.weights, None, ""
    if (weights / "adapter_config.json").is_file():
        config = json.loads((weights / "adapter_config.json").read_text("utf-8"))
        if config.get("peft_type") != "LORA" or config.get("use_dora"):
            kind = "DoRA" if config.get("use_dora") else config.get("peft_type")
            raise MachineError(f"vLLM serves LoRA adapters, not {kind}: merge it first, or leave --engine out")
        rank, base = int(config["r"]), base_of(folder)
    if listening.key is not None:
        os.environ["VLLM_API_KEY"] = listening.key
    os.execv(found, vllm_command(weights, base, rank, listening))
