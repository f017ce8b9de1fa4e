"""`finetune lock`: write down beside a recipe what it trains (commits, bytes, calls, tokens and labels, versions), or
see whether that still holds."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.commands.checking import print_faults, recipe_files, resolved
from finetune.commands.freezing import fault_of, judged, kept_commit, no_lock, refuse
from finetune.errors import DriftError, FinetuneError, MachineError, UsageError
from finetune.machine import installed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from finetune.locking.commits import Repository
    from finetune.locking.lock import Lock
    from finetune.recipe.load import Checked

HELP = "write down beside a recipe what it trains"
USE = (
    ("finetune lock RECIPE... [--check]", "commits, digests, tokens and versions in RECIPE.lock, for review"),
    ("finetune RECIPE --frozen", "train that or nothing; also for plan, validate, preview, preprocess"),
)
LONG = True


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="RECIPE")
    parser.add_argument("--check", action="store_true", help="write nothing; say what is not as locked (exit code 10)")
    parser.add_argument("--update", action="store_true", help="take the newest commits; else locked ones are kept")
    parser.add_argument("--offline", action="store_true", help="ask no hub: commits as they were downloaded")
    parser.add_argument(
        "--other-versions", action="store_true", help="with --check: libraries may have other versions than locked"
    )


def run(parsed: argparse.Namespace) -> int:
    if parsed.check and parsed.update:
        raise UsageError("--check keeps to what is locked, and --update does not: leave one out")
    wrong = next((path for path in parsed.paths if "=" in str(path) and not path.exists()), None)
    if wrong is not None:
        raise UsageError(f"{wrong}: a lock is of the recipe as it stands in its file; write the value there")
    if lacking := [name for name in ("transformers", "datasets") if installed(name) is None]:
        raise MachineError(
            f"{' and '.join(lacking)} make tokens of the data, and are not installed; see finetune doctor"
        )
    if parsed.offline:
        from finetune.locking.commits import go_offline

        go_offline()
    files, code = recipe_files(parsed.paths), 0
    for path in files:
        try:
            _check(path, parsed) if parsed.check else _write(path, parsed)
        except FinetuneError as error:
            if len(files) == 1:
                raise
            print_faults(error.faults)
            code = code or error.exit_code
    return code


def _write(path: Path, parsed: argparse.Namespace) -> None:
    from finetune.commands.preview import write
    from finetune.locking.drift import moved, moved_rows
    from finetune.locking.lock import path_of, read

    target = path_of(path)
    try:
        kept = read(target)
    except DriftError:
        kept = None  # that is what it is written anew for
    checked, now = _locked(path, kept, parsed.update)
    text = now.text()
    if kept is not None and kept.text() == text:
        print(f"{target}: holds, nothing moved")
        return
    for one in [*moved(kept, now), *moved_rows(kept.trained, now.trained)] if kept else ():
        print(f"{checked.source.where(one.place)}: {one}" if one.place else f"{target}: {one}")
    write(target, text)


def _locked(path: Path, kept: "Lock | None", update: bool) -> "tuple[Checked, Lock]":
    """What the recipe would train now, whole, and the recipe with its commits."""
    from finetune.locking.making import lock_of, raw_values, trained_of
    from finetune.locking.pinning import pinned_plan, pinned_recipe
    from finetune.machine import probe
    from finetune.noise import quiet_libraries
    from finetune.previewing import prepare, tokenizer_alone
    from finetune.recipe.load import load_recipe

    checked = load_recipe(path)
    print_faults(checked.heard(checked.notes))
    inputs = {} if kept is None else kept.inputs
    now = lock_of(checked, raw_values(path, ()), inputs, _commits(inputs, update))
    pinned = replace(checked, recipe=pinned_recipe(checked.recipe, now.inputs))
    plan = pinned_plan(resolved(pinned, probe()), checked.recipe, now.inputs)
    tokenizer_alone(plan)
    quiet_libraries(bars=False)
    looked = prepare(plan)
    for note in looked.notes[len(looked.data.notes) :]:
        print(f"{path}: {note}")
    return pinned, replace(now, trained=trained_of(pinned, looked.data, looked.tokenizer))


def _commits(inputs: "Mapping[str, Any]", update: bool) -> "Callable[[Repository], str | None]":
    from finetune.locking.commits import commit_of

    kept = kept_commit(inputs)

    def commit(what: "Repository") -> str | None:
        return (None if update else kept(what)) or commit_of(what)

    return commit


def _check(path: Path, parsed: argparse.Namespace) -> None:
    """DriftError with what moved."""
    from finetune.locking.drift import moved_rows
    from finetune.locking.lock import path_of, read

    kept = read(path_of(path))
    if kept is None:
        raise no_lock(path)
    checked, now = _locked(path, kept, update=False)
    asked = argparse.Namespace(recipe=path, frozen=True, other_versions=parsed.other_versions)
    mend = f"accept it with: finetune lock {path}"
    rows = [fault_of(one, checked, mend) for one in moved_rows(kept.trained, now.trained)]
    refuse([*judged(asked, checked, kept, now, trains=True), *rows], checked)
    print(f"{path_of(path)}: holds")
