"""The ground every recipe section stands on: strict frozen models, lenient numbers, and the stages a key reaches.

Knows no key."""

import ast
import functools
import inspect
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

# Looking for plugins reads the metadata of every installed package, a tenth of the time a check takes.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from finetune.plan import STAGES

CLEAN_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
LARGEST = 2**63 - 1
"""The largest whole number that the libraries can count with."""


class Section(BaseModel):
    """A part of a recipe: closed (unknown keys are refused), frozen, strict (true is not 1.0)."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        # Sections are never validated alone: building only the whole recipe's validator keeps `validate` light.
        defer_build=True,
    )


@dataclass(frozen=True)
class Reaches:
    """Which stages of the Plan move when the key's value changes; the tests flip every key and compare.

    `unsloth`: the stages on that backend, where they differ. `needs`: the keys that must be set for this one to count
    (eval_steps counts only with validation data)."""

    stages: frozenset[str]
    unsloth: frozenset[str]
    needs: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __init__(self, *stages: str, unsloth: tuple[str, ...] | None = None, needs: Mapping[str, Any] | None = None):
        assert set(stages) | set(unsloth or ()) <= set(STAGES), stages
        object.__setattr__(self, "stages", frozenset(stages))
        object.__setattr__(self, "unsloth", frozenset(stages if unsloth is None else unsloth))
        object.__setattr__(self, "needs", dict(needs or {}))

    def on(self, backend: str) -> frozenset[str]:
        return self.unsloth if backend == "unsloth" else self.stages


def as_number(value: Any) -> Any:
    """The number that a text says, else the value."""
    # People write "2e-4" and YAML 1.1 tools made them quote it: a string that is a clean number is that number.
    if isinstance(value, str) and CLEAN_NUMBER.fullmatch(value.strip()):
        return float(value)
    return value


def _whole(value: Any) -> Any:
    value = as_number(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _countable(value)


def _countable(value: Any) -> Any:
    if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        raise ValueError("a whole number of at most 64 bits")
    return value


def _steps(value: Any) -> Any:
    value = as_number(value)
    if isinstance(value, float) and value >= 1:
        if not value.is_integer():
            raise ValueError("a whole number of steps, or a share of all steps below 1")
        value = int(value)
    return _countable(value)


Number = Annotated[float, BeforeValidator(as_number), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_whole)]
Steps = Annotated[int | Annotated[float, Field(allow_inf_nan=False)], BeforeValidator(_steps)]
"""Steps as a whole number, or a share of all training steps as a fraction below 1."""


def reach_of(model: type[BaseModel], key: str) -> Reaches:
    """What the key of a recipe model declares. AssertionError if it declares nothing: every key must."""
    for mark in model.model_fields[key].metadata:
        if isinstance(mark, Reaches):
            return mark
    raise AssertionError(f"{model.__name__}.{key} does not say which stages it reaches")


@functools.cache
def key_texts(model: type[BaseModel]) -> dict[str, str]:
    """Key -> the docstring under its field, for the schema and the docs. Read from the source only when asked for,
    since `validate` must stay light."""
    texts: dict[str, str] = {}
    for owner in reversed([base for base in model.__mro__ if issubclass(base, Section) and base is not Section]):
        if owner.__module__.startswith("finetune."):
            body = ast.parse(inspect.cleandoc("\n" + inspect.getsource(owner))).body[0]
            assert isinstance(body, ast.ClassDef)
            for statement, after in zip(body.body, body.body[1:], strict=False):
                if isinstance(statement, ast.AnnAssign) and isinstance(after, ast.Expr):
                    assert isinstance(statement.target, ast.Name) and isinstance(after.value, ast.Constant)
                    texts[statement.target.id] = " ".join(str(after.value.value).split())
    return texts
