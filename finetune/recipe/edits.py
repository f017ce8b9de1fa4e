"""Edits of YAML text that touch only the lines they are about: rename a key, change a value, insert a pair, remove one.
Decides where such an edit stands in the text, and refuses (Odd) what it is not sure of. Knows no key of a recipe."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from finetune.recipe.source import Path_
from finetune.recipe.writing import block_lines, written

BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
STEP = 2


class Odd(Exception):
    """The text is written in a way that these edits do not handle."""


@dataclass(frozen=True)
class Node:
    """A piece of the text. `kind`: scalar, alias, mapping or sequence. `quote`: a scalar's quotes, `|` or `>`."""

    kind: str
    start: int
    end: int
    column: int
    text: str = ""
    quote: str = ""
    flow: bool = False
    pairs: list[tuple["Node", "Node"]] = field(default_factory=list)
    items: list["Node"] = field(default_factory=list)

    @property
    def null(self) -> bool:
        return self.kind == "scalar" and not self.quote and self.text in ("", "null", "Null", "NULL", "~")


@dataclass(frozen=True)
class Place:
    """A pair of a mapping: the mapping, the key, the value."""

    mapping: Node
    key: Node
    value: Node

    @property
    def json(self) -> bool:
        """Whether it stands among quoted keys, as in JSON."""
        return self.mapping.flow and self.key.quote == '"'


class Document:
    """YAML text and where its values stand. Every edit gives a new Document; none changes what it is not about."""

    def __init__(self, text: str) -> None:
        self.text = text
        events = yaml.parse(text, Loader=yaml.CSafeLoader)
        self.root = _tree(text, (event for event in events if not isinstance(event, _FRAME)))
        found = BREAK.search(text)
        self.newline = found.group() if found and found.group() in ("\r\n", "\r") else "\n"

    def node(self, path: Path_) -> Node | None:
        """What stands at a path; None where a key of it is not written. Odd where it is not written out there."""
        node = self.root
        for part in path:
            if node.kind == "sequence" and isinstance(part, int) and part < len(node.items):
                node = node.items[part]
            elif node.kind == "mapping" and part == 0 and isinstance(part, int):
                continue  # one dataset, written without a list
            elif node.kind == "mapping":
                found = [value for key, value in node.pairs if key.text == part]
                if not found:
                    return None
                node = found[0]
            elif node.null:
                return None
            else:
                raise Odd
        return node

    def empty(self, path: Path_) -> bool:
        """Whether a key is written with no value, or null."""
        node = self.node(path)
        return node is not None and node.null

    def place(self, path: Path_) -> Place:
        mapping = self.node(path[:-1])
        for key, value in mapping.pairs if mapping and mapping.kind == "mapping" else ():
            if key.text == path[-1]:
                return Place(mapping, key, value)  # type: ignore[arg-type]
        raise Odd

    def words(self, path: Path_) -> str:
        """The value of a key as it is written, if that is on one line; else empty."""
        value = self.place(path).value
        text = self.text[value.start : _end(value)]
        return "" if BREAK.search(text) or (value.kind in ("mapping", "sequence") and not value.flow) else text

    def rename(self, path: Path_, new: str) -> "Document":
        """The pair at `path` under a new key, in the old key's quotes."""
        key = self.place(path).key
        if key.quote not in ("", "'", '"') or self.text[key.start : key.end].startswith(("&", "!")):
            raise Odd
        return self._with((key.start, key.end, f"{key.quote}{new}{key.quote}"))

    def change(self, path: Path_, value: Any) -> "Document":
        """Another value for a key or list item that holds a scalar; comments on its line stay."""
        if isinstance(path[-1], int):
            items = self.node(path[:-1])
            if items is None or items.kind != "sequence":
                return self.change(path[:-1], value)
            node, flow, json = items.items[path[-1]], items.flow, False
        else:
            place = self.place(path)
            node, flow, json = place.value, place.mapping.flow, place.json
        if not isinstance(path[-1], int) and node.items and _is_words(self.text, place.key, node):
            # The words go, from behind the colon on.
            return self._with((place.key.end + 1, _end(node), f" {written(value)}"))
        if node.kind in ("mapping", "sequence") or node.quote in ("|", ">"):
            raise Odd
        space = " " if node.start == node.end else ""
        if flow or not isinstance(value, list | dict) or not value:
            return self._with((node.start, node.end, space + written(value, node.quote, json)))
        if isinstance(path[-1], int):
            first, *rest = block_lines(value, node.column)
            return self._with((node.start, node.end, first.strip()), self._below(node.end, rest))
        before = self.text[: node.start].rstrip(" \t") if node.end > node.start else self.text[: node.start]
        lines = block_lines(value, place.key.column + STEP)
        return self._with((len(before), node.end, ""), self._below(node.end, lines))

    def insert(self, after: Path_, entries: Mapping[str, Any], comment: str = "") -> "Document":
        """New pairs behind the pair at `after`; `comment` goes behind the first of them, if it is on its own line."""
        place = self.place(after)
        end = _end(place.value)
        if place.mapping.flow:
            if self.text[place.value.start : end] == "" and not self.text[:end].endswith(":"):
                raise Odd
            quote = '"' if place.json else ""
            text = "".join(f", {quote}{key}{quote}: {written(value, '', place.json)}" for key, value in entries.items())
            return self._with((end, end, text))
        lines = block_lines(dict(entries), place.key.column)
        return self._with(self._below(end, [lines[0] + comment, *lines[1:]]))

    def append(self, path: Path_, entries: Mapping[str, Any], comment: str = "") -> "Document":
        """New pairs at the end of the mapping at `path`."""
        mapping = self.node(path)
        if mapping is None or mapping.kind != "mapping":
            raise Odd
        if mapping.pairs:
            return self.insert((*path, mapping.pairs[-1][0].text), entries, comment)
        return self._with((mapping.start, mapping.end, written(dict(entries))))

    def comment(self, path: Path_) -> str:
        """The comment behind a pair, with the space before it; empty in flow style, where it belongs to more."""
        place = self.place(path)
        if place.mapping.flow:
            return ""
        found = re.compile(r"[ \t]+#[^\n\r\x85\u2028\u2029]*").match(self.text, _end(place.value))
        return found.group() if found else ""

    def remove(self, path: Path_, keep_comment: bool = False) -> "Document":
        """The text without a pair and its line. Odd where more than a plain line would go with it."""
        place = self.place(path)
        several = place.value.kind in ("mapping", "sequence") and BREAK.search(
            self.text, place.key.start, _end(place.value)
        )
        if place.value.quote in ("|", ">") or (several and not _is_words(self.text, place.key, place.value)):
            raise Odd  # there may be comments inside
        if place.mapping.flow:
            return self._with(self._flow_span(place))
        start, end = self._line_start(place.key.start), self._line_end(_end(place.value))
        before = self.text[start : place.key.start]
        kept = self.comment(path).strip(" \t") if keep_comment else ""
        if before.strip(" \t") == "":
            if kept:
                return self._with((place.key.start, end, kept))
            return self._with(self._whole_lines(start, end))
        following = [key for key, _ in place.mapping.pairs if key.start > place.key.start]
        if before.strip(" \t-") or not following:
            raise Odd
        between = self.text[end : following[0].start]
        if not kept and len(BREAK.findall(between)) == 1 and between.strip(" \t\r\n") == "":
            return self._with((place.key.start, following[0].start, ""))
        # A comment or an empty line stands between: the dash stays on its line alone.
        return self._with((place.key.start if kept else len(self.text[: place.key.start].rstrip()), end, kept))

    def _flow_span(self, place: Place) -> tuple[int, int, str]:
        """What goes with a pair inside braces: one comma, and the line if nothing else stands on it."""
        start, end = place.key.start, _end(place.value)
        comma = re.compile(r"\s*,[ \t]*").match(self.text, end)
        closing = re.compile(r"\s*([}#]|$)").match(self.text, end)
        if comma:
            end = comma.end()
        elif not closing:
            raise Odd
        elif found := re.search(r",[ \t]*\Z", self.text[:start]):
            start = found.start()
        first, last = self._line_start(start), self._line_end(end)
        if self.text[first:start].strip(" \t") == "" and self.text[end:last].strip(" \t") == "":
            return self._whole_lines(first, last)
        return start, end, ""

    def _whole_lines(self, start: int, end: int) -> tuple[int, int, str]:
        following = BREAK.match(self.text, end)
        if following:
            return start, following.end(), ""
        # The last line of a file without a final line end: the one before becomes the last.
        start -= 2 if self.text[:start].endswith("\r\n") else min(start, 1)
        return start, end, ""

    def _below(self, end: int, lines: list[str]) -> tuple[int, int, str]:
        """Lines below the line where something ends; a file without a final line end stays one."""
        if not lines:
            return end, end, ""
        if end and BREAK.match(self.text, end - 1):  # a block scalar ends where the next line starts
            return end, end, "".join(line + self.newline for line in lines)
        at = self._line_end(end)
        following = BREAK.match(self.text, at)
        if following:
            return following.end(), following.end(), "".join(line + self.newline for line in lines)
        return at, at, "".join(self.newline + line for line in lines)

    def _line_start(self, at: int) -> int:
        return max((found.end() for found in BREAK.finditer(self.text, 0, at)), default=0)

    def _line_end(self, at: int) -> int:
        found = BREAK.search(self.text, at)
        return found.start() if found else len(self.text)

    def _with(self, *edits: tuple[int, int, str]) -> "Document":
        text = self.text
        for start, end, new in sorted(edits, reverse=True):
            text = text[:start] + new + text[end:]
        try:
            return Document(text)
        except yaml.YAMLError:
            raise Odd from None


_FRAME = (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent)
_CLOSING: tuple[Any, ...] = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


def _end(node: Node) -> int:
    """Where the node's last character stands; the parser ends a block where the next one starts."""
    if node.flow or node.kind in ("scalar", "alias"):
        return node.end
    if node.kind == "mapping":
        return _end(node.pairs[-1][1])
    return _end(node.items[-1])


def _is_words(text: str, key: Node, value: Node) -> bool:
    """Whether a value is a list or mapping of plain words without a comment, so that nothing else goes with it."""
    inside = [*value.items, *(node for pair in value.pairs for node in pair)]
    if not inside or any(node.kind != "scalar" or node.quote for node in inside):
        return False
    return text[key.end : key.end + 1] == ":" and "#" not in text[key.end : _end(value)]


def _tree(text: str, events: Iterator[Any]) -> Node:
    return _node(text, next(events), events)


def _node(text: str, event: Any, events: Iterator[Any]) -> Node:
    start, end, column = event.start_mark.index, event.end_mark.index, event.start_mark.column
    if isinstance(event, yaml.AliasEvent):
        return Node("alias", start, end, column)
    if isinstance(event, yaml.ScalarEvent):
        return Node("scalar", start, end, column, str(event.value), event.style or "")
    node = Node("mapping", start, end, column, flow=bool(event.flow_style))
    if isinstance(event, yaml.SequenceStartEvent):
        node = replace(node, kind="sequence")
    while not isinstance(inner := next(events), _CLOSING):
        child = _node(text, inner, events)
        if node.kind == "sequence":
            node.items.append(child)
        else:
            node.pairs.append((child, _after_colon(text, child, _node(text, next(events), events))))
    return replace(node, end=inner.end_mark.index)


def _after_colon(text: str, key: Node, value: Node) -> Node:
    """A value that is not written stands behind its colon, wherever the parser saw it missing."""
    found = re.compile(r"[ \t]*:").match(text, key.end)
    if value.start != value.end or not found:
        return value
    return replace(value, start=found.end(), end=found.end())
