"""Statements of a script, in order: what each name stands for, and which calls are made. Nothing is run.

Both ways of a branch are looked into where it cannot be told which is taken."""

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.errors import Where
from finetune.importing.bounds import TOO_LARGE, too_large
from finetune.importing.classes import CONFIGURATIONS, read_class
from finetune.importing.folding import Folder, Function, Names
from finetune.importing.found import GUESS, Object, Setting, Symbol, Unread, alike, is_plain, known
from finetune.importing.modules import import_modules, import_names

MOST_CALLS = 20_000
DEEPEST_UNCALLED = 3


@dataclass
class Walker(Folder):
    nested: int = 0
    returns: bool = False
    """Whether what follows is never reached."""
    gives_up: bool = False
    """By an exit code or an exception: a branch that a script takes where it was started without what it needs."""
    ways: list[Any] = field(default_factory=list)
    """What the function may return."""
    hangs: str = ""
    """On what it hangs which of them it is."""
    looked_into: set[ast.AST] = field(default_factory=set)
    """Functions of the file that a call has led into."""

    def walk(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            if len(self.calls) > MOST_CALLS or self.returns:
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
        import_modules(self, node)

    def on_importfrom(self, node: ast.ImportFrom) -> None:
        import_names(self, node)

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
                if too_large(base):  # also where it would hold itself
                    base[index] = self.unread(target, TOO_LARGE)
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
            ways = len(self.ways)
            self.walk(node.body if test else node.orelse)
            if self.returns and self.gives_up:
                self.returns = self.gives_up = False
                self.ways = self.ways[:ways]
            return
        before = dict(self.values)
        self.walk(node.body)
        taken, ends = self.values, self.returns
        self.values, self.returns = dict(before), False
        self.walk(node.orelse)
        if ends and not self.returns:
            self.hangs = self.hangs or ast.unparse(node.test)
        elif self.returns and not ends:
            self.values, self.returns = taken, False
            self.hangs = self.hangs or ast.unparse(node.test)
        elif not ends:
            self._merge(before, taken, ast.unparse(node.test))

    def _merge(self, before: dict[str, Any], taken: dict[str, Any], test: str) -> None:
        other = self.values
        for name in {*taken, *other}:
            one, two = taken.get(name, before.get(name)), other.get(name, before.get(name))
            if name not in taken or name not in other:
                other[name] = one if name in taken else two
            elif one is not two and not alike(one, two):
                plain = is_plain(one) and is_plain(two)
                if isinstance(one, Object) and isinstance(two, Object) and one is not before.get(name):
                    self._guessed(name, test, one, two)
                other[name] = (
                    Unread(name, f"it hangs on `{test[:60]}`") if plain else one if one is not before.get(name) else two
                )

    def _guessed(self, name: str, test: str, one: Object, two: Object) -> None:
        """Which of two holds cannot be told: the first is taken, and that is noted among the calls."""
        where = one.where or Where(self.file)
        note = Setting(f"{name}.{test}", two.line, where)
        self.calls.append(Object(GUESS, {name: note}, (), where.line, None, where))

    def on_for(self, node: ast.For) -> None:
        self.fold(node.iter)
        for name in _names(node.target):
            self.values[name] = Unread(name, "it changes from turn to turn of a loop")
        self.walk(node.body)
        if self.returns:
            self.returns, self.hangs = False, self.hangs or "how a loop goes"

    def on_with(self, node: ast.With) -> None:
        for item in node.items:
            value = self.fold(item.context_expr)
            if item.optional_vars is not None:
                self._assign(item.optional_vars, value)
        self.walk(node.body)

    def on_try(self, node: ast.Try) -> None:
        self.walk(node.body)
        ends = self.returns
        for handler in node.handlers:
            # What stands there is for the machine on which something is missing.
            self.returns, tried = False, dict(self.values)
            self.walk(handler.body)
            self.values = {**self.values, **tried}
        self.returns = ends
        self.walk([*node.orelse, *node.finalbody])

    def on_functiondef(self, node: ast.FunctionDef) -> None:
        self.values[node.name] = Function(node, self.first, self if self.elsewhere else None)

    on_asyncfunctiondef = on_functiondef

    def on_classdef(self, node: ast.ClassDef) -> None:
        read_class(self, node)

    def on_return(self, node: ast.Return) -> None:
        self.ways.append(self.fold(node.value) if node.value is not None else None)
        self.returns = True
        code = node.value.value if isinstance(node.value, ast.Constant) else ...
        self.gives_up = node.value is None or code in (1, 2)

    def on_raise(self, node: ast.Raise) -> None:
        if node.exc is not None:
            self.fold(node.exc)
        self.returns = self.gives_up = True

    def returned(self, name: str) -> Any:
        """What a function returns; Unread where it is one of several."""
        if not self.ways:
            return Unread(name, "the function returns what it makes when it runs")
        first = self.ways[0]
        if all(alike(first, way) for way in self.ways[1:]):
            return first
        made = [way for way in self.ways if isinstance(way, Object | Names)]
        if made and all(way is None or way in made for way in self.ways):
            return made[0]
        return Unread(name, f"it hangs on `{self.hangs[:60]}`")

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
                self.values[name] = self._typed(name, node)

    def _typed(self, name: str, node: Any) -> Any:
        """A parameter that nobody gives: of a class of settings of the file, its defaults."""
        every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        annotation = next((one.annotation for one in every if one.arg == name), None)
        value = self.values.get(annotation.id) if isinstance(annotation, ast.Name) else None
        if isinstance(value, Names):
            return value.instance({})
        return Unread(name, f"it is a parameter of `{node.name}`")

    def the_rest(self, seen: Mapping[str, Any] | None = None) -> None:
        """Functions that nothing calls: what a library would call, or somebody who imports the file. `seen`: names that
        stand outside of this function."""
        for name, value in list(self.values.items()):
            if seen is not None and seen.get(name) is value:
                continue
            if getattr(value, "home", None) is not (self if self.elsewhere else None):
                continue
            if isinstance(value, Function):
                self._uncalled(value, ())
            elif isinstance(value, Names) and any(one.node not in self.looked_into for one in value.methods.values()):
                myself = (Setting("self", value.instance({}), Where(self.file)),)
                for method in list(value.methods.values()):
                    self._uncalled(method, myself)

    def _uncalled(self, function: Function, given: Sequence[Setting]) -> None:
        node = function.node
        if isinstance(node, ast.Lambda) or node in self.looked_into or self.nested >= DEEPEST_UNCALLED:
            return
        self.looked_into.add(node)
        values, imports = dict(self.values), dict(self.imports)
        inner = Walker(self.file, function.first, values, imports, self.calls, self.budget, nested=self.nested + 1)
        inner.looked_into, inner.opened, inner.modules = self.looked_into, self.opened, self.modules
        inner.elsewhere = self.elsewhere
        inner.bind(node, {}, given)
        inner.walk(node.body)
        inner.the_rest(self.values)


def _is_main(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


def _names(target: ast.expr) -> Iterable[str]:
    return [part.id for part in ast.walk(target) if isinstance(part, ast.Name)]
