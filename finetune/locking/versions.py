"""A package's name -> its version as a lock has it: without what tells builds for a CPU from those for a GPU, and with
what tells two states of one version where it is no release. Imports no package."""

import importlib.metadata
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import finetune
from finetune.locking.digests import bare, of_files, of_json
from finetune.machine import installed

PROGRAM = "finetune"
SHOWN = 12


def version_of(name: str) -> str | None:
    """None for what is not installed."""
    if name == PROGRAM:
        return f"{finetune.__version__}{_of_checkout()}"
    version = installed(name)
    return version and f"{version.partition('+')[0]}{_of_commit(name)}"


def _of_checkout() -> str:
    """Of this program where it runs from a checkout, whose code changes under one version: a digest of the code."""
    package = Path(finetune.__file__).parent
    if not (package.parent / "pyproject.toml").is_file():
        return ""
    files = {path.relative_to(package).as_posix(): str(path) for path in package.rglob("*.py")}
    return f" (code {bare(of_json(of_files(files)))[:SHOWN]})"


def _of_commit(name: str) -> str:
    """Of a package that was installed from a repository: the commit."""
    found: Any = {}
    with suppress(importlib.metadata.PackageNotFoundError, ValueError, OSError):
        found = json.loads(importlib.metadata.distribution(name).read_text("direct_url.json") or "{}")
    commit = found.get("vcs_info", {}).get("commit_id") if isinstance(found, dict) else None
    return f" (commit {commit[:SHOWN]})" if commit else ""
