"""`finetune export RUN --to FORM`: what was trained, for other programs, each with the proof that it is that."""

import argparse
from pathlib import Path

from finetune.commands.merge import add_run

HELP = "export a run for other programs, with a proof"
USE = (("finetune export RUN_DIR --to gguf|ollama|vllm|tgi|...", "for another program, proven to be what was trained"),)
LONG = True
FORMS = ("safetensors", "gguf", "ollama", "vllm", "tgi")
QUANTIZATIONS = ("f32", "f16", "bf16", "q8_0", "q4_k_m")


def arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--to", required=True, choices=FORMS, help="for which program")
    parser.add_argument("--quantization", choices=QUANTIZATIONS, help="number format of gguf and ollama (default: f16)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write it (default: RUN_DIR/gguf, ...)")


def run(parsed: argparse.Namespace) -> int:
    from finetune.exporting.finished import finished_run
    from finetune.exporting.flow import Wish, quiet
    from finetune.exporting.places import check_place, written
    from finetune.exporting.targets import TARGETS, check_target, default_output, refuse_ahead
    from finetune.screen import Screen
    from finetune.stopping import raise_on_signals

    target, quantization = TARGETS[parsed.to], parsed.quantization or "f16"
    check_target(parsed.to, parsed.quantization)
    found = finished_run(parsed.run)
    if target.packs:
        refuse_ahead(found, quantization)
    output = parsed.output or default_output(parsed.run, parsed.to)
    check_place(output, parsed.overwrite)
    screen = Screen()
    for note in found.notes:
        screen.say(note)
    raise_on_signals()
    quiet()
    with written(output, parsed.overwrite) as place:
        target.export(Wish(found, output, parsed.overwrite, parsed.base, parsed.prompts), place, screen, quantization)
    screen.say(f"exported: {output}")
    return 0
