"""Calls in a script -> Objects with their arguments; calls of a few pure functions -> their value; calls of functions
that the file defines are looked into. Nothing is run."""

import ast
import posixpath
import re
from typing import Any

from finetune.importing.folding import FOLDED, Folder, Function, Names
from finetune.importing.found import Object, Setting, Symbol, Unread, known
from finetune.importing.opened import LOADERS, name_in, settings_in

TEXT_METHODS = ("lower", "upper", "strip", "lstrip", "rstrip", "replace", "split", "join", "format", "removesuffix",
                "removeprefix", "title")  # fmt: skip
DATACLASS_PARSERS = ("HfArgumentParser", "TrlParser", "H4ArgumentParser")
DEEPEST = 6
"""Functions of the file inside each other that are looked into."""


def call(folder: Folder, node: ast.Call) -> Any:
    """The value of a call."""
    settings, positional = _arguments(folder, node)
    function = node.func
    if isinstance(function, ast.Attribute):
        base = folder.fold(function.value)
        found = _method(base, function.attr, settings, positional)
        if found is not None:
            return found
        if function.attr == "get" and isinstance(base, Object | Unread) and len(positional) == 2:
            why = base.why if isinstance(base, Unread) else Unread("").why
            other = positional[1].value
            return Unread(folder.unread(node).text, why, other if known(other) else None)
        if isinstance(base, Names) and function.attr in base.methods:
            return _of_instance(folder, base, function.attr, settings, positional)
        if isinstance(base, Unread) and function.attr in ("get", *TEXT_METHODS) and base.why != Unread("").why:
            return folder.unread(node, base.why)
        if isinstance(base, Symbol):
            return _named(folder, node, f"{base.text}.{function.attr}", settings, positional)
        return _record(folder, node, function.attr, (settings, positional), base)
    value = folder.fold(function)
    if isinstance(value, Function):
        inside = _inside(folder, value, settings, positional)
        rows = any(isinstance(one.value, Object) for one in (*positional, *settings.values()))
        if not isinstance(inside, Unread) or (inside.why.startswith("it ") and not rows):
            return inside
        return _record(folder, node, value.text, (settings, positional), None)
    if isinstance(value, Names):
        made = value.instance({name: setting.value for name, setting in settings.items()})
        if "__init__" in made.methods:
            _of_instance(folder, made, "__init__", settings, positional)
        return made
    name = value.text if isinstance(value, Symbol | Unread) else "a call"
    return _named(folder, node, name, settings, positional)


def _arguments(folder: Folder, node: ast.Call) -> tuple[dict[str, Setting], list[Setting]]:
    name = ast.unparse(node.func).rsplit("\n", 1)[-1]
    owner = name.split("(")[0].rsplit(".", 1)[-1] if name.endswith(")") else name
    short = (
        ".".join(owner.split(".")[-2:])
        if owner.endswith(("from_pretrained", "get_peft_model"))
        else owner.split(".")[-1]
    )
    settings: dict[str, Setting] = {}
    for keyword in node.keywords:
        where = folder.where(keyword.value)
        value = folder.fold(keyword.value)
        if keyword.arg is not None:
            settings[keyword.arg] = Setting(f"{short}.{keyword.arg}", value, folder.where(keyword))
        elif isinstance(value, dict):
            settings |= {
                str(key): Setting(f"{short}.{key}", item, where)
                for key, item in value.items()
                if str(key) not in settings
            }
        else:
            settings["**"] = Setting(f"{short}.**{ast.unparse(keyword.value)}", folder.unread(keyword.value), where)
    positional = [
        Setting(f"{short}.{number}", folder.fold(part), folder.where(part))
        for number, part in enumerate(node.args)
        if not isinstance(part, ast.Starred)
    ]
    return settings, positional


def _record(folder: Folder, node: ast.Call, name: str, given: tuple[Any, Any], base: Any) -> Object:
    where = folder.where(node)
    made = Object(name, given[0], tuple(given[1]), where.line, base, where)
    folder.calls.append(made)
    return made


def _named(folder: Folder, node: ast.Call, name: str, settings: dict[str, Setting], positional: list[Setting]) -> Any:
    """A call of a name: a pure function, or a library's."""
    values = [one.value for one in positional]
    plain = all(map(known, values)) and all(known(one.value) for one in settings.values())
    short = name.rsplit(".", 1)[-1]
    if name == "dict" and all(isinstance(value, dict) for value in values):
        return {**(values[0] if values else {}), **{key: one.value for key, one in settings.items()}}
    if name in FOLDED and plain and not settings and not (name == "round" and len(values) > 1 and _far(values[1])):
        try:
            return FOLDED[name](*values)
        except (TypeError, ValueError, OverflowError):
            return folder.unread(node)
    hangs = next((one.why for one in values if isinstance(one, Unread)), "")
    if name in ("int", "float", "str", "bool", "round", "abs") and hangs:
        other = values[0].otherwise if isinstance(values[0], Unread) else None
        return Unread(folder.unread(node).text, hangs, _as_kind(name, other))
    if name in ("os.path.join", "posixpath.join") and plain and all(isinstance(value, str) for value in values):
        return posixpath.join(*values)
    if short in ("Path", "PurePath") and plain and values and all(isinstance(value, str) for value in values):
        return posixpath.join(*values)
    if name in ("os.getenv", "os.environ.get") and len(values) == 2 and known(values[1]):
        return values[1]
    if name in ("os.getenv", "os.environ.get"):
        return folder.unread(node, "it is a variable of the environment")
    if name in LOADERS and values and (file := name_in(values[0])) is not None:
        folder.opened.add(file)
        return settings_in(folder.file, file)
    if name == "getattr" and len(values) > 1 and isinstance(values[1], str):
        return _got(folder, node, values)
    if name == "range" and plain and values and all(isinstance(value, int) for value in values):
        return Object("range", settings, tuple(positional), folder.where(node).line, None, folder.where(node))
    if short in ("SimpleNamespace", "Namespace", "AttrDict", "EasyDict", "DictConfig"):
        return Names({key: one.value for key, one in settings.items()})
    return _record(folder, node, name, (settings, positional), None)


def _method(base: Any, name: str, settings: dict[str, Setting], positional: list[Setting]) -> Any:
    """Of plain texts and mappings, and of a parser of the command line; None for any other."""
    values = [one.value for one in positional]
    plain = all(map(known, values)) and all(known(one.value) for one in settings.values())
    if isinstance(base, str) and name in TEXT_METHODS and plain and _small(base, name, values):
        try:
            return getattr(base, name)(*values, **{key: one.value for key, one in settings.items()})
        except (TypeError, ValueError, IndexError, KeyError, AttributeError):
            return None
    if isinstance(base, dict) and name in ("get", "copy", "items", "keys", "values") and plain:
        return base.get(*values) if name == "get" and values else dict(base) if name == "copy" else None
    if isinstance(base, Object) and base.name == "ArgumentParser":
        return _parser(base, name, settings, positional)
    if isinstance(base, Object) and base.name in DATACLASS_PARSERS and name.startswith("parse"):
        return _parsed(base)
    return None


def _parsed(parser: Object) -> Any:
    """Classes of settings that a command line fills: their defaults, as when the script is started without any."""
    given = parser.positional[0].value if parser.positional else parser.get("dataclass_types")
    classes = given if isinstance(given, list) else [given]
    why = "the command line gives it"
    return [one.instance({}) if isinstance(one, Names) else Unread("a command line", why) for one in classes]


def _as_kind(name: str, value: Any) -> Any:
    """`float("2e-4")`; None for what is no such thing."""
    try:
        return FOLDED[name](value) if value is not None else None
    except (TypeError, ValueError, OverflowError):
        return None


def _got(folder: Folder, node: ast.Call, values: list[Any]) -> Any:
    """getattr(base, name[, default])."""
    base, name = values[0], values[1]
    if isinstance(base, Symbol):
        return Symbol(f"{base.text}.{name}")
    if isinstance(base, Names) and (name in base.values or len(values) > 2):
        return base.values.get(name, values[-1])
    return folder.unread(node)


def _of_instance(
    folder: Folder, base: Names, name: str, settings: dict[str, Setting], positional: list[Setting]
) -> Any:
    """A method of a class of the file, with `self` as it has become until now."""
    method = base.methods[name]
    decorators = {ast.unparse(one) for one in getattr(method.node, "decorator_list", ())}
    own = [] if "staticmethod" in decorators else [Setting("self", base, folder.where(method.node))]
    return _inside(folder, method, settings, [*own, *positional])


def _small(base: str, name: str, values: list[Any]) -> bool:
    """Whether the text that comes out is of a size that a setting may have."""
    if len(base) >= 10_000 or (name == "format" and re.search(r":[^{}]*\d{4}", base)):
        return False
    longest = max([1, *(len(value) for value in values if isinstance(value, str | list))])
    return name not in ("replace", "format", "join") or len(base) * longest < 1_000_000


def _far(places: Any) -> bool:
    """Places to round to that no number has."""
    return isinstance(places, int) and abs(places) > 100


def _parser(parser: Object, name: str, settings: dict[str, Setting], positional: list[Setting]) -> Any:
    """The defaults of a command line are its values, as when the script is started without any."""
    defaults = parser.arguments
    if name == "add_argument":
        words = [one.value for one in positional if isinstance(one.value, str)]
        word = next((word for word in words if word.startswith("--")), words[0] if words else "")
        dest = settings["dest"].value if "dest" in settings else word.lstrip("-").replace("-", "_")
        action = settings["action"].value if "action" in settings else None
        value = settings["default"].value if "default" in settings else None
        if "default" not in settings and action in ("store_true", "store_false"):
            value = action == "store_false"
        elif "default" not in settings:
            value = Unread(f"args.{dest}", f"the command line gives it: {word}")
        if isinstance(defaults, dict) and isinstance(dest, str):
            defaults[f"default.{dest}"] = Setting(dest, value, positional[0].where if positional else parser.where)  # type: ignore[arg-type]
        return parser
    if name in ("parse_args", "parse_known_args"):
        values = {key[8:]: one.value for key, one in defaults.items() if key.startswith("default.")}
        return Names(values, "the command line gives it")
    return parser if name in ("add_argument_group", "add_mutually_exclusive_group") else None


def _inside(folder: Folder, function: Function, settings: dict[str, Setting], positional: list[Setting]) -> Any:
    """What a function of the file returns; Unread where that is not plain to see."""
    from finetune.importing.walking import Walker

    node = function.node
    nested = getattr(folder, "nested", 0)
    if isinstance(node, ast.Lambda) or nested >= DEEPEST or len(folder.calls) > 5_000 or not folder.budget.looks:
        return Unread(function.text)
    folder.budget.looks -= 1
    home = function.home or folder
    names = dict(home.values), dict(home.imports)
    walker = Walker(home.file, function.first, *names, folder.calls, folder.budget)
    walker.elsewhere, walker.modules = home.elsewhere, folder.modules
    walker.nested = nested + 1
    walker.looked_into = getattr(folder, "looked_into", set())
    walker.opened = folder.opened
    walker.looked_into.add(node)
    walker.bind(node, settings, positional)
    walker.walk(node.body)
    walker.the_rest(home.values)
    return walker.returned(function.text)


def comprehension(folder: Folder, node: ast.ListComp) -> Any:
    """[function(row) for row in rows] as the step that it is; lines of a file as the rows in it."""
    loop = node.generators[0]
    over = folder.fold(loop.iter)
    if (
        len(node.generators) > 1
        or not isinstance(over, Object)
        or over.name in ("range", "zip", "enumerate")
        or not isinstance(loop.target, ast.Name)
    ):
        return folder.unread(node)
    name = loop.target.id
    call = node.elt if isinstance(node.elt, ast.Call) else None
    asked = ast.unparse(call.func) if call is not None else ""
    where = folder.where(node)
    if asked == "json.loads" and over.name in ("open", "splitlines", "readlines"):
        opened = over if over.name == "open" else over.base
        return (
            Object("read_jsonl", {}, opened.positional[:1], where.line, None, where)
            if isinstance(opened, Object)
            else over
        )
    made = over
    if loop.ifs:
        keeps = ast.Lambda(_one_argument(name), ast.BoolOp(ast.And(), loop.ifs) if len(loop.ifs) > 1 else loop.ifs[0])
        made = _step("filter", Function(keeps, folder.first), made, folder, node)
    if isinstance(node.elt, ast.Name) and node.elt.id == name:
        return made
    named = call is not None and len(call.args) == 1 and isinstance(call.args[0], ast.Name) and call.args[0].id == name
    function = folder.fold(call.func) if named and call is not None else None
    if not isinstance(function, Function):
        function = Function(ast.Lambda(_one_argument(name), node.elt), folder.first)
    return _step("map", function, made, folder, node)


def _one_argument(name: str) -> ast.arguments:
    return ast.arguments([], [ast.arg(name)], None, [], [], None, [])


def _step(name: str, function: Function, over: Object, folder: Folder, node: ast.AST) -> Object:
    where = folder.where(node)
    return Object(name, {}, (Setting("map.0", function, where),), where.line, over, where)
