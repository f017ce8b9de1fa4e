"""What a run's files say of this machine, taken out of what is published: its paths become names, and the base model is
called as the hub calls it. Knows no file and sends nothing."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_KEPT_BY_HUB = re.compile(r"models--([\w.-]+?)--([\w.-]+)/snapshots/([0-9a-f]{40})(?:/|$)")
"""How huggingface_hub names the folder of a model that it has downloaded."""
_PART = r"[^\s/\"'`,;()\[\]{}<>|\\]*"
_PATH = re.compile(rf"(?<![\w.~:/<])(?:file://)?(?:~|/{_PART})(?:/{_PART})+")
"""What looks like an absolute path of several parts, in running text."""
OF_EVERYBODY = ("/bin/", "/dev/", "/etc/", "/lib/", "/proc/", "/sbin/", "/sys/", "/usr/")
"""Where paths begin that say nothing of a machine's owner."""
_BASE_LINE = re.compile(r"^(base_model\s*:[ \t]*)[^#\n]*?([ \t]*(?:#.*)?)$", re.MULTILINE)


@dataclass(frozen=True)
class Base:
    """The base model as the hub knows it. `revision`: a commit or branch; empty where none was said."""

    name: str
    revision: str = ""


def base_said(text: str) -> Base | None:
    """Of OWNER/NAME or OWNER/NAME@REVISION; None for anything else."""
    name, _, revision = text.partition("@")
    return Base(name, revision) if HUB_ID.fullmatch(name) else None


def base_of(name: str, directory: Path) -> Base | None:
    """What the hub calls the base model of a recipe; None for a folder of this machine. `directory`: where the run was
    begun."""
    if kept := _KEPT_BY_HUB.search(name):
        return Base(f"{kept[1]}/{kept[2]}", kept[3])
    there = Path(name).exists() or (directory / name).exists()
    return base_said(name) if not there else None


@dataclass(frozen=True)
class Public:
    """`local`: what the run's files call a base model that lies here, if it does; `base`: what the hub calls it;
    `directory`: where the run was begun; `folder`: the run's."""

    local: str
    base: Base | None
    directory: Path
    folder: Path

    def text(self, text: str) -> str:
        """Running text: a recipe with its comments, a model card, lines of figures."""
        if self.local and self.base is not None:
            text = _BASE_LINE.sub(lambda found: f"{found[1]}{self.base.name if self.base else ''}{found[2]}", text)
        for path in self._of_this_machine:
            whole = rf"(?:file://)?{re.escape(path)}(?![\w.-])(?:/{_PART})*"
            text = re.sub(whole, lambda found: self._named(found[0]), text)
        return _PATH.sub(lambda found: self._named(found[0]) if self._is_here(found[0]) else found[0], text)

    def json(self, text: str) -> str:
        """JSON, in which a path may hold spaces. What is none is taken for running text."""
        try:
            return json.dumps(self._value(json.loads(text)), indent=2, ensure_ascii=False) + "\n"
        except ValueError:
            return self.text(text)

    def _value(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, list):
            return [self._value(one) for one in value]
        if not isinstance(value, str) or not value:
            return value
        if self.local and value in (self.local, str(self.directory / self.local)):
            return self.base.name if self.base is not None else Path(value).name
        plain = value.removeprefix("file://")
        if "\n" not in plain and (plain.startswith("~/") or (plain.startswith("/") and plain.count("/") > 1)):
            return self._named(value)
        return self.text(value)

    def _mapping(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Two files of one name in different folders are told apart by a number."""
        found: dict[str, Any] = {}
        for key, one in value.items():
            name = str(self._value(key))
            same = sum(known == name or known.startswith(f"{name} (") for known in found)
            found[f"{name} ({same + 1})" if same else name] = self._value(one)
        return found

    @property
    def _of_this_machine(self) -> list[str]:
        """Folders by whose names their owner is known, the longest first."""
        found = {str(self.directory), str(self.folder.resolve()), str(Path.home()), str(Path.cwd())}
        return sorted((path for path in found if path.count("/") > 0 and path != "/"), key=len, reverse=True)

    def _is_here(self, path: str) -> bool:
        plain = path.removeprefix("file://")
        return plain.startswith("~/") or (not plain.startswith(OF_EVERYBODY) and Path(plain).exists())

    def _named(self, path: str) -> str:
        """Where it lies below the folder in which the run was begun; else its last name."""
        plain = Path(path.removeprefix("file://"))
        if plain.is_relative_to(self.directory) and plain != self.directory:
            return str(plain.relative_to(self.directory))
        return plain.name
