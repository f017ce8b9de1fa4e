"""YAML text -> Source: plain values with the line and column of every key. Reads YAML 1.2 scalars. Knows no key."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from finetune.errors import Fault, RecipeError, Where
from finetune.recipe.shipped import hint

Path_ = tuple[str | int, ...]
"""Of a value in a recipe: keys, and numbers of list items."""
MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_NODES = 50_000

_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)")
_WORDS: dict[str, Any] = {"": None, "~": None}
_WORDS |= dict.fromkeys(("null", "Null", "NULL"), None)
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True)
_WORDS |= dict.fromkeys(("false", "False", "FALSE"), False)
_WORDS |= dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan"))


def path_of(key: str) -> Path_:
    """`datasets.0.type` -> its parts."""
    return tuple(int(part) if part.isdecimal() else part for part in key.split("."))


def _fault(message: str, where: Where) -> Fault:
    return Fault(message, where, code="FT001")


@dataclass(frozen=True)
class Source:
    """A recipe as text became values. `lines`: path of a key or list item -> where it stands. `files`: the recipe's
    file and those it extends."""

    name: str
    data: dict[str, Any]
    lines: Mapping[Path_, Where] = field(default_factory=dict)
    files: tuple[str, ...] = ()

    def where(self, path: Path_) -> Where:
        """The place of a key, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, Where(self.name))

    def path_that_says(self, texts: Collection[str]) -> Path_ | None:
        """Of the first key whose value is one of the texts."""
        return next((path for path in self.lines if path and self._value(path) in texts), None)

    def _value(self, path: Path_) -> str | None:
        """None for what is no text."""
        value: Any = self.data
        for part in path:
            try:
                value = value[part]
            except (LookupError, TypeError):
                return None  # it stands in a file that this one extends, and another has replaced it
        return value if isinstance(value, str) else None


class _Reader:
    """One document's nodes -> values; collects every fault instead of stopping at the first."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Path_, Where] = {}
        self.faults: list[Fault] = []
        self.nodes = 0

    def where(self, node: yaml.Node) -> Where:
        return _at(self.name, node.start_mark)

    def fault(self, node: yaml.Node, message: str) -> None:
        self.faults.append(_fault(message, self.where(node)))

    def value(self, node: yaml.Node, path: Path_) -> Any:
        self.nodes += 1
        if len(path) > MAX_DEPTH or self.nodes > MAX_NODES:
            # Aliases can nest a small file into billions of values, or a value into itself.
            raise RecipeError(_fault("the recipe nests too deeply or expands to too many values", self.where(node)))
        if node.start_mark is not None and path not in self.lines:
            self.lines[path] = self.where(node)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, number)) for number, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self.scalar(node)

    def mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.fault(key_node, "a key must be plain text")
                continue
            key = str(key_node.value)
            if key == "<<" and not key_node.style:
                sources = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for source in sources:
                    value = self.value(source, path)
                    if isinstance(value, dict):
                        merged = value | merged
                    else:
                        self.fault(source, "`<<` merges mappings only")
            elif key in found:
                first = self.lines[(*path, key)].line
                self.fault(key_node, f"`{key}` is written twice (first on line {first}). Remove one")
            else:
                self.lines[(*path, key)] = self.where(key_node)
                found[key] = self.value(value_node, (*path, key))
        return merged | found

    def scalar(self, node: yaml.ScalarNode) -> Any:
        # The C loader has already guessed by YAML 1.1 (`no` is false there); only the text and the quotes count here.
        return str(node.value) if node.style else plain(str(node.value))


def plain(text: str) -> Any:
    """The value of an unquoted YAML 1.2 core-schema scalar: `2e-4` is a number, `no` and `1:30` are text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEX.fullmatch(text):
        return int(text[2:], 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITY.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def _at(name: str, mark: Any) -> Where:
    """A YAML mark counts from 0; people count from 1."""
    return Where(name, mark.line + 1, mark.column + 1) if mark else Where(name)


def _untagged(name: str, text: str) -> None:
    """RecipeError at the first YAML tag (`!!python/object` and every other): a recipe holds values, never types."""
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            message = f"the tag `{tag}` is refused: a recipe holds plain values only. Remove it"
            raise RecipeError(_fault(message, _at(name, event.start_mark)))


def _not_yaml(name: str, text: str, error: yaml.MarkedYAMLError) -> Fault:
    """The fault, at the line to mend: the parser may stumble many lines below a quote or a colon that is missing."""
    message = f"this is not YAML: {error.problem or error.context}"
    mark = error.problem_mark or error.context_mark
    if error.context_mark and error.context in ("while scanning a simple key", "while scanning a quoted scalar"):
        return _fault(f"{message} after what begins here", _at(name, error.context_mark))
    if mark and error.context_mark and _never_closed(text, error):
        unclosed = "this is not YAML: the bracket or brace that opens here is not closed"
        return _fault(unclosed, _at(name, error.context_mark))
    begin = _running_into(text, mark.line) if mark else None
    if mark and begin:
        return _fault(f"{message}; the text that begins here runs on to line {mark.line + 1}", _at(name, begin))
    opened = error.context_mark
    if opened and mark and opened.line < mark.line and str(error.context).startswith("while parsing a flow"):
        message = f"{message}; the bracket or brace of line {opened.line + 1} is still open here"
    return _fault(message, _at(name, mark))


def _never_closed(text: str, error: yaml.MarkedYAMLError) -> bool:
    """Whether the parser, inside brackets, met a line that stands no deeper than the one that opened them."""
    opened, met = error.context_mark, error.problem_mark
    if error.context not in ("while parsing a flow sequence", "while parsing a flow mapping") or not opened or not met:
        return False
    lines = text.splitlines()
    if met.line <= opened.line or met.line >= len(lines):
        return met.line > opened.line
    depth = [len(line) - len(line.lstrip()) for line in (lines[opened.line], lines[met.line])]
    return depth[1] <= depth[0]


def _running_into(text: str, line: int) -> Any:
    """Where the text begins that runs over several lines and ends in this one, which counts from 0; or before it, if
    it begins a line as a key does that lacks its colon."""
    begin = lacking = before = None
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            plain_or_quoted = isinstance(token, yaml.ScalarToken) and token.style not in ("|", ">")
            long = plain_or_quoted and token.start_mark.line < token.end_mark.line
            if long and token.end_mark.line == line:
                begin = token.start_mark
            if isinstance(token, yaml.ScalarToken) and token.end_mark.line < line:
                alone = isinstance(before, yaml.ValueToken) and before.start_mark.line < token.start_mark.line
                lacking = token.start_mark if long and alone else None
            before = token
    except yaml.YAMLError:
        pass  # the fault itself
    return begin or lacking


def read_text(name: str, text: str) -> Source:
    """Source of one YAML document. RecipeError with every fault: not YAML, repeated keys, tags, not a mapping."""
    try:
        _untagged(name, text)
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        raise RecipeError(_not_yaml(name, text, error)) from None
    except yaml.YAMLError as error:
        raise RecipeError(_fault(f"this is not YAML: {str(error).splitlines()[0]}", Where(name))) from None
    except RecursionError:
        raise RecipeError(_fault("the recipe nests too deeply", Where(name))) from None
    if node is None:
        raise RecipeError(_fault("the recipe is empty. Start with base_model, datasets and output_dir", Where(name)))
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(_fault("a recipe is a list of `key: value` lines, and this file is not", Where(name, 1, 1)))
    reader = _Reader(name)
    data = reader.value(node, ())
    if reader.faults:
        raise RecipeError(*reader.faults)
    return Source(name, data, reader.lines)


def read_file(path: Path) -> Source:
    """Source of a recipe file. RecipeError if it is missing, a folder, too large, binary or not a mapping."""
    name = str(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise RecipeError(_fault(f"there is no such file{hint(name)}", Where(name))) from None
    except IsADirectoryError:
        raise RecipeError(_fault("this is a folder; name the recipe file in it", Where(name))) from None
    except OSError as error:
        raise RecipeError(_fault(f"the file cannot be read: {error.strerror}", Where(name))) from None
    if len(raw) > MAX_BYTES:
        raise RecipeError(_fault(f"the file holds {len(raw):,} bytes; a recipe has at most {MAX_BYTES:,}", Where(name)))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(_fault(f"byte {error.start} is not UTF-8: is this a recipe?", Where(name))) from None
    if "\x00" in text:
        raise RecipeError(_fault("this is a binary file, not a recipe", Where(name)))
    return read_text(name, text)
