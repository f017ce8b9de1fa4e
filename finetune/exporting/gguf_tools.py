"""llama.cpp's own tools: where they are found, and what is done with them. Writes nothing by itself."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from finetune.errors import MachineError, ModelError
from finetune.exporting.gguf_reading import llama_cpp_there
from finetune.machine import installed

CONVERTER = "convert_hf_to_gguf.py"
FOLDER = "LLAMA_CPP"
"""Variable that names a checkout of llama.cpp."""
NEEDS_TOOL = {"q4_k_m": "MOSTLY_Q4_K_M"}
"""Quantizations that llama.cpp alone makes -> their name in its library."""
TOLD = 600
"""Characters of a tool's last words that are shown."""


def converter() -> Path | None:
    """llama.cpp's converter: in the folder that LLAMA_CPP names, or on the path."""
    folder = os.environ.get(FOLDER)
    if folder and (Path(folder) / CONVERTER).is_file():
        return Path(folder) / CONVERTER
    found = shutil.which(CONVERTER)
    return Path(found) if found else None


def quantizer() -> str | None:
    """llama-quantize: in the folder that LLAMA_CPP names, or on the path."""
    return in_folder("llama-quantize") or shutil.which("llama-quantize")


def in_folder(tool: str) -> str | None:
    """One of llama.cpp's programs in the folder that LLAMA_CPP names."""
    folder = os.environ.get(FOLDER)
    for place in ("", "build/bin", "bin"):
        if folder and (found := shutil.which(tool, path=str(Path(folder) / place))):
            return found
    return None


def refuse_missing(quantization: str) -> None:
    """MachineError if what writes the file or makes the quantization is not there."""
    if not installed("gguf"):
        raise MachineError("writing GGUF files needs gguf: pip install 'finetune-recipes[export]'")
    if quantization in NEEDS_TOOL and quantizer() is None and not llama_cpp_there():
        raise MachineError(missing_text(quantization))


def missing_text(quantization: str) -> str:
    return (
        f"--quantization {quantization} needs llama.cpp: install llama-cpp-python (pip install "
        "'finetune-recipes[llama]'), or set LLAMA_CPP to the folder of a built llama.cpp; f16 and q8_0 need neither"
    )


def convert(tool: Path, folder: Path, path: Path, quantization: str, facts: Mapping[str, float]) -> None:
    """`facts`: what the file shall say beside. ModelError with the converter's last words if it fails."""
    said = path.with_suffix(".json")
    said.write_text(json.dumps(facts), "utf-8")
    command = [sys.executable, str(tool), str(folder), "--outfile", str(path), "--outtype", quantization]
    try:
        _ran([*command, "--metadata", str(said)], f"llama.cpp's converter ({tool})")
    finally:
        said.unlink()


def quantize(path: Path, quantized: Path, quantization: str) -> None:
    """A file in 16 or 32 bits -> one in fewer."""
    tool = quantizer()
    if tool is not None:
        _ran([tool, str(path), str(quantized), quantization.upper()], tool)
        return
    import llama_cpp

    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_{NEEDS_TOOL[quantization]}")
    settings.nthread = os.cpu_count() or 1
    with _silent():
        code = llama_cpp.llama_model_quantize(str(path).encode(), str(quantized).encode(), settings)
    if code != 0:
        raise ModelError(f"llama.cpp could not quantize the model to {quantization} (code {code})")


class _silent:
    """What llama.cpp prints by itself stays off the terminal."""

    def __enter__(self) -> None:
        sys.stderr.flush()
        self._kept = os.dup(2), os.dup(1)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.dup2(nowhere, 1)
        os.close(nowhere)

    def __exit__(self, *_: object) -> None:
        for kept, number in zip(self._kept, (2, 1), strict=True):
            os.dup2(kept, number)
            os.close(kept)


def _ran(command: list[str], tool: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise ModelError(f"{tool} failed: {(done.stdout + done.stderr).strip()[-TOLD:]}")
