"""What a script's function makes of a row, from its syntax tree: messages under a template, or a prompt of its own.

Knows how such functions are usually written; what it does not recognise is None, and then told."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from finetune.importing.folding import Folder, Function

PLACES = re.compile(r"\{\{|\}\}|\{(\w*)(?:![rsa])?(?::[^{}]*)?\}")
ENDS = re.compile(r"(<\|?[\w|]+\|?>|</s>|\s)*")
"""What may stand after the answer: end tokens and white space."""


@dataclass(frozen=True)
class Form:
    """`kind`: chat (a column of messages), turns or text (an instruction's columns in a wording)."""

    kind: str
    column: str = ""
    mapping: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def form_of(function: Function, folder: Folder) -> Form | None:
    """The form of rows that a function reads; None where it is not one of the usual ones."""
    node = function.node
    if function.home is not None:
        folder = Folder(function.home.file, 0, dict(function.home.values))
    columns = _Columns(node)
    for call in (part for part in ast.walk(node) if isinstance(part, ast.Call)):
        if isinstance(call.func, ast.Attribute) and call.func.attr == "apply_chat_template" and call.args:
            found = _turns(call.args[0], columns, folder)
            if found is not None:
                return Form(found.kind, found.column, found.mapping, _asked_again(call))
    lists = (part for part in ast.walk(node) if isinstance(part, ast.List))
    turns = next((found for part in lists if (found := _messages(part, columns, folder))), None)
    return turns or _wording(node, columns, folder)


def renamed(form: Form, names: Mapping[str, str]) -> Form:
    """The form with the file's own columns. `names`: a column's name in the script -> in the file."""
    mapping = {
        key: names.get(value, value) if key.startswith("field_") else value for key, value in form.mapping.items()
    }
    return Form(form.kind, names.get(form.column, form.column), mapping, form.notes)


def _asked_again(call: ast.Call) -> tuple[str, ...]:
    """add_generation_prompt in training writes the beginning of an answer that never comes."""
    for keyword in call.keywords:
        if keyword.arg == "add_generation_prompt" and isinstance(keyword.value, ast.Constant) and keyword.value.value:
            return (
                "add_generation_prompt=True puts the beginning of an empty answer behind each row; here it is left out",
            )
    return ()


class _Columns:
    """Which column a name of the function stands for."""

    def __init__(self, node: Any) -> None:
        self.parameters = {argument.arg for argument in node.args.args}
        self.names: dict[str, str] = {}
        self.values: dict[str, ast.expr] = {}
        self.several: set[str] = set()
        """Names that stand for more than one thing."""
        for _ in range(3):  # a name may stand on one that stands on another
            for part in ast.walk(node):
                if isinstance(part, ast.Assign) and len(part.targets) == 1:
                    self._bind(part.targets[0], part.value)
                elif isinstance(part, ast.For | ast.comprehension):
                    self._loop(part.target, part.iter)
                elif isinstance(part, ast.AugAssign) and isinstance(part.target, ast.Name):
                    self.several.add(part.target.id)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            if self.values.setdefault(target.id, value) is not value and not _only_trimmed(value, target.id):
                self.several.add(target.id)
            if column := self.of(value):
                self.names[target.id] = column

    def _loop(self, target: ast.expr, over: ast.expr) -> None:
        named = isinstance(over, ast.Call) and isinstance(over.func, ast.Name)
        if named and over.func.id == "zip" and isinstance(target, ast.Tuple):  # type: ignore[attr-defined]
            for part, source in zip(target.elts, over.args, strict=False):  # type: ignore[attr-defined]
                self._bind(part, source)
        elif named and over.func.id == "enumerate" and isinstance(target, ast.Tuple) and over.args:  # type: ignore[attr-defined]
            self._bind(target.elts[-1], over.args[0])  # type: ignore[attr-defined]
        elif isinstance(over, ast.Name) and over.id in self.parameters and isinstance(target, ast.Name):
            self.parameters.add(target.id)
        else:
            self._bind(target, over)

    def of(self, node: ast.expr) -> str:
        """The column, or nothing."""
        if isinstance(node, ast.Name):
            return "" if node.id in self.several else self.names.get(node.id, "")
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
        ):
            if isinstance(node.value, ast.Name) and node.value.id in self.parameters:
                return node.slice.value
            return ""
        if isinstance(node, ast.Subscript):
            return self.of(node.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "get" and node.args and isinstance(node.args[0], ast.Constant):
                base = node.func.value
                inside = isinstance(base, ast.Name) and base.id in self.parameters
                other = node.args[1] if len(node.args) > 1 else None
                plain = other is None or (isinstance(other, ast.Constant) and not other.value)
                return str(node.args[0].value) if inside and plain else ""
            return self.of(node.func.value) if node.func.attr in ("strip", "lower", "rstrip", "lstrip") else ""
        return ""


def _only_trimmed(value: ast.expr, name: str) -> bool:
    """`text = text.strip()`, `text = text + EOS_TOKEN`: the same text, as far as a recipe goes."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        base = value.func.value
        return isinstance(base, ast.Name) and base.id == name and value.func.attr.endswith("strip")
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        same = isinstance(value.left, ast.Name) and value.left.id == name
        return same and bool(re.search(r"eos_token|EOS", ast.unparse(value.right)))
    return False


def _turns(node: ast.expr, columns: _Columns, folder: Folder) -> Form | None:
    if column := columns.of(node):
        return Form("chat", column)
    if isinstance(node, ast.Name) and node.id in columns.values and node.id not in columns.several:
        return _turns(columns.values[node.id], columns, folder)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        value = node.slice.value
        return Form("chat", value) if isinstance(value, str) else None
    return _messages(node, columns, folder) if isinstance(node, ast.List) else None


def _messages(node: ast.List, columns: _Columns, folder: Folder) -> Form | None:
    """Messages that a function writes from columns: [{role: user, content: row[question]}, …]."""
    made: dict[str, Any] = {"as_turns": True}
    for item in node.elts:
        if not isinstance(item, ast.Dict):
            return None
        parts = {
            key.value: value
            for key, value in zip(item.keys, item.values, strict=True)
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        }
        role, content = parts.get("role") or parts.get("from"), parts.get("content") or parts.get("value")
        said = folder.fold(role) if role is not None else None
        if content is None or not _turn(str(said), content, (columns, folder), made):
            return None
    wanted = {"field_instruction", "field_output"}
    return Form("turns", "", made) if wanted <= set(made) else None


def _turn(role: str, content: ast.expr, near: tuple[_Columns, Folder], made: dict[str, Any]) -> bool:
    """Put one turn into the mapping; False for one that a mapping cannot say."""
    columns, folder = near
    if role == "system":
        column, text = columns.of(content), folder.fold(content)
        made.update({"field_system": column} if column else {"system_prompt": text} if isinstance(text, str) else {})
        return bool(column) or isinstance(text, str)
    if role in ("assistant", "gpt", "model"):
        column = columns.of(content)
        made["field_output"] = column
        return bool(column) and "field_instruction" in made
    if role not in ("user", "human") or "field_instruction" in made:
        return False
    text, names = _template(content, columns, folder)
    return text is not None and _asked(text, names, made)


def _asked(text: str, names: list[str], made: dict[str, Any]) -> bool:
    """A question's wording: one column, or two."""
    if not 1 <= len(names) <= 2:
        return False
    made["field_instruction"] = names[0]
    made["field_input"] = names[1] if len(names) > 1 else ""
    made["format"] = text.replace("\0" + "0", "{instruction}").replace("\0" + "1", "{input}")
    made["no_input_format"] = text.replace("\0" + "0", "{instruction}").replace("\0" + "1", "")
    return True


def _template(node: ast.expr, columns: _Columns, folder: Folder) -> tuple[str | None, list[str]]:
    """(a text with \\0N where the N-th column goes, the columns); None where it is anything else."""
    names: list[str] = []

    def place(column: str) -> str:
        if column not in names:
            names.append(column)
        return f"\0{names.index(column)}"

    def read(part: ast.expr) -> str | None:
        if column := columns.of(part):
            return place(column)
        if isinstance(part, ast.Constant):
            return _braces(part.value) if isinstance(part.value, str) else None
        if isinstance(part, ast.JoinedStr):
            pieces = [read(one.value if isinstance(one, ast.FormattedValue) else one) for one in part.values]
            return None if None in pieces else "".join(piece or "" for piece in pieces)
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Add):
            left, right = read(part.left), read(part.right)
            return None if left is None or right is None else left + right
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr == "format":
            return _formatted(part, read, folder)
        if isinstance(part, ast.Name) and part.id in columns.several:
            return None
        if isinstance(part, ast.Name) and part.id in columns.values:
            found = read(columns.values[part.id])
            if found is not None:
                return found
        value = folder.fold(part)
        if isinstance(value, str):
            return _braces(value)
        # An end token at the end of a text: the template or the trainer writes it here.
        return "" if re.search(r"eos_token|EOS|bos_token|BOS", ast.unparse(part)) else None

    return read(node), names


def _braces(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _formatted(call: ast.Call, read: Any, folder: Folder) -> str | None:
    """TEMPLATE.format(a, b, c)."""
    assert isinstance(call.func, ast.Attribute)
    template = folder.fold(call.func.value)
    if not isinstance(template, str):
        return None
    given = [read(part) for part in call.args]
    named = {keyword.arg: read(keyword.value) for keyword in call.keywords}
    parts: list[str] = []
    at = number = 0
    for found in PLACES.finditer(template):
        parts.append(_braces(template[at : found.start()]))
        at = found.end()
        if found[0] in ("{{", "}}"):
            parts.append(found[0])
            continue
        if found[1] and not found[1].isdigit():
            value = named.get(found[1])
        else:
            place = int(found[1]) if found[1] else number
            number += 1
            value = given[place] if place < len(given) else None
        if value is None:
            return None
        parts.append(value)
    return "".join([*parts, _braces(template[at:])])


def _wording(node: Any, columns: _Columns, folder: Folder) -> Form | None:
    """A plain text from two or three columns, the last of which is the answer."""
    texts = [part for part in ast.walk(node) if isinstance(part, ast.JoinedStr | ast.BinOp | ast.Call)]
    best: tuple[str, list[str]] | None = None
    for part in texts:
        text, names = _template(part, columns, folder)
        if text is not None and len(names) > len(best[1] if best else []):
            best = (text, names)
    if best is None or not 2 <= len(best[1]) <= 3:
        return None
    text, names = best
    answer = f"\0{len(names) - 1}"
    before, _, after = text.partition(answer)
    if text.count(answer) != 1 or not ENDS.fullmatch(after) or "\0" in after:
        return None
    made: dict[str, Any] = {"field_output": names[-1]}
    if not before.strip("\0 01") or not _asked(before, names[:-1], made):
        return None
    notes: tuple[str, ...] = ()
    if after.strip():
        notes = (f"behind the answer the script writes {after.strip()!r}; here the tokenizer's end token follows",)
    return Form("text", "", made, notes)
