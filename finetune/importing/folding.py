"""Python expressions -> values, from the syntax tree alone: constants, variables, dict(...), f-strings, arithmetic.

Nothing is run or imported. What only running would give becomes Unread; calls become Objects. Knows no tool."""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.errors import Where
from finetune.importing.bounds import GROWING, LONGEST, TOO_LARGE, WIDE, Budget, too_large
from finetune.importing.found import Elsewhere, Object, Setting, Symbol, Unread, known

LARGEST_POWER = 64
LARGEST_BASE = 256
"""Bits of a number that is raised to a power."""
DEPTH = 60
OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
COMPARISONS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda one, other: one in other,
    ast.NotIn: lambda one, other: one not in other,
}
FOLDED: Mapping[str, Callable[..., Any]] = {
    "int": int, "float": float, "str": str, "bool": bool, "max": max, "min": min, "len": len, "round": round,
    "abs": abs, "list": list, "tuple": list, "set": list, "sorted": sorted,
}  # fmt: skip


@dataclass(frozen=True)
class Function:
    """A function that the file itself defines."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    first: int = 0
    """Lines of the file before the text that it stands in."""
    home: Any = field(default=None, compare=False, repr=False)
    """The file that it stands in, where that is another one."""

    @property
    def text(self) -> str:
        return getattr(self.node, "name", "a lambda")


@dataclass
class Names:
    """Names with attributes that are known: a class of settings, or the defaults of a command line."""

    values: dict[str, Any]
    why: str = ""
    methods: dict[str, Function] = field(default_factory=dict)

    def instance(self, given: Mapping[str, Any]) -> "Names":
        return Names({**self.values, **given}, self.why, self.methods)


@dataclass
class Folder:
    """`first`: lines of the file before the text that is folded. `calls`: every call, in the order of evaluation."""

    file: str
    first: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    calls: list[Object] = field(default_factory=list)
    budget: Budget = field(default_factory=Budget)
    depth: int = 0
    opened: set[str] = field(default_factory=set)
    """Files of settings that the script opens."""
    elsewhere: bool = False
    """Whether this is another file than the one that is imported."""
    modules: dict[Path, Any] = field(default_factory=dict)
    """Files of the same project that have been read."""

    def where(self, node: ast.AST) -> Where:
        file = Elsewhere(self.file) if self.elsewhere else self.file
        return Where(file, getattr(node, "lineno", 0) + self.first, getattr(node, "col_offset", 0) + 1)

    def unread(self, node: ast.AST, why: str = "") -> Unread:
        try:
            text = ast.unparse(node)
        except (RecursionError, ValueError):
            text = "an expression"
        return Unread(text, why) if why else Unread(text)

    def fold(self, node: ast.expr) -> Any:
        """The value of an expression."""
        self.depth += 1
        try:
            if self.depth > DEPTH:
                return self.unread(node)
            method = getattr(self, f"_{type(node).__name__.lower()}", None)
            value = method(node) if method else self.unread(node)
            return self.unread(node, TOO_LARGE) if isinstance(node, GROWING) and too_large(value) else value
        finally:
            self.depth -= 1

    def _constant(self, node: ast.Constant) -> Any:
        return node.value if known(node.value) else self.unread(node)

    def _name(self, node: ast.Name) -> Any:
        if node.id in self.values:
            return self.values[node.id]
        if node.id in self.imports:
            return Symbol(self.imports[node.id])
        return Unread(node.id, f"the file gives `{node.id}` no value that can be read")

    def _attribute(self, node: ast.Attribute) -> Any:
        base = self.fold(node.value)
        if isinstance(base, Names):
            if node.attr in base.values:
                return base.values[node.attr]
            return self.unread(node, base.why)
        if isinstance(base, dict) and node.attr in base:
            return base[node.attr]
        if isinstance(base, Unread):
            return self.unread(node, base.why)
        if isinstance(base, Symbol):
            return Symbol(f"{base.text}.{node.attr}")
        if isinstance(base, Object):
            return Symbol(f"{ast.unparse(node.value)}.{node.attr}")
        return self.unread(node)

    def _list(self, node: ast.List) -> Any:
        items: list[Any] = []
        for item in node.elts:
            if isinstance(item, ast.Starred):
                inner = self.fold(item.value)
                items += inner if isinstance(inner, list) else [self.unread(item)]
            else:
                items.append(self.fold(item))
            if len(items) > LONGEST:
                return self.unread(node, TOO_LARGE)
        return items

    _tuple = _list
    _set = _list

    def _dict(self, node: ast.Dict) -> Any:
        made: dict[Any, Any] = {}
        for key_node, value_node in zip(node.keys, node.values, strict=True):
            value = self.fold(value_node)
            if key_node is None:
                made.update(value if isinstance(value, dict) else {"**": self.unread(value_node)})
                continue
            key = self.fold(key_node)
            made[key if isinstance(key, str | int | float | bool) or key is None else str(key)] = value
        return made

    def _joinedstr(self, node: ast.JoinedStr) -> Any:
        parts: list[str] = []
        for part in node.values:
            value = part.value if isinstance(part, ast.Constant) else self.fold(part)
            if not isinstance(value, str | int | float | bool):
                return self.unread(node, f"it holds {value.text!r}" if isinstance(value, Unread | Symbol) else "")
            parts.append(str(value))
            if sum(map(len, parts)) > LONGEST:
                return self.unread(node, TOO_LARGE)
        return "".join(parts)

    def _formattedvalue(self, node: ast.FormattedValue) -> Any:
        value = self.fold(node.value)
        if node.format_spec is None:
            return value
        spec = self.fold(node.format_spec)
        try:
            plain = known(value) and isinstance(spec, str) and not WIDE.search(spec)
            return format(value, spec) if plain else self.unread(node)
        except (ValueError, TypeError):
            return self.unread(node)

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        value = self.fold(node.operand)
        if isinstance(node.op, ast.Not) and known(value):
            return not value
        if isinstance(node.op, ast.USub) and isinstance(value, int | float):
            return -value
        if isinstance(value, Object | Symbol):
            return Unread(ast.unparse(node), "it is asked when the file runs")
        return self.unread(node)

    def _binop(self, node: ast.BinOp) -> Any:
        left, right = self.fold(node.left), self.fold(node.right)
        how = OPERATORS.get(type(node.op))
        if how is None or not known(left) or not known(right) or self._too_large(node.op, left, right):
            return self.unread(node)
        try:
            return how(left, right)
        except (ArithmeticError, TypeError, ValueError, KeyError):
            return self.unread(node)

    @staticmethod
    def _too_large(op: ast.operator, left: Any, right: Any) -> bool:
        if isinstance(op, ast.Pow):
            huge = isinstance(left, int) and left.bit_length() > LARGEST_BASE
            return huge or not isinstance(right, int | float) or abs(right) > LARGEST_POWER
        if isinstance(op, ast.Mod) and isinstance(left, str):
            return True  # `%` may ask for any width
        sizes = [len(one) for one in (left, right) if isinstance(one, str | list)]
        times = [one for one in (left, right) if isinstance(one, int)]
        return isinstance(op, ast.Mult) and bool(sizes) and max([0, *sizes]) * max([0, *times]) > LONGEST

    def _compare(self, node: ast.Compare) -> Any:
        left = self.fold(node.left)
        right = self.fold(node.comparators[0])
        how = COMPARISONS.get(type(node.ops[0]))
        if isinstance(left, Symbol) and isinstance(right, Symbol) and {left.text[:6], right.text[:6]} == {"torch."}:
            left, right = left.text, right.text
        if len(node.ops) > 1 or how is None or not known(left) or not known(right):
            hangs = next((part.why for part in (left, right) if isinstance(part, Unread)), "")
            return self.unread(node, hangs)
        try:
            return bool(how(left, right))
        except TypeError:
            return self.unread(node)

    def _boolop(self, node: ast.BoolOp) -> Any:
        wanted = isinstance(node.op, ast.Or)
        value: Any = None
        for part in node.values:
            value = self.fold(part)
            if isinstance(value, Names | Object):
                if wanted:
                    return value
                continue
            if not known(value):
                return self.unread(node, value.why if isinstance(value, Unread) else "")
            if bool(value) is wanted:
                return value
        return value

    def _ifexp(self, node: ast.IfExp) -> Any:
        test = self.fold(node.test)
        if known(test):
            return self.fold(node.body if test else node.orelse)
        one, other = self.fold(node.body), self.fold(node.orelse)
        if None in (one, other) and isinstance(one or other, Object):
            return one or other
        if known(one) and known(other) and one == other:
            return one
        return self.unread(node, "it hangs on what the file finds when it runs")

    def _subscript(self, node: ast.Subscript) -> Any:
        base, index = self.fold(node.value), self.fold(node.slice)
        if isinstance(base, Object):
            where = self.where(node)
            return Object("[]", {}, (Setting("[]", index, where),), where.line, base, where)
        if isinstance(base, Names) and isinstance(index, str) and index in base.values:
            return base.values[index]
        if isinstance(base, Unread):
            return self.unread(node, base.why)
        try:
            if isinstance(base, dict | list | str) and known(index):
                return base[index]
        except (KeyError, IndexError, TypeError):
            pass
        return self.unread(node)

    def _slice(self, node: ast.Slice) -> Any:
        return self.unread(node)

    def _listcomp(self, node: ast.ListComp) -> Any:
        from finetune.importing.calling import comprehension

        return comprehension(self, node)

    def _lambda(self, node: ast.Lambda) -> Any:
        return Function(node, self.first, self if self.elsewhere else None)

    def _namedexpr(self, node: ast.NamedExpr) -> Any:
        value = self.fold(node.value)
        self.values[node.target.id] = value
        return value

    def _await(self, node: ast.Await) -> Any:
        return self.fold(node.value)

    def _call(self, node: ast.Call) -> Any:
        from finetune.importing.calling import call

        return call(self, node)
