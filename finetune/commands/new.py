"""`finetune new`: a first recipe for a model, data and GPU, asked for on a terminal. Decides what is asked, where the
file goes and that it passes its own check before it is written; what it says is decided in finetune.starting."""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from finetune.commands.checking import print_faults, resolved
from finetune.errors import Fault, FinetuneError, RecipeError, UsageError

if TYPE_CHECKING:
    from finetune.starting.choices import Choices
    from finetune.starting.data import Data
    from finetune.starting.model import Model
    from finetune.starting.text import Place

HELP = "write a first recipe for your model and data"
USE = (("finetune new [FILE] [--model M] [--data D] [--gpu 24]", "write a first recipe; asks for what is not named"),)
LONG = False

MODEL = "Qwen/Qwen2.5-1.5B-Instruct"
DATA = "mlabonne/FineTome-100k"
METHODS = ("lora", "qlora", "full")
ENDINGS = (".yaml", ".yml")
Found = TypeVar("Found")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=Path, default=Path("recipe.yaml"), metavar="FILE")
    parser.add_argument("--model", metavar="HUB_ID_OR_FOLDER", help=f"the model to train (default: {MODEL})")
    parser.add_argument("--data", metavar="PATH_OR_HUB_ID", help="a .jsonl, .json, .csv or .parquet file, or a hub id")
    parser.add_argument("--method", choices=METHODS, help="how to train (default: what fits the GPU)")
    parser.add_argument("--gpu", metavar="GB|none", help="memory of the GPU (default: this machine's)")
    parser.add_argument("--force", action="store_true", help="replace FILE")


def run(parsed: argparse.Namespace) -> int:
    from finetune.starting.text import recipe_text

    refuse_place(parsed.file, parsed.force)
    try:
        asking = _Asking(sys.stdin.isatty() and sys.stdout.isatty())
        model, data, chosen = _wanted(parsed, asking)
        place = _place(parsed.file)
        folder = parsed.file.parent
        text = recipe_text(_beside(model, folder), _beside(data, folder), chosen, place)
        notes = _write(parsed.file, text, parsed.force)
    except (KeyboardInterrupt, EOFError):
        print("\nstopped; nothing was written", file=sys.stderr)
        return 130
    for line in asking.assumed:
        print(f"taken, since it was not named: {line}")
    print(f"{parsed.file}: written. {chosen.method} for {model.short} ({model.size} parameters, {model.size_from})")
    print_faults([*(Fault(text, severity="warning") for text in (data.todo, chosen.fault) if text), *notes])
    print(f"Read it, then: finetune validate {place.file}")
    return 0


class _Asking:
    """Answers to what was not named: a person's on a terminal, else the default, which is then said."""

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal
        self.assumed: list[str] = []

    def __call__(self, option: str, question: str, default: str, read: Callable[[str], Found]) -> Found:
        """The answer as `read` understands it; on a terminal, asked again until it does."""
        if not self.terminal:
            self.assumed.append(f"--{option} {default}")
            return read(default)
        from rich.prompt import Prompt

        while True:
            try:
                return read(Prompt.ask(question, default=default))
            except FinetuneError as error:
                print_faults(error.faults)


def _wanted(parsed: argparse.Namespace, ask: _Asking) -> "tuple[Model, Data, Choices]":
    """What was named is looked at before anything is asked, so that its faults cost no answers."""
    from finetune.starting.choices import choose, proposed_method
    from finetune.starting.data import look_at_data
    from finetune.starting.model import look_at_model

    model = look_at_model(parsed.model) if parsed.model is not None else None
    data = look_at_data(parsed.data) if parsed.data is not None else None
    gpu = (gigabytes(parsed.gpu),) if parsed.gpu is not None else None
    model = model or ask("model", "Model to train: a hub id or a folder", MODEL, look_at_model)
    data = data or ask("data", "Data: a file or a hub id", _usual_data(), look_at_data)
    size = (gpu or (ask("gpu", "Memory of the GPU in GB, or none", _this_gpu(), gigabytes),))[0]
    method = parsed.method
    if method is None:
        method = ask("method", "Method: lora, qlora or full", proposed_method(model, size), _method)
    chosen = choose(model, data, size, method)
    if ask.terminal and chosen.fault and method != "qlora":
        print(chosen.fault, file=sys.stderr)
        chosen = choose(model, data, size, ask("method", "Method", "qlora", _method))
    return model, data, chosen


def gigabytes(text: str) -> float | None:
    """A GPU's size from `24`, `24GB` or `none`. UsageError for anything else."""
    if text.strip().lower() in ("none", "no", "cpu", "0"):
        return None
    try:
        size = float(text.strip().upper().removesuffix("GB").removesuffix("G"))
    except ValueError:
        raise UsageError(f"--gpu {text}: write the size in GB, for example --gpu 24, or --gpu none") from None
    if not 0 < size < 10_000:
        raise UsageError(f"--gpu {text}: no GPU has that size")
    return size


def _method(text: str) -> str:
    if text.strip().lower() not in METHODS:
        raise UsageError(f"{text!r} is no method; write {', '.join(METHODS)}")
    return text.strip().lower()


def _usual_data() -> str:
    """The one data file of the working directory, or a dataset of the hub."""
    found = sorted(path for path in Path().glob("*") if path.suffix in (".jsonl", ".csv") and path.is_file())
    return str(found[0]) if len(found) == 1 else DATA


def _this_gpu() -> str:
    from finetune.machine import probe

    gpus = probe().gpus
    # A GPU that shares the host's memory tells no size of its own.
    return f"{round(gpus[0].memory_gib) or 16}" if gpus else "none"


def refuse_place(path: Path, force: bool) -> None:
    """UsageError, before anything is asked, where the recipe could not be written."""
    try:
        if path.suffix.lower() not in ENDINGS:
            raise UsageError(f"{path}: a recipe's name ends in .yaml")
        if path.is_dir():
            raise UsageError(f"{path} is a folder; name a file in it")
        if os.path.lexists(path) and not force:
            raise UsageError(f"{path} is there already. Name another file, or replace it with --force")
        if not path.parent.is_dir():
            raise UsageError(f"there is no folder {path.parent}; make it first")
    except (OSError, ValueError) as error:
        raise UsageError(_unwritable(path, error)) from None
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{path} cannot be written: the folder {path.parent} is not writable")


def _unwritable(path: Path, error: Exception) -> str:
    return f"{str(path)[:200]!r} cannot be written: {getattr(error, 'strerror', None) or error}"


def _place(file: Path) -> "Place":
    import shlex

    from finetune.starting.text import Place

    return Place(shlex.quote(str(file)), f"outputs/{file.stem}", schema_of(file.parent))


def schema_of(folder: Path) -> str | None:
    """The schema's address as the project publishes it, or its place where it lies beside the recipe or above."""
    for up, above in enumerate((folder.absolute(), *folder.absolute().parents)):
        for name in ("recipe.schema.json", "schemas/recipe.schema.json"):
            if (above / name).is_file():
                return "../" * up + name
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        addresses = metadata("finetune-recipes").get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    found = (line.split(",", 1)[-1].strip().rstrip("/").removesuffix(".git") for line in addresses)
    repository = next((url.split("github.com/")[1] for url in found if "github.com/" in url), "")
    owner, _, name = repository.partition("/")
    if not name:
        return None
    return f"https://raw.githubusercontent.com/{owner}/{name.split('/')[0]}/main/schemas/recipe.schema.json"


def _beside(found: Found, folder: Path) -> Found:
    """A model or data with its path as the recipe must write it: relative to the recipe, so that it is found from
    wherever the run is started; absolute where that would be a long way or lead astray through links."""
    key = "name" if hasattr(found, "name") else "path"
    text = getattr(found, key)
    if text.startswith("~") or Path(text).is_absolute() or not os.path.exists(text):  # noqa: PTH110
        return found
    relative = os.path.relpath(text, folder)
    there = os.path.normpath(folder / relative)
    if relative.startswith("../../..") or not (os.path.exists(there) and os.path.samefile(there, text)):  # noqa: PTH110, PTH121
        relative = str(Path(text).absolute())
    return replace(found, **{key: relative})  # type: ignore[type-var]


def _write(path: Path, text: str, force: bool) -> tuple[Fault, ...]:
    """Check the text where it will lie, then give it its name whole; what should be said about it. UsageError if it
    cannot be written or does not pass."""
    target = path.resolve() if path.is_symlink() else path
    partial = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        with partial.open("x", encoding="utf-8") as file:
            file.write(text)
        notes = _checked(partial)
        if os.path.lexists(target) and not force:
            raise UsageError(f"{path} has come to be there meanwhile; nothing was written")
        partial.replace(target)
    except (OSError, ValueError) as error:
        raise UsageError(_unwritable(path, error)) from None
    except RecipeError as error:
        reasons = "; ".join(fault.message for fault in error.faults)
        raise UsageError(f"nothing was written, since the recipe would not pass its own check: {reasons}") from None
    finally:
        partial.unlink(missing_ok=True)
    return tuple(replace(note, where=replace(note.where, file=str(path)) if note.where else None) for note in notes)


def _checked(path: Path) -> list[Fault]:
    """What `validate` would say. RecipeError where the recipe does not stand."""
    from finetune.judge import idle_lines
    from finetune.machine import Machine, assumed
    from finetune.recipe.load import load_recipe

    machines = (assumed(), Machine(packages=assumed().packages))
    checked = load_recipe(path)
    for machine in machines:
        resolved(checked, machine)
    return [*checked.notes, *idle_lines(checked, machines)]
