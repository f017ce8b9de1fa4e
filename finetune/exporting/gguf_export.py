"""A finished run -> a proven GGUF file: which tool writes it, and what the proof looks at."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune.errors import MachineError, ModelError
from finetune.exporting import gguf_tools, llama_server
from finetune.exporting.finished import Finished, attention_of
from finetune.exporting.flow import Reference, Wish, merge_into, prove
from finetune.exporting.gguf_file import FILE_TYPES, Source, sampling_facts, text_config, write_gguf
from finetune.exporting.gguf_model import ARCHITECTURES
from finetune.exporting.gguf_reading import PREFIX, GgufReader, LlamaReader, gguf_facts, open_gguf
from finetune.exporting.llama_template import as_trained
from finetune.exporting.merging import load_tokenizer
from finetune.exporting.places import check_space
from finetune.exporting.proof import Proof
from finetune.exporting.readers import Reader
from finetune.generation import prompt_text
from finetune.rendering.template import as_dicts
from finetune.screen import Screen

QUANTIZATIONS = (*FILE_TYPES, *gguf_tools.NEEDS_TOOL)
NUMBERS = {"f32": "float16", "f16": "float16", "bf16": "bfloat16", "q8_0": "q8_0", "q4_k_m": "q4_k_m"}
"""Quantization -> the number format whose rounding the proof allows. llama.cpp looks some functions up in tables of 16
bits, whatever the weights are in."""
SHARE = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 1.07, "q4_k_m": 2.65}
"""Bytes that a number takes at most while the file is made; q4_k_m is made of f16."""

PREFIXED = (
    "llama.cpp puts a space before all text that follows a special token, and this tokenizer puts none where one "
    "stands there already: a chat_template without spaces after its special tokens has no such place"
)


@dataclass(frozen=True)
class Written:
    """A GGUF file with what its proof stands on. `tool`: what wrote it; `begins`: whoever reads it puts the begin token
    before a prompt."""

    path: Path
    reference: Reference
    tool: str
    begins: bool
    reader: GgufReader


def refuse_ahead(run: Finished, quantization: str) -> None:
    """What can be known before anything is loaded."""
    gguf_tools.refuse_missing(quantization)
    if run.scores:
        raise ModelError("a reward model cannot be written as GGUF: llama.cpp writes answers. Export --to safetensors")


def make_gguf(wish: Wish, quantization: str, folder: Path, screen: Screen) -> Written:
    """The file, in a folder, made by way of merged weights that are gone afterwards."""
    refuse_ahead(wish.run, quantization)
    merged = folder / "merged"
    merged.mkdir()
    reference, inventory, _ = merge_into(wish, merged, screen)
    _settle_template(merged)
    check_space(folder, int(inventory.parameters * SHARE[quantization]))
    path = folder / f"{model_name(wish.run, reference)}-{quantization}.gguf"
    with screen.stage(f"writing {path.name}"):
        tool = _write(wish.run, reference, merged, path, quantization)
    longest = max(len(one.ids) for one in reference.measured)
    reader = open_gguf(path, merged, longest + wish.run.answer_tokens + 64, attention_of(wish.run))
    begins = bool(gguf_facts(path).get("tokenizer.ggml.add_bos_token"))
    return Written(path, reference, tool, begins, reader)


def _settle_template(merged: Path) -> None:
    """The file is to hold a template that llama.cpp's server renders as the training did."""
    path = merged / "chat_template.jinja"
    if path.is_file():
        template = path.read_text("utf-8")
        path.write_text(as_trained(template, load_tokenizer(merged).special_tokens_map), "utf-8")


def model_name(run: Finished, reference: Reference) -> str:
    """A file's name that says which base model it is made of; llama.cpp tells the family of a tokenizer by it."""
    base = str(run.keys.get("base_model") or reference.facts["base_model"])
    words = [Path(base).name, run.folder.path.resolve().name]
    return "-".join(filter(None, (re.sub(r"[^A-Za-z0-9._]+", "-", word).strip("-.") for word in words)))


def _write(run: Finished, reference: Reference, merged: Path, path: Path, quantization: str) -> str:
    """What wrote the file: llama.cpp's converter where it is found, else this program."""
    first = path if quantization in FILE_TYPES else path.with_name(f"{path.stem}-f16.gguf")
    kind = quantization if quantization in FILE_TYPES else "f16"
    tool = _converted(run, merged, first, kind) or _own(run, reference, merged, first, kind)
    if first != path:
        gguf_tools.quantize(first, path, quantization)
        first.unlink()
        tool += ", quantized by llama.cpp"
    return tool


def _converted(run: Finished, merged: Path, path: Path, kind: str) -> str | None:
    """By llama.cpp's converter; None where there is none, or it cannot what this program can."""
    found = gguf_tools.converter()
    if found is None:
        return None
    try:
        gguf_tools.convert(found, merged, path, kind, sampling_facts(run.sampling))
    except ModelError:
        if (text_config(merged).get("architectures") or [""])[0] not in ARCHITECTURES:
            raise
        return None
    return f"llama.cpp's {found.name}"


def _own(run: Finished, reference: Reference, merged: Path, path: Path, kind: str) -> str:
    tokenizer = load_tokenizer(merged)
    begins = all(one.ids[:1] == [tokenizer.bos_token_id] for one in reference.measured)
    path.unlink(missing_ok=True)
    write_gguf(Source(merged, tokenizer, run.stop_ids, begins, model_name(run, reference), run.sampling), kind, path)
    return "finetune, with the gguf package"


def prove_gguf(
    wish: Wish, written: Written, quantization: str, put: Callable[[GgufReader], Reader] = lambda inner: inner
) -> Proof:
    """`put`: another way of putting prompts to the file."""
    facts: dict[str, Any] = {
        "artefact": written.path.name,
        "written_by": written.tool,
        "files": {"size": written.path.stat().st_size},
    }
    proof = _with_server(written, prove(wish, put(written.reader), written.reference, NUMBERS[quantization], facts))
    if gguf_facts(written.path).get(PREFIX) and any(not row.ids_equal for row in proof.compared):
        proof = replace(proof, failures=(*proof.failures, PREFIXED))
    if not isinstance(written.reader, LlamaReader):
        return replace(proof, warnings=(*proof.warnings, written.reader.unproven))
    names = written.reference.facts["stop_tokens"]
    dead = [names[token] for token in wish.run.stop_ids if not written.reader.ends(token)]
    written.reader.close()
    if dead:
        return replace(proof, failures=(*proof.failures, f"llama.cpp does not stop at {', '.join(dead)}"))
    return proof


def _with_server(written: Written, proof: Proof) -> Proof:
    """The proof, with what llama.cpp's own server makes of the prompts, where it is found: its jinja is its own."""
    prompts = [prompt for prompt in written.reference.prompts if prompt.messages]
    tool = llama_server.server()
    if tool is None or not prompts:
        return proof
    tokenizer = written.reader.templated
    begin = str(tokenizer.special_tokens_map.get("bos_token") or "")
    try:
        theirs = llama_server.prompts_of(tool, written.path, [as_dicts(prompt.messages) for prompt in prompts])
    except MachineError as error:
        return replace(proof, warnings=(*proof.warnings, f"llama-server could not be asked: {error}"))
    ours = [prompt_text(prompt, tokenizer) for prompt in prompts]
    same = [one.removeprefix(begin) == other.removeprefix(begin) for one, other in zip(ours, theirs, strict=True)]
    if all(same):
        return replace(proof, facts={**proof.facts, "prompts_of_llama_server": f"{len(same)} of {len(same)} equal"})
    shown = theirs[same.index(False)][:200]
    why = f"llama-server makes other prompts of {same.count(False)} of {len(same)} conversations, such as {shown!r}"
    return replace(proof, failures=(*proof.failures, why))
