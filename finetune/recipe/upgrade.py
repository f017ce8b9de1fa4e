"""A recipe's text -> the same text in today's spelling, and proof that it says the same. What is old, the spellings
decide; what cannot be rewritten safely is left to the user, by line. Touches no file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune.errors import Fault, RecipeError, Where
from finetune.recipe.edits import Document, Odd
from finetune.recipe.rewrite import Rewrite
from finetune.recipe.source import Path_, Source, read_text
from finetune.recipe.spellings import rewritten
from finetune.recipe.writing import written

SHOWN = 100
"""Characters of a value that are printed."""


@dataclass(frozen=True)
class Change:
    """One old line: where it stands in the old text, what it said and what is written instead (empty: nothing)."""

    where: Where
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.where}: {self.old} -> {self.new or '(removed)'}"


def upgraded(name: str, text: str) -> tuple[str, list[Change]]:
    """The text in today's spelling and what was changed, in the order of the lines.

    RecipeError for a text that is no recipe, contradicts itself, or has old lines that only a person can rewrite."""
    source = read_text(name, text)
    now, rewrites, faults = rewritten(source)
    if faults:
        raise RecipeError(*faults)
    rewrites = [each for each in rewrites if each.message]
    if not rewrites:
        return text, []
    document = Document(text)
    # Lines that are used twice, through an alias, are said once.
    changes: dict[tuple[Where, str], Change] = {}
    for each in rewrites:
        change = _change(document, each, now.where(each.path))
        changes.setdefault((change.where, change.new), change)
    new, stuck = _edited(name, text)
    if stuck:
        raise RecipeError(*(_by_hand(each, now) for each in stuck))
    if not same_recipe(text, new):
        raise RecipeError(*(_by_hand(each, now) for each in rewrites))
    return new, sorted(changes.values(), key=lambda change: change.where)


def same_recipe(old: str, new: str) -> bool:
    """Whether two texts hold the same values in today's spelling, and nothing in the second is left to rewrite."""
    try:
        before, _, _ = rewritten(read_text("", old))
        after, rest, faults = rewritten(read_text("", new))
    except RecipeError:
        return False
    left = [each for each in rest if each.message]
    return not left and not faults and _exact(before.data) == _exact(after.data)


def _exact(data: Any) -> str:
    """Values as text, in which true, 1 and 1.0 differ and the order of keys does not."""
    return json.dumps(data, sort_keys=True)


def _by_hand(rewrite: Rewrite, source: Source) -> Fault:
    message = f"{rewrite.message}; it stands in a way that is not rewritten here. Change this line by hand"
    return Fault(message, source.where(rewrite.path))


def _edited(name: str, text: str) -> tuple[str, list[Rewrite]]:
    """The text after every rewrite that can be made, and those that cannot. One at a time, each found in the text that
    the one before it left, since one may build on another."""
    document = Document(text)
    stuck: dict[Path_, Rewrite] = {}
    while True:
        _, found, _ = rewritten(read_text(name, document.text))
        todo = next((each for each in found if each.message and each.path not in stuck), None)
        if todo is None:
            return document.text, list(stuck.values())
        try:
            after = _made(document, todo)
            _, rest, _ = rewritten(read_text(name, after.text))
            if any(each.message and each.path == todo.path and each.message == todo.message for each in rest):
                raise Odd
            document = after
        except (Odd, RecipeError):
            stuck[todo.path] = todo


def _made(document: Document, rewrite: Rewrite) -> Document:
    """The document with one line in today's spelling: in its own place, if the new key belongs beside the old one."""
    path, entries = rewrite.path, dict(rewrite.entries)
    parent, last = path[:-1], path
    document.place(path)
    gone = path not in entries
    comment = document.comment(path) if gone else ""
    for target, value in entries.items():
        depth = _depth(document, target)
        if depth == len(target):
            document = _changed(document, target, value)
            continue
        mapping, key = target[:depth], target[depth]
        value = _nested(target[depth + 1 :], value)
        if document.empty(mapping):
            document = document.change(mapping, {key: value})
        elif mapping == parent and gone:
            document = _changed(document.rename(path, str(key)), (*mapping, key), value)
            gone, last, comment = False, (*mapping, key), ""
        elif mapping == parent:
            document = document.insert(last, {str(key): value})
            last = (*mapping, key)
        elif mapping == ():
            document, comment = document.insert(path[:1], {str(key): value}, comment), _used(document, (), comment)
        else:
            document, comment = document.append(mapping, {str(key): value}, comment), _used(document, mapping, comment)
    return document.remove(path, keep_comment=bool(entries and comment)) if gone else document


def _used(document: Document, mapping: Path_, comment: str) -> str:
    """What is left of a comment after pairs were put into a mapping: braces on one line take none."""
    node = document.node(mapping)
    return comment if node and node.flow else ""


def _depth(document: Document, path: Path_) -> int:
    """How much of a path is written in the document: at least as a key, with or without a value."""
    for depth in range(len(path)):
        node = document.node(path[:depth])
        if node is None or document.empty(path[:depth]):
            return depth
        if node.kind == "mapping" and path[depth] != 0 and path[depth] not in [key.text for key, _ in node.pairs]:
            return depth
    return len(path)


def _nested(path: Path_, value: Any) -> Any:
    for part in reversed(path):
        value = {part: value}
    return value


def _changed(document: Document, path: Path_, value: Any) -> Document:
    """Another value at a path, with as little change as the two values need."""
    old = _value(document.text, path)
    if isinstance(old, dict) and isinstance(value, list) and len(value) == 1:
        value = value[0]  # one dataset, written without a list
    if _exact(old) == _exact(value):
        return document
    if isinstance(old, dict) and isinstance(value, dict) and old:
        return _mapping(document, path, old, value)
    if isinstance(old, list) and isinstance(value, list) and len(old) == len(value):
        for number, item in enumerate(value):
            document = _changed(document, (*path, number), item)
        return document
    return document.change(path, value)


def _mapping(document: Document, path: Path_, old: Mapping[str, Any], new: Mapping[str, Any]) -> Document:
    added = {key: value for key, value in new.items() if key not in old}
    for key in [key for key in old if key not in new]:
        same = next((other for other, value in added.items() if _exact(value) == _exact(old[key])), None)
        if same is None:
            document = document.remove((*path, key))
        else:
            document = document.rename((*path, key), same)
            del added[same]
    for key in old:
        if key in new:
            document = _changed(document, (*path, key), new[key])
    return document.append(path, added) if added else document


def _value(text: str, path: Path_) -> Any:
    data: Any = read_text("", text).data
    for part in path:
        if isinstance(data, dict) and part == 0:
            continue  # one dataset, written without a list
        data = data[part]
    return data


def _change(document: Document, rewrite: Rewrite, where: Where) -> Change:
    """A line before and after, as it will be printed: values in the text's own words where they stay the same."""
    key, parent = str(rewrite.path[-1]), rewrite.path[:-1]
    try:
        value, words = _value(document.text, rewrite.path), document.words(rewrite.path)
    except (Odd, KeyError, IndexError, TypeError):
        value, words = None, ""  # merged in, or a line that another rewrite brought about
    shown = []
    for path, new in rewrite.entries.items():
        inside = path[len(parent) :] if path[: len(parent)] == parent else path
        same = words and len(inside) == 1 and _exact(new) == _exact(value)
        shown.append(f"{inside[0]}: {words if same else _short(written(_nested(inside[1:], new)))}")
    return Change(where, f"{key}: {_short(words)}" if words else key, ", ".join(shown))


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
