"""Whether this checkout may be released under a tag: prints the tag's section of the list of changes, or what is
missing. Builds nothing.

    python scripts/release_ready.py v0.1.0"""

import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def missing(tag: str, root: Path) -> Iterator[str]:
    """What stands against releasing as `tag`, a sentence each."""
    version = re.search(r'^__version__ = "(.+)"$', (root / "finetune" / "__init__.py").read_text(), re.MULTILINE)
    assert version, "finetune/__init__.py says the version"
    if tag != f"v{version[1]}":
        yield f"the tag is {tag}, and finetune/__init__.py says {version[1]}: mend whichever is wrong"
    heading, date, _ = newest(root)
    if heading != version[1]:
        yield f"CHANGELOG.md begins with {heading}: write what {version[1]} changes above it"
    elif not re.fullmatch(r"\d{4}-\d{2}-\d{2}", date):
        yield f"CHANGELOG.md calls {heading} {date!r}: write the date, as in (2026-11-21)"
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    if "github.com/" not in str(project.get("urls", {}).get("Repository", "")):
        yield (
            "pyproject.toml names no repository, which PyPI's page and the schema's address in new recipes need: add "
            '[project.urls] with Repository = "https://github.com/OWNER/NAME"'
        )
    if "+" in (root / "constraints.txt").read_text():
        yield "constraints.txt pins a local build (a version with +), which PyPI does not have"


def newest(root: Path) -> tuple[str, str, str]:
    """Version, date and text of the uppermost section of the list of changes."""
    parts = re.split(r"^## (\S+) \((.*)\)\n", (root / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    return parts[1], parts[2], parts[3].strip()


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    if len(arguments) != 1:
        print("say the tag: python scripts/release_ready.py v0.1.0", file=sys.stderr)
        return 2
    found = list(missing(arguments[0], root))
    for line in found:
        print(f"error: {line}", file=sys.stderr)
    if not found:
        print(newest(root)[2])
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
