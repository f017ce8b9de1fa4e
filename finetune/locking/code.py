"""A file of Python -> what it imports: files that are no installed package's, and the packages that are. Reads code
from its syntax tree; runs and imports none of it."""

import ast
import functools
import importlib.metadata
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PLACES = [Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib", "platstdlib")]
"""Where installed packages and Python's own lie."""


@dataclass
class Imported:
    """`files`: name -> path of code that lies in no installed package; `packages`: names as pip has them."""

    files: dict[str, str] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)


def imported(file: str) -> Imported:
    """By the file and, further, by what it imports from beside installed packages."""
    found, seen = Imported(), {Path(file).resolve()}
    waiting = [Path(file)]
    while waiting:
        for name in dict.fromkeys(_tops(waiting.pop())):
            for path in _sources(name, found):
                if path.resolve() not in seen:
                    seen.add(path.resolve())
                    waiting.append(path)
    return found


def _tops(path: Path) -> Iterator[str]:
    """The first part of each imported name."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # whoever runs it says so
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _sources(name: str, found: Imported) -> list[Path]:
    """The files of a module that is no installed package's; what is installed is added to its packages."""
    if name in sys.stdlib_module_names or name == "finetune":
        return []
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return []
    if spec is None:
        return []
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    origin = Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    first = places[0] if places else origin
    if first is None or any(first.resolve().is_relative_to(place) for place in PLACES):
        found.packages.update(_packages().get(name, ()))
        return []
    paths = [path for place in places for path in sorted(place.rglob("*.py"))] or [origin or first]
    found.files |= {path.relative_to(first.parent).as_posix(): str(path) for path in paths}
    return paths


@functools.cache
def _packages() -> Mapping[str, list[str]]:
    """Name to import -> the installed packages that bring it."""
    return importlib.metadata.packages_distributions()
