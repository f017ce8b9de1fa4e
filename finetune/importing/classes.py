"""A class of a script: of settings, of methods, or a library's by another name. Runs nothing."""

import ast
from typing import Any

from finetune.importing.folding import Function, Names
from finetune.importing.found import OWN_TRAINER, Object, Setting, Symbol, Unread

LOSSES = frozenset(
    """
    compute_loss _compute_loss dpo_loss kto_loss cpo_loss odds_ratio_loss get_batch_loss_metrics concatenated_forward
    training_step get_train_dataloader create_optimizer
    """.split()
)
"""Methods of a trainer which decide what is learned."""
CONFIGURATIONS = ("TrainingArguments", "Config", "Arguments")


def read_class(walker: Any, node: ast.ClassDef) -> None:
    """A class of settings has values; one that stands on a library's class is that one by another name."""
    for base in node.bases:
        value = walker.fold(base)
        if isinstance(value, Symbol) and value.text.endswith(("Trainer", *CONFIGURATIONS)):
            changed = [part.name for part in node.body if isinstance(part, ast.FunctionDef) and part.name in LOSSES]
            if changed and value.text.endswith("Trainer"):
                where = walker.where(node)
                names = Setting(node.name, changed, where)
                walker.calls.append(Object(OWN_TRAINER, {node.name: names}, (), where.line, None, where))
            walker.imports[node.name] = value.text
            walker.values.pop(node.name, None)
            return
    home = walker if walker.elsewhere else None
    methods = {part.name: Function(part, walker.first, home) for part in node.body if isinstance(part, ast.FunctionDef)}
    inner = type(walker)(
        walker.file, walker.first, dict(walker.values), dict(walker.imports), walker.calls, walker.budget
    )
    inner.opened, inner.modules, inner.elsewhere = walker.opened, walker.modules, walker.elsewhere
    inner.walk([part for part in node.body if not isinstance(part, ast.FunctionDef)])
    own = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    values = {name: _default(walker, value) for name, value in inner.values.items() if name in own}
    for parent in reversed([walker.fold(one) for one in node.bases]):
        if isinstance(parent, Names):
            values, methods = {**parent.values, **values}, {**parent.methods, **methods}
    walker.values[node.name] = Names(values, f"{node.name} has no such value", methods)


def _default(walker: Any, value: Any) -> Any:
    """Of a field of a dataclass: its default."""
    if not isinstance(value, Object) or value.name not in ("field", "Field"):
        return value
    made = value.get("default_factory")
    if isinstance(made, Function) and isinstance(made.node, ast.Lambda):
        return walker.fold(made.node.body)
    if isinstance(made, Unread) and made.text in ("list", "dict"):
        return [] if made.text == "list" else {}
    given = value.setting("default", 0)
    return given.value if given is not None else Unread("a field", "it has no default")
