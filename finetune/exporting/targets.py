"""Every form in which a run can be exported, and how each is made and proven. Adding one is a function and a line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune.errors import ModelError, UsageError
from finetune.exporting.flow import Wish, merge_into, merge_run, prove_folder, settle
from finetune.exporting.gguf_export import QUANTIZATIONS, make_gguf, model_name, prove_gguf, refuse_ahead
from finetune.exporting.merging import load_tokenizer
from finetune.exporting.ollama import OllamaReader, with_note, write_modelfile
from finetune.exporting.places import Place
from finetune.exporting.servers import write_server
from finetune.screen import Screen

Export = Callable[[Wish, Place, Screen, str], None]


@dataclass(frozen=True)
class Target:
    """`export`: makes and proves it; `packs`: whether it takes a quantization; `says`: what it is."""

    export: Export
    packs: bool
    says: str


def _safetensors(wish: Wish, place: Place, screen: Screen, _: str) -> None:
    merge_run(wish, place, screen)


def _gguf(wish: Wish, place: Place, screen: Screen, quantization: str) -> None:
    written = make_gguf(wish, quantization, place.partial, screen)
    with screen.stage("proving the file"):
        proof = prove_gguf(wish, written, quantization)
    _drop_merged(place)
    settle(proof, place, screen)


def _ollama(wish: Wish, place: Place, screen: Screen, quantization: str) -> None:
    written = make_gguf(wish, quantization, place.partial, screen)
    tokenizer = load_tokenizer(place.partial / "merged")
    made = write_modelfile(wish.run, tokenizer, written.begins, written.path)
    with screen.stage("proving file and Modelfile"):
        proof = prove_gguf(wish, written, quantization, lambda inner: OllamaReader(inner, made))
    _drop_merged(place)
    settle(with_note(proof, made), place, screen)
    screen.say(f"next: ollama create NAME -f {place.final / 'Modelfile'}")


def _server(target: str) -> Export:
    def export(wish: Wish, place: Place, screen: Screen, _: str) -> None:
        if wish.run.scores:
            raise ModelError(f"a reward model writes no answers, so {target} has nothing to serve: --to safetensors")
        reference, inventory, numbers = merge_into(wish, place.partial, screen)
        write_server(target, wish.run, place.partial, model_name(wish.run, reference))
        with screen.stage("proving what was written"):
            proof = prove_folder(wish, place.partial, reference, inventory, numbers)
        settle(proof, place, screen)
        screen.say(f"next: {place.final / 'start.sh'}")

    return export


def _drop_merged(place: Place) -> None:
    import shutil

    shutil.rmtree(place.partial / "merged")


TARGETS: Mapping[str, Target] = {
    "safetensors": Target(_safetensors, False, "merged weights, as every Hugging Face program reads them"),
    "gguf": Target(_gguf, True, "one file for llama.cpp, LM Studio and their like"),
    "ollama": Target(_ollama, True, "a GGUF file with the Modelfile that `ollama create` reads"),
    "vllm": Target(_server("vllm"), False, "merged weights with vLLM's start command"),
    "tgi": Target(_server("tgi"), False, "merged weights with text-generation-inference's start command"),
}


def check_target(target: str, quantization: str | None) -> None:
    """UsageError for a quantization where there is none."""
    if quantization is not None and not TARGETS[target].packs:
        raise UsageError(f"--quantization is for --to gguf and ollama; {target} keeps the numbers of the base model")


def default_output(run: Path, target: str) -> Path:
    return run / ("merged" if target == "safetensors" else target)


__all__ = ["QUANTIZATIONS", "TARGETS", "check_target", "default_output", "refuse_ahead"]
