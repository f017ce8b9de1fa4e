"""The command line: what there is to say, in which order, with which exit code. Every decision is made below it."""

import argparse
import gc
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from finetune import __version__
from finetune.errors import (
    EXIT_CODES,
    DataError,
    Fault,
    FinetuneError,
    ModelError,
    RecipeError,
    RunFolderError,
    UsageError,
    Where,
)

if TYPE_CHECKING:  # each command imports only what it needs: `--help` and `schema` stay quick
    from finetune.machine import Machine
    from finetune.plan import Plan
    from finetune.recipe.load import Checked

COMMANDS = ("train", "validate", "plan", "chat", "schema", "doctor")
LONG = ("train", "chat", "doctor")

DESCRIPTION = """Fine-tune a language model from one YAML recipe.

  finetune recipes/quickstart.yaml                     train (the same as: finetune train RECIPE)
  finetune RECIPE learning_rate=1e-4 datasets.0.path=my.jsonl
                                                       with overrides, checked like the recipe itself
  finetune validate recipes/ mine.yaml                 check recipes: every fault with file:line:column
  finetune plan RECIPE [--gpu 24] [--json]             every library call a run would make, without a GPU
  finetune chat outputs/quickstart [--prompt TEXT]     talk to what was trained
  finetune schema > recipe.schema.json                 the JSON Schema of a recipe, for editors and CI
  finetune doctor                                      what is installed, what works, what to install"""


def _parser() -> argparse.ArgumentParser:
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    parser = argparse.ArgumentParser(
        prog="finetune",
        description=DESCRIPTION,
        epilog=f"exit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"finetune {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    train = commands.add_parser("train", help="train a recipe; the word may be left out")
    train.add_argument("recipe", type=Path)
    train.add_argument("overrides", nargs="*", metavar="key=value")
    train.add_argument("--overwrite", action="store_true", help="replace the run that output_dir holds")

    validate = commands.add_parser("validate", help="check recipes (files and folders)")
    validate.add_argument("paths", nargs="+", type=Path, metavar="PATH")

    plan = commands.add_parser("plan", help="show every call a run would make")
    plan.add_argument("recipe", type=Path)
    plan.add_argument("overrides", nargs="*", metavar="key=value")
    plan.add_argument("--gpu", metavar="GB", help="plan for one GPU of this size instead of this machine")
    plan.add_argument("--json", action="store_true", help="as JSON")

    chat = commands.add_parser("chat", help="talk to what a run trained")
    chat.add_argument("run", type=Path, metavar="RUN_DIR")
    chat.add_argument("--prompt", help="answer this and exit")

    commands.add_parser("schema", help="print the JSON Schema of a recipe")
    commands.add_parser("doctor", help="what is installed, what works, what to install")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is one of EXIT_CODES. A user's mistake never shows a traceback."""
    gc.disable()  # a fifth of a short command is the collector looking at freshly imported classes
    arguments = list(sys.argv[1:] if argv is None else argv)
    first = next((word for word in arguments if not word.startswith("-")), None)
    if first is not None and first not in COMMANDS:
        meant = _meant_command(first)
        if meant:
            print(f"finetune: there is no command `{first}`; did you mean `{meant}`?", file=sys.stderr)
            return UsageError.exit_code
        arguments.insert(0, "train")
    parser = _parser()
    parsed, rest = parser.parse_known_args(arguments)
    if rest and (not hasattr(parsed, "overrides") or any(word.startswith("-") or "=" not in word for word in rest)):
        parser.error(f"not understood: {' '.join(rest)}")
    if rest:
        parsed.overrides += rest  # argparse does not take positional words again after an option
    try:
        if parsed.command in LONG:
            gc.enable()
        return HANDLERS[parsed.command](parsed)
    except FinetuneError as error:
        _print_faults(error.faults)
        for note in getattr(error, "__notes__", ()):
            print(note, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        print("stopped at once; nothing was saved after what the run folder holds", file=sys.stderr)
        for note in getattr(stop, "__notes__", ()):
            print(note, file=sys.stderr)
        return 128 + getattr(stop, "number", 2)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output is gone, and Python would complain about flushing to it
        return 0
    finally:
        gc.enable()


def _meant_command(word: str) -> str | None:
    """The command a word is close to, unless it looks like a recipe's path."""
    if "." in word or "/" in word or Path(word).exists():
        return None
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, COMMANDS, n=1, cutoff=0.7)), None)


def _print_faults(faults: Sequence[Fault]) -> None:
    for fault in faults:
        print(fault, file=sys.stderr)


def _train(parsed: argparse.Namespace) -> int:
    from finetune.machine import probe
    from finetune.recipe.load import load_recipe
    from finetune.runner import Request, run

    checked = load_recipe(parsed.recipe, parsed.overrides)
    _print_faults(checked.notes)
    machine = probe()
    plan = _resolved(checked, machine)
    request = Request(parsed.recipe, parsed.overrides, checked.recipe.output_dir, parsed.overwrite)
    try:
        return run(request, plan, machine)
    except FinetuneError as error:
        error.faults = tuple(_at_its_line(fault, error, checked) for fault in error.faults)
        raise


SUBJECTS = {ModelError: "base_model", DataError: "datasets", RunFolderError: "output_dir"}
"""The key to point at where a fault names none that the recipe holds."""


def _at_its_line(fault: Fault, error: FinetuneError, checked: "Checked") -> Fault:
    """The fault at the line of the first written key that its message names."""
    if fault.where is not None:
        return fault
    words = fault.message.replace(":", " ").replace("`", " ").replace(".", " ").split()
    named = next((word for word in words if (word,) in checked.source.lines), SUBJECTS.get(type(error)))
    return replace(fault, where=checked.source.where((named,) if named else ()))


def _resolved(checked: "Checked", machine: "Machine") -> "Plan":
    """The Plan; a refused key is shown at its line."""
    from finetune.resolve import Refused, resolve

    try:
        return resolve(checked.recipe, machine)
    except Refused as refused:
        raise RecipeError(
            *(Fault(message, checked.source.where((key,))) for key, message in refused.findings)
        ) from None


def _validate(parsed: argparse.Namespace) -> int:
    from finetune.judge import idle_lines
    from finetune.machine import Machine, assumed
    from finetune.recipe.load import load_recipe

    # What changes something on a GPU or without one is no idle line.
    machines = (assumed(), Machine(packages=assumed().packages))
    wrong = 0
    files = _recipe_files(parsed.paths)
    for path in files:
        try:
            checked = load_recipe(path)
            for machine in machines:
                _resolved(checked, machine)
        except RecipeError as error:
            wrong += 1
            _print_faults(error.faults)
            continue
        notes = [*checked.notes, *idle_lines(checked, machines)]
        _print_faults(sorted(notes, key=lambda fault: fault.where or Where("")))
        print(f"{path}: valid")
    if len(files) > 1:
        print(f"{len(files) - wrong} of {len(files)} recipes are valid")
    return RecipeError.exit_code if wrong else 0


def _recipe_files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
            found = sorted({*path.rglob("*.yaml"), *path.rglob("*.yml")})
            if not found:
                raise UsageError(f"{path}: there is no .yaml or .yml file in this folder")
            files += found
        else:
            files.append(path)
    return files


def _plan(parsed: argparse.Namespace) -> int:
    from finetune.machine import assumed, probe
    from finetune.recipe.load import load_recipe

    checked = load_recipe(parsed.recipe, parsed.overrides)
    machine = assumed(_gigabytes(parsed.gpu)) if parsed.gpu is not None else probe()
    plan = _resolved(checked, machine)
    _print_faults(checked.notes)
    if parsed.json:
        print(json.dumps(plan.as_json(), indent=2, ensure_ascii=False))
        return 0
    for note in plan.notes:
        print(f"# {note}")
    for blocker in plan.blockers:
        print(f"# this machine cannot run it: {blocker}")
    for stage, call in plan.each():
        print(f"\n[{stage}] {call.target}")
        for name, value in call.arguments.items():
            print(f"    {name} = {json.dumps(value, ensure_ascii=False)}")
        for name in call.runtime:
            print(f"    {name} = <made while running>")
    return 0


def _gigabytes(text: str) -> float:
    try:
        size = float(text.upper().removesuffix("GB").removesuffix("G"))
    except ValueError:
        raise UsageError(f"--gpu {text}: write the size in GB, for example --gpu 24") from None
    if not 0 < size < 10_000:
        raise UsageError(f"--gpu {text}: no GPU has that size")
    return size


def _chat(parsed: argparse.Namespace) -> int:
    from finetune.chat import chat

    return chat(parsed.run, parsed.prompt)


def _schema(parsed: argparse.Namespace) -> int:
    del parsed
    from finetune.schema import schema_text

    print(schema_text(), end="")
    return 0


def _doctor(parsed: argparse.Namespace) -> int:
    del parsed
    from finetune.doctor import doctor

    return doctor()


HANDLERS: dict[str, Callable[[argparse.Namespace], int]] = {
    "train": _train,
    "validate": _validate,
    "plan": _plan,
    "chat": _chat,
    "schema": _schema,
    "doctor": _doctor,
}
