"""Statements of a script, in order: what each name stands for, and which calls are made. Nothing is run.

Both ways of a branch are looked into where it cannot be told which is taken."""

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.importing.folding import Folder, Function, Names
from finetune.importing.found import Object, Setting, Symbol, Unread, known

MOST_CALLS = 20_000
CONFIGURATIONS = ("TrainingArguments", "Config", "Arguments")


@dataclass
class Walker(Folder):
    nested: int = 0
    returns: bool = False
    returned: Any = None
    looked_into: set[ast.AST] = field(default_factory=set)
    """Functions of the file that a call has led into."""

    def walk(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            if len(self.calls) > MOST_CALLS:
                return
            method = getattr(self, f"on_{type(statement).__name__.lower()}", None)
            if method:
                method(statement)
            else:
                self._children(statement)

    def _children(self, statement: ast.stmt) -> None:
        """Of any other statement: the expressions and bodies inside it."""
        for part in ast.iter_child_nodes(statement):
            if isinstance(part, ast.expr):
                self.fold(part)
        for name in ("body", "orelse", "finalbody"):
            self.walk([part for part in getattr(statement, name, []) if isinstance(part, ast.stmt)])

    def on_import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.imports[alias.asname or alias.name.split(".")[0]] = (
                alias.name if alias.asname else alias.name.split(".")[0]
            )

    def on_importfrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self.imports[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}"

    def on_assign(self, node: ast.Assign) -> None:
        value = self.fold(node.value)
        for target in node.targets:
            self._assign(target, value)

    def on_annassign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._assign(node.target, self.fold(node.value))

    def on_augassign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            joined = ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value)
            self.values[node.target.id] = self.fold(ast.copy_location(ast.fix_missing_locations(joined), node))
        else:
            self.fold(node.value)

    def _assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.values[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            items = value if isinstance(value, list) and len(value) == len(target.elts) else None
            for number, part in enumerate(target.elts):
                self._assign(part, items[number] if items is not None else value)
        elif isinstance(target, ast.Attribute):
            self._attribute_of(target, value)
        elif isinstance(target, ast.Subscript):
            base, index = self.fold(target.value), self.fold(target.slice)
            if isinstance(base, dict) and isinstance(index, str | int):
                base[index] = value
            elif ast.unparse(target.value) == "os.environ" and isinstance(index, str):
                where = self.where(target)
                self.calls.append(
                    Object(
                        "os.environ", {index: Setting(f"os.environ.{index}", value, where)}, (), where.line, None, where
                    )
                )

    def _attribute_of(self, target: ast.Attribute, value: Any) -> None:
        base = self.fold(target.value)
        where = self.where(target)
        if isinstance(base, Names):
            base.values[target.attr] = value
        elif isinstance(base, Object) and base.name.endswith(CONFIGURATIONS) and isinstance(base.arguments, dict):
            base.arguments[target.attr] = Setting(f"{base.name}.{target.attr}", value, where)
        elif isinstance(base, Object | Symbol):
            setting = Setting(f"{ast.unparse(target.value)}.{target.attr}", value, where)
            self.calls.append(Object("setattr", {target.attr: setting}, (), where.line, base, where))

    def on_if(self, node: ast.If) -> None:
        if _is_main(node.test):
            self.walk(node.body)
            return
        test = self.fold(node.test)
        if known(test):
            self.walk(node.body if test else node.orelse)
            return
        before = dict(self.values)
        self.walk(node.body)
        taken = self.values
        self.values = dict(before)
        self.walk(node.orelse)
        self._merge(before, taken, ast.unparse(node.test))

    def _merge(self, before: dict[str, Any], taken: dict[str, Any], test: str) -> None:
        other = self.values
        for name in {*taken, *other}:
            one, two = taken.get(name, before.get(name)), other.get(name, before.get(name))
            if name not in taken or name not in other:
                other[name] = one if name in taken else two
            elif one is not two and not (known(one) and known(two) and one == two):
                plain = known(one) and known(two)
                other[name] = (
                    Unread(name, f"it hangs on `{test[:60]}`") if plain else one if one is not before.get(name) else two
                )

    def on_for(self, node: ast.For) -> None:
        self.fold(node.iter)
        for name in _names(node.target):
            self.values[name] = Unread(name, "it changes from turn to turn of a loop")
        self.walk(node.body)

    def on_with(self, node: ast.With) -> None:
        for item in node.items:
            value = self.fold(item.context_expr)
            if item.optional_vars is not None:
                self._assign(item.optional_vars, value)
        self.walk(node.body)

    def on_try(self, node: ast.Try) -> None:
        self.walk(node.body)
        for handler in node.handlers:
            self.walk(handler.body)
        self.walk([*node.orelse, *node.finalbody])

    def on_functiondef(self, node: ast.FunctionDef) -> None:
        self.values[node.name] = Function(node, self.first)

    on_asyncfunctiondef = on_functiondef

    def on_classdef(self, node: ast.ClassDef) -> None:
        """A class of settings has values; one that stands on a library's class is that one by another name."""
        for base in node.bases:
            value = self.fold(base)
            if isinstance(value, Symbol) and value.text.endswith(("Trainer", *CONFIGURATIONS)):
                self.imports[node.name] = value.text
                self.values.pop(node.name, None)
                return
        inner = Walker(self.file, self.first, dict(self.values), dict(self.imports), self.calls)
        start = set(inner.values)
        inner.walk([part for part in node.body if not isinstance(part, ast.FunctionDef)])
        values = {name: value for name, value in inner.values.items() if name not in start}
        self.values[node.name] = Names(values, f"{node.name} has no such value")

    def on_return(self, node: ast.Return) -> None:
        value = self.fold(node.value) if node.value is not None else None
        if not self.returns:
            self.returns, self.returned = True, value

    def on_delete(self, node: ast.Delete) -> None:
        del node

    def bind(self, node: Any, settings: dict[str, Setting], positional: Sequence[Setting]) -> None:
        """A function's parameters: as given, else their defaults."""
        names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
        defaults = dict(zip(reversed(names), reversed(node.args.defaults), strict=False))
        keywords = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        defaults |= {argument.arg: default for argument, default in keywords if default is not None}
        names += [argument.arg for argument in node.args.kwonlyargs]
        for number, name in enumerate(names):
            if name in settings:
                self.values[name] = settings[name].value
            elif number < len(positional):
                self.values[name] = positional[number].value
            elif name in defaults:
                self.values[name] = self.fold(defaults[name])
            else:
                self.values[name] = Unread(name, f"it is a parameter of `{node.name}`")

    def the_rest(self) -> None:
        """Functions that nothing calls: what a library would call, or somebody who imports the file."""
        for value in list(self.values.values()):
            if (
                isinstance(value, Function)
                and not isinstance(value.node, ast.Lambda)
                and value.node not in self.looked_into
            ):
                inner = Walker(self.file, value.first, dict(self.values), dict(self.imports), self.calls, nested=1)
                inner.looked_into = self.looked_into
                inner.bind(value.node, {}, ())
                inner.walk(value.node.body)


def _is_main(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


def _names(target: ast.expr) -> Iterable[str]:
    return [part.id for part in ast.walk(target) if isinstance(part, ast.Name)]
