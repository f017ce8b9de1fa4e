"""README.md -> the page on PyPI, where no link can lead to a file of this repository: links lead to the repository's
pages of this version where pyproject.toml names it, and are plain words where it does not."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])+)\]\((?![a-z]+:|#)([^)\s]+)\)")
"""A link that leads into the repository: its words, and the file."""


def page(readme: str, repository: str | None, version: str) -> str:
    """`repository`: the address of its front page. What stands in fences is left as it is."""
    instead = r"\1" if repository is None else rf"[\1]({repository.rstrip('/')}/blob/v{version}/\2)"
    return "".join(part if part.startswith("```") else LINK.sub(instead, part) for part in FENCE.split(readme))


class CustomMetadataHook(MetadataHookInterface):
    """Named in pyproject.toml under tool.hatch.metadata.hooks."""

    def update(self, metadata: dict[str, Any]) -> None:
        root = Path(self.root)
        code = (root / "finetune" / "__init__.py").read_text("utf-8")
        found = re.search(r'^__version__ = "(.+)"$', code, re.MULTILINE)
        assert found, "finetune/__init__.py says the version"
        repository = metadata.get("urls", {}).get("Repository")
        text = page((root / "README.md").read_text("utf-8"), repository, found[1])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
