"""Python files of the same project that a script imports -> their names, read from the syntax tree as the script is.

Only files beside the script or above it, a few of them; a library of that name is never looked for."""

import ast
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.importing.folding import Names

LIBRARIES = frozenset(
    """
    accelerate bitsandbytes datasets deepspeed evaluate huggingface_hub jinja2 mlflow modelscope numpy omegaconf pandas
    peft pydantic requests scipy sklearn tensorboard torch torchvision tqdm transformers trl unsloth unsloth_zoo vllm
    wandb yaml
    """.split()
)
LARGEST = 300_000
MOST = 20
"""Files that are read for one script."""
ABOVE = 3


def import_modules(walker: Any, node: ast.Import) -> None:
    """`import config`, `import transformers as t`."""
    for alias in node.names:
        first = alias.name.split(".")[0]
        module = module_of(walker, alias.name.split("."))
        if module is not None and (alias.asname or "." not in alias.name):
            walker.values[alias.asname or alias.name] = Names(module.values, f"{alias.name} has no such value")
        else:
            walker.imports[alias.asname or first] = alias.name if alias.asname else first


def import_names(walker: Any, node: ast.ImportFrom) -> None:
    """`from config import MODEL`, `from .data import rows as made`, `from config import *`."""
    parts = (node.module or "").split(".") if node.module else []
    module = module_of(walker, parts, node.level)
    for alias in node.names:
        name = alias.asname or alias.name
        if module is not None and alias.name == "*":
            walker.values.update({key: value for key, value in module.values.items() if key[:1] != "_"})
        elif module is not None and alias.name in module.values:
            walker.values[name] = module.values[alias.name]
        elif module is not None and alias.name in module.imports:
            walker.imports[name] = module.imports[alias.name]
        elif (part := module_of(walker, [*parts, alias.name], node.level)) is not None:
            walker.values[name] = Names(part.values, f"{alias.name} has no such value")
        else:
            walker.imports[name] = f"{node.module or ''}.{alias.name}"


def module_of(walker: Any, parts: Sequence[str], level: int = 0) -> Any:
    """A walker that has gone through the file; None where there is none to be read."""
    if not level and (not parts or parts[0] in LIBRARIES or parts[0] in sys.stdlib_module_names):
        return None
    path = _found(Path(walker.file), parts, level)
    if path is None:
        return None
    if path in walker.modules:
        return walker.modules[path]
    if len(walker.modules) >= MOST:
        return None
    walker.modules[path] = None  # two files that import each other
    try:
        tree = ast.parse(path.read_text(encoding="utf-8-sig"))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    made = type(walker)(str(path), calls=walker.calls, budget=walker.budget)
    made.elsewhere, made.modules, made.opened = True, walker.modules, walker.opened
    made.looked_into = walker.looked_into
    made.walk(tree.body)
    made.returns = made.gives_up = False
    walker.modules[path] = made
    return made


def _found(script: Path, parts: Sequence[str], level: int) -> Path | None:
    start = script.resolve().parent
    folders = [start, *list(start.parents)[:ABOVE]]
    for folder in [folders[min(level, len(folders)) - 1]] if level else folders:
        base = folder.joinpath(*parts)
        for path in (base.with_suffix(".py") if parts else base / "__init__.py", base / "__init__.py"):
            try:
                if path.is_file() and path.stat().st_size <= LARGEST and path != script.resolve():
                    return path
            except OSError:
                return None
    return None
