"""What the site shows besides docs/: the README as its front page, and each file that a page links to.

A hook of mkdocs (mkdocs.yml names it). It decides where such files lie in the site and turns the links to them, so that
the same pages are right on GitHub and here. A link to no file is left as it is, and fails the build."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parent.parent
FRONT = "README.md"
ASIDE = "repository"
"""The folder of the site for what does not come from docs/."""
KINDS: Mapping[str, str] = {".yaml": "yaml", ".yml": "yaml", ".py": "python", ".toml": "toml", ".sh": "bash"}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^(```.*?^```[ \t]*$)", re.MULTILINE | re.DOTALL)
PIPE_IN_TABLE = re.compile(r"^\|.*\\\|.*$", re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Add the front page, and then what pages link to, and what those link to."""
    wanted = {FRONT: _read(FRONT)}
    queue = [FRONT, *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    while queue:
        here = queue.pop()
        for path in _linked(here):
            if path not in wanted and not path.startswith("docs/"):
                wanted[path] = _page(path)
                queue += [path] if path.endswith(".md") else []
    for path, text in wanted.items():
        shown = InclusionLevel.INCLUDED if path == FRONT else InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, place(path), content=text, inclusion=shown))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as the site has them; a `|` in a table's code as Python-Markdown reads it."""
    here = origin(page.file.src_uri)
    parts = FENCE.split(markdown)
    parts[::2] = [_turned(part, here) for part in parts[::2]]
    return "".join(parts)


def place(path: str) -> str:
    """Where a file of the repository lies in the site, as a page's source."""
    if path == FRONT:
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{ASIDE}/{path}" if path.endswith(".md") else f"{ASIDE}/{path}.md"


def origin(page: str) -> str:
    """The file of the repository that a page of the site shows: the inverse of `place`."""
    if page == "index.md":
        return FRONT
    if not page.startswith(f"{ASIDE}/"):
        return f"docs/{page}"
    path = page.removeprefix(f"{ASIDE}/")
    return path if (ROOT / path).is_file() else path.removesuffix(".md")


def target(here: str, link: str) -> str | None:
    """The file of the repository that a relative link in another leads to; a folder's README. None if there is none."""
    path = os.path.normpath(os.path.join(os.path.dirname(here), link))  # noqa: PTH118, PTH120 - Path keeps `..`
    if (ROOT / path).is_dir():
        path = f"{path}/README.md"
    return path if not path.startswith("..") and (ROOT / path).is_file() else None


def _linked(here: str) -> Iterator[str]:
    for part in FENCE.split(_read(here))[::2]:
        for found in LINK.finditer(part):
            path = target(here, found[1])
            if path is not None:
                yield path


def _turned(text: str, here: str) -> str:
    def turn(found: re.Match[str]) -> str:
        path = target(here, found[1])
        if path is None:
            return found[0]
        return os.path.relpath(place(path), os.path.dirname(place(here)) or ".") + (found[2] or "")  # noqa: PTH120

    return PIPE_IN_TABLE.sub(lambda row: row[0].replace("\\|", "|"), LINK.sub(turn, text))


def _page(path: str) -> str:
    """A file as a page: Markdown as it is, a notebook cell by cell, anything else as code under its name."""
    text = _read(path)
    if path.endswith(".md"):
        return text
    if path.endswith(".ipynb"):
        return "\n\n".join(map(_cell, json.loads(text)["cells"]))
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"# {path}\n\n{fence}{KINDS.get(Path(path).suffix, 'text')}\n{text.rstrip()}\n{fence}\n"


def _cell(cell: Mapping[str, Any]) -> str:
    source = "".join(cell["source"])
    return source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"


def _read(path: str) -> str:
    return (ROOT / path).read_text("utf-8")
