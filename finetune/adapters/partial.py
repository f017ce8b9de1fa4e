"""Training a part of the model without an adapter: which parameters learn, and which of their rows. Knows no recipe."""

import re
from collections.abc import Sequence
from typing import Any

from finetune.errors import ModelError

ROWS = re.compile(r"\[(\d*):(\d*)\]$")
"""Behind a pattern: the rows that learn, as Python counts them."""


def train_only(model: Any, patterns: Sequence[str]) -> Any:
    """The model with only those parameters trainable whose name begins with one of the regular expressions; of a
    parameter that is only named with rows behind it, only those rows.

    ModelError if a pattern matches none, or rows are none of the parameter's: it was meant to."""
    matched = dict.fromkeys(patterns, 0)
    names = []
    for name, parameter in model.named_parameters():
        names.append(name)
        found = [pattern for pattern in patterns if re.match(ROWS.sub("", pattern), name)]
        parameter.requires_grad_(bool(found))
        for pattern in found:
            matched[pattern] += 1
        if found and all(ROWS.search(pattern) for pattern in found):
            _keep_other_rows(parameter, [_rows(pattern, name, len(parameter)) for pattern in found])
    unused = [pattern for pattern, count in matched.items() if not count]
    if unused:
        raise ModelError(
            f"unfrozen_parameters: {unused[0]!r} matches no parameter of the model; its names look like {names[0]!r} "
            f"and {names[-1]!r}"
        )
    return model


def _rows(pattern: str, name: str, there: int) -> tuple[int, int]:
    found = ROWS.search(pattern)
    assert found is not None
    start, end = int(found[1] or 0), int(found[2] or there)
    if not start < end <= there:
        raise ModelError(f"unfrozen_parameters: {pattern!r} names rows {start} to {end}, but {name} has {there}")
    return start, end


def _keep_other_rows(parameter: Any, rows: Sequence[tuple[int, int]]) -> None:
    """Give rows that do not learn no gradient. With no weight decay, which the rules see to, they stay as they are."""

    def only_rows(gradient: Any) -> Any:
        kept = gradient.new_zeros(gradient.shape)
        for start, end in rows:
            kept[start:end] = gradient[start:end]
        return kept

    parameter.register_hook(only_rows)
