"""How many recipes of a folder are accepted as they are, after `finetune upgrade`, or refused, and for what.

For whoever has a folder of Axolotl's files. Reads them; only copies are rewritten.

    python scripts/count_recipes.py FOLDER [FOLDER ...] [--most 10]
"""

import argparse
import contextlib
import io
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from finetune.commands.checking import recipe_files, resolved
from finetune.commands.upgrade import run as upgrade
from finetune.errors import Fault, RecipeError
from finetune.machine import assumed
from finetune.recipe.load import load_recipe

NAMED = re.compile(r"`([^`:=]+)")


@dataclass(frozen=True)
class Count:
    """Recipes, and reasons: (code, key) -> how many have it, and how many nothing else."""

    recipes: int
    as_is: int
    upgraded: int
    any_reason: Counter[tuple[str, str]]
    only_reason: Counter[tuple[str, str]]


def errors_of(path: Path) -> tuple[Fault, ...]:
    try:
        resolved(load_recipe(path), assumed())
    except RecipeError as error:
        return error.faults
    return ()


def reason_of(fault: Fault) -> tuple[str, str]:
    """A fault by its code and the key that it names; entries of a list are one."""
    if "is written twice" in fault.message:
        return fault.code, "a key written twice"
    found = NAMED.search(fault.message)
    return fault.code, re.sub(r"\.\d+\.", ".", found.group(1)) if found else fault.message[:40]


def accepted_after_upgrade(path: Path, folder: Path) -> bool:
    """`folder`: where a copy is rewritten."""
    copy = folder / f"copy{path.suffix}"
    shutil.copyfile(path, copy)
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        code = upgrade(argparse.Namespace(paths=[copy], check=False, diff=False))
    return code == 0 and not errors_of(copy)


def count(paths: Sequence[Path]) -> Count:
    as_is = upgraded = 0
    any_reason: Counter[tuple[str, str]] = Counter()
    only_reason: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            reasons = {reason_of(fault) for fault in errors_of(path) if fault.severity == "error"}
            as_is += not reasons
            upgraded += accepted_after_upgrade(path, Path(folder))
            any_reason.update(reasons)
            only_reason.update(reasons if len(reasons) == 1 else ())
    return Count(len(paths), as_is, upgraded, any_reason, only_reason)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--most", type=int, default=10, help="reasons that are listed")
    parsed = parser.parse_args()
    found = count(recipe_files(parsed.folders))
    print(f"{found.recipes} recipes: {found.as_is} accepted as they are, {found.upgraded} after `finetune upgrade`")
    print("\nalone | at all | code  | key\n---: | ---: | --- | ---")
    for reason, alone in found.only_reason.most_common(parsed.most):
        print(f"{alone:>5} | {found.any_reason[reason]:>6} | {reason[0]} | {reason[1]}")


if __name__ == "__main__":
    main()
