"""The filter of a source: a jinja2 expression over a row, in a sandbox in which it can neither change nor blow up
anything. Knows no file and no format."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

SAFE_METHODS = frozenset(
    "startswith endswith lower upper strip lstrip rstrip split count find isdigit isalpha isalnum isspace".split()
)
BANNED_FILTERS = frozenset("center indent format wordwrap batch slice xmlattr tojson pprint urlize random".split())
LONGEST = 1_000_000
"""Largest number that * and ** may give."""


class BadExpression(ValueError):
    """Why an expression cannot be read, or what went wrong with a row."""


class Columns:
    """A row as an expression sees it: columns alone, so that one named `items` is no method."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self._row = row

    def __getitem__(self, name: str) -> Any:
        return self._row[name]

    def __contains__(self, name: object) -> bool:
        return name in self._row


@functools.cache
def compiled(text: str) -> Callable[[Mapping[str, Any]], bool]:
    """The expression as a function of a row. BadExpression if it is none; the function raises it where a column is
    missing or a value is of the wrong type."""
    from jinja2 import TemplateError

    inner = text.strip()
    if inner.startswith("{{") and inner.endswith("}}"):
        inner = inner[2:-2]
    try:
        if "{%" in inner or "{{" in inner:
            raise BadExpression("one expression is wanted, such as {{ row.lang == 'en' }}")
        expression = _environment().compile_expression(inner, undefined_to_none=False)
    except TemplateError as error:
        raise BadExpression(str(error)) from None

    def holds(row: Mapping[str, Any]) -> bool:
        try:
            return bool(expression(row=Columns(row)))
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise BadExpression(str(error).replace("finetune.recipe.expression.Columns object", "row")) from None

    return holds


@functools.cache
def _environment() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Bounded(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(["*", "**", "%"])

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if not all(isinstance(value, int | float) and abs(value) <= LONGEST for value in (left, right)):
                raise BadExpression(f"{operator} takes numbers of at most {LONGEST:,}")
            if operator == "**" and abs(right) > 16:
                raise BadExpression("the exponent of ** is at most 16")
            return super().call_binop(context, operator, left, right)

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            return not callable(value) or (isinstance(obj, str) and attr in SAFE_METHODS)

        def is_safe_callable(self, obj: Any) -> bool:
            return getattr(obj, "__name__", "") in SAFE_METHODS

    environment = Bounded(undefined=StrictUndefined)
    environment.globals = {}
    for name in BANNED_FILTERS:
        environment.filters.pop(name, None)
    return environment
