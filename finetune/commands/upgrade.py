"""`finetune upgrade`: old spellings in recipe files, rewritten in place. Decides how files are read, written and
reported; what is rewritten, and how, is not known here."""

import argparse
import contextlib
import os
import stat
import sys
from pathlib import Path

from finetune.commands.checking import print_faults, recipe_files
from finetune.errors import Fault, RecipeError, Where

HELP = "rewrite old spellings in recipes, in place"
USE = (("finetune upgrade recipes/ mine.yaml [--check] [--diff]", "rewrite old spellings in place, comments kept"),)
LONG = False
BOM = "\ufeff"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 3 if anything would be rewritten")
    parser.add_argument("--diff", action="store_true", help="write nothing; print what would be rewritten as a diff")


def run(parsed: argparse.Namespace) -> int:
    code = 0
    for path in recipe_files(parsed.paths):
        try:
            changed = _upgrade(path, parsed.check, parsed.diff)
        except RecipeError as error:
            print_faults(error.faults)
            code = error.exit_code
        else:
            code = RecipeError.exit_code if changed and parsed.check else code
    return code


def _upgrade(path: Path, check: bool, diff: bool) -> bool:
    """Whether there was something to rewrite. RecipeError, with the file untouched, where that cannot be done."""
    from finetune.recipe.upgrade import upgraded

    raw = _read(path)
    text = raw.decode("utf-8-sig")
    new, changes = upgraded(str(path), text)
    if changes:
        print_faults(_unsaid(path))
    bom = BOM if raw.startswith(BOM.encode()) else ""
    if diff:
        sys.stdout.write(_diff(str(path), bom + text, bom + new))
        return bool(changes)
    if changes and not check:
        _write(path, (bom + new).encode())
    for change in changes:
        print(change)
    lines = f"{len(changes)} old spelling{'s' if len(changes) > 1 else ''}"
    print(f"{path}: " + (f"{lines} {'to rewrite' if check else 'rewritten'}" if changes else "nothing to rewrite"))
    return bool(changes)


def _unsaid(path: Path) -> list[Fault]:
    """What the file means otherwise with Axolotl: rewritten, it may no longer show that it was Axolotl's. Nothing for a
    recipe that does not stand."""
    from finetune.recipe.load import load_recipe

    try:
        return [note for note in load_recipe(path).notes if note.code == "FT032"]
    except RecipeError:
        return []


def _read(path: Path) -> bytes:
    """The bytes of a recipe. RecipeError for what no recipe can be."""
    from finetune.recipe.source import read_file

    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112, PTH113
        raise _refused(path, "this is no regular file, so it cannot be rewritten")
    read_file(path)
    return path.read_bytes()


def _refused(path: Path, message: str) -> RecipeError:
    return RecipeError(Fault(message, Where(str(path))))


def _write(path: Path, content: bytes) -> None:
    """Give the file, or what a link points at, its new content whole or not at all, with the permissions it had."""
    import tempfile

    partial: Path | None = None
    try:
        target = path.resolve()
        old = target.stat()
        if not old.st_mode & stat.S_IWUSR or not os.access(target, os.W_OK):
            raise _refused(path, "the file is read-only, so nothing was rewritten. Make it writable, or upgrade a copy")
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:40]}.", suffix=".part", dir=target.parent)
        partial = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):  # another owner's file: it becomes ours, as with any editor
            os.chown(partial, old.st_uid, old.st_gid)
        partial.chmod(stat.S_IMODE(old.st_mode))
        partial.replace(target)
    except OSError as error:
        raise _refused(path, f"the file cannot be rewritten: {error.strerror or error}") from None
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def _diff(name: str, old: str, new: str) -> str:
    import difflib

    def lines(text: str) -> list[str]:
        # Only \n ends a line of a diff; splitlines knows more.
        return [line + "\n" for line in text.split("\n")[:-1]] + [line for line in text.split("\n")[-1:] if line]

    found = difflib.unified_diff(lines(old), lines(new), f"{name}\t(old)", f"{name}\t(today)")
    return "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in found)
