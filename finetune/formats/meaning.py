"""What one row of data means, before any tokenizer. Knows no file and no template."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field


class BadRow(Exception):
    """Why a row cannot be read; whoever reads the file adds its name and the row."""


@dataclass(frozen=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True)
class Conversation:
    """Turns in order; roles are ours (system, user, assistant)."""

    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Segments:
    """Text in pieces, each learned or not. The end-of-sequence token is added (and learned) after the last."""

    pieces: tuple[tuple[str, bool], ...]


Meaning = Conversation | Segments


@dataclass(frozen=True)
class Row:
    """A meaning and where it came from: the file or hub id, and the row (a line of a .jsonl file), from 1."""

    source: str
    number: int
    meaning: Meaning

    def digest(self) -> str:
        """Hex sha256 of the meaning: equal for equal rows, wherever they stand."""
        text = json.dumps(asdict(self.meaning), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Fields:
    """How a recipe names the columns and roles of a row; None where it leaves them to be found."""

    messages: str | None = None
    role: str | None = None
    content: str | None = None
    text: str | None = None
    roles: Mapping[str, list[str]] = field(default_factory=dict)
