"""llama.cpp's own server, where it is found, asked what its jinja makes of prompts. Judges nothing."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.errors import MachineError
from finetune.exporting.gguf_tools import in_folder

START_SECONDS = 120.0
ASK_SECONDS = 30.0


def server() -> str | None:
    """llama-server: in the folder that LLAMA_CPP names, or on the path."""
    return in_folder("llama-server") or shutil.which("llama-server")


def prompts_of(tool: str, path: Path, talks: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
    """The text that the server makes of each conversation, by the template in the file. MachineError if it does not
    start or does not answer."""
    import httpx

    with _started(tool, path) as address, httpx.Client(base_url=address, timeout=ASK_SECONDS, trust_env=False) as http:
        try:
            answers = [http.post("/apply-template", json={"messages": [dict(turn) for turn in talk]}) for talk in talks]
            return [str(answer.raise_for_status().json()["prompt"]) for answer in answers]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise MachineError(f"{tool} did not answer: {error}") from None


@contextlib.contextmanager
def _started(tool: str, path: Path) -> Iterator[str]:
    """Where it listens, for this machine alone, and on no more memory than the file takes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = path.with_suffix(".log")
    command = [tool, "-m", str(path), "--host", "127.0.0.1", "--port", str(port), "--jinja"]
    command += ["-c", "256", "-np", "1", "-ngl", "0", "--no-warmup"]
    with told.open("w") as log:
        running = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait(running, f"http://127.0.0.1:{port}", tool, told)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.kill()
        running.wait()
        told.unlink()


def _wait(running: "subprocess.Popen[bytes]", address: str, tool: str, told: Path) -> None:
    import httpx

    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and running.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{address}/health", trust_env=False).status_code == 200:
                return
        time.sleep(0.2)
    words = [line.strip() for line in told.read_text("utf-8", "replace").splitlines() if "error" in line.lower()]
    raise MachineError(f"{tool} did not start: {(words or ['it said nothing'])[0][:300]}")
