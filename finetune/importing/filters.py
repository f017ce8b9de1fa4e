"""A function that keeps rows, from its syntax tree -> the expression of an entry's `filter`. None for any that is more
than comparisons of columns with constants. Knows no tool."""

import ast
from typing import Any

from finetune.importing.folding import Folder
from finetune.importing.found import known

COMPARED = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.In: "in",
    ast.NotIn: "not in",
}  # fmt: skip
METHODS = ("startswith", "endswith", "lower", "upper", "strip")
LONGEST = 400


def expression_of(node: Any, folder: Folder) -> str | None:
    """`lambda x: len(x["text"]) > 10` -> `row["text"]|length > 10`."""
    if len(node.args.args) != 1:
        return None
    body = node.body
    if isinstance(body, list):
        rest = [part for part in body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))]
        if len(rest) != 1 or not isinstance(rest[0], ast.Return) or rest[0].value is None:
            return None
        body = rest[0].value
    text = _said(body, node.args.args[0].arg, folder)
    return text if text is not None and "row" in text and len(text) <= LONGEST else None


def _said(node: ast.expr, row: str, folder: Folder) -> str | None:
    if isinstance(node, ast.BoolOp):
        parts = [_said(part, row, folder) for part in node.values]
        word = " and " if isinstance(node.op, ast.And) else " or "
        return None if None in parts else "(" + word.join(part or "" for part in parts) + ")"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = _said(node.operand, row, folder)
        return None if inner is None else f"not ({inner})"
    if isinstance(node, ast.Compare):
        return _compared(node, row, folder)
    return _value(node, row, folder)


def _compared(node: ast.Compare, row: str, folder: Folder) -> str | None:
    left = _value(node.left, row, folder)
    said: list[str] = []
    for how, part in zip(node.ops, node.comparators, strict=True):
        right = _value(part, row, folder)
        if isinstance(how, ast.Is | ast.IsNot) and right == "none":
            said.append(f"{left} is {'not ' if isinstance(how, ast.IsNot) else ''}none")
        elif type(how) in COMPARED and left is not None and right is not None:
            said.append(f"{left} {COMPARED[type(how)]} {right}")
        else:
            return None
        left = right
    return None if left is None or said[0].startswith("None ") else " and ".join(said)


def _value(node: ast.expr, row: str, folder: Folder) -> str | None:
    column = _column(node, row)
    if column is not None:
        return f'row["{column}"]' if column.replace("_", "").replace(" ", "").isalnum() else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1 and not node.keywords:
        inner = _value(node.args[0], row, folder)
        return f"{inner}|length" if node.func.id == "len" and inner is not None else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
        base = _value(node.func.value, row, folder)
        given = [_value(part, row, folder) for part in node.args]
        if base is None or None in given or node.keywords:
            return None
        return f"{base}.{node.func.attr}({', '.join(part or '' for part in given)})"
    if any(isinstance(part, ast.Name) and part.id == row for part in ast.walk(node)):
        return None
    return _constant(folder.fold(node))


def _column(node: ast.expr, row: str) -> str | None:
    """row["name"], row.get("name")."""
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == row:
        return node.slice.value if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str) else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
        base, first = node.func.value, node.args[0] if len(node.args) == 1 else None
        if isinstance(base, ast.Name) and base.id == row and isinstance(first, ast.Constant):
            return str(first.value)
    return None


def _constant(value: Any) -> str | None:
    if not known(value) or isinstance(value, dict):
        return None
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        parts = [_constant(part) for part in value]
        return None if None in parts else "[" + ", ".join(part or "" for part in parts) + "]"
    if isinstance(value, str):
        return f"'{value}'" if value.isprintable() and not set(value) & set("'\\{}") else None
    return repr(value)
