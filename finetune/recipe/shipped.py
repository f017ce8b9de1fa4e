"""The recipes that come with the program and the tested set of versions: where they lie and what one is for. Reads no
recipe."""

import re
from pathlib import Path

from finetune.errors import MachineError, UsageError


def root() -> Path:
    """The folder that holds recipes/ and constraints.txt: inside the installed package, else the checkout's."""
    package = Path(__file__).parents[1]
    for place in (package / "share", package.parent):
        if (place / "recipes").is_dir() and (place / "constraints.txt").is_file():
            return place
    raise MachineError(f"{package} lacks its share/ folder: install finetune-recipes anew")


def recipes() -> dict[str, Path]:
    """Name, as `finetune recipes` takes it -> file."""
    folder = root() / "recipes"
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}


def purpose(path: Path) -> str:
    """The first sentence of the comment at a recipe's beginning, without the facts (`data:   …`) that follow it."""
    told: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        text = line.removeprefix("#").strip()
        if not line.startswith("#") or (told and not text) or re.match(r"[a-z ]+:  +\S", text):
            break
        told += [text] if text else []
    return re.split(r"(?<=[\w)\]])\.\s(?=[A-Z0-9`])", " ".join(told), maxsplit=1)[0].rstrip(".")


def tested_set() -> str:
    """The versions that were tested together, in pip's form of a constraints file."""
    return (root() / "constraints.txt").read_text(encoding="utf-8")


def hint(path: str) -> str:
    """What to add to an error about a recipe that is not there, where one of its name is shipped."""
    key = Path(path).stem
    try:
        return f"; `finetune recipes {key}` writes the shipped one" if key in recipes() else ""
    except (MachineError, OSError):
        return ""


def named(name: str) -> Path:
    """The file of a name, with or without recipes/ and .yaml. UsageError for a name that is not shipped."""
    known = recipes()
    key = name.removeprefix("recipes/").removesuffix(".yaml")
    if key in known:
        return known[key]
    from difflib import get_close_matches

    close = get_close_matches(key, known, 1)
    meant = f"; did you mean `{close[0]}`?" if close else "; `finetune recipes` lists them"
    raise UsageError(f"no recipe of the name {name!r} is shipped{meant}")
