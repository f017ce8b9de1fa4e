"""Training a part of the model without an adapter: which parameters learn. Knows no recipe."""

import re
from collections.abc import Sequence
from typing import Any

from finetune.errors import ModelError


def train_only(model: Any, patterns: Sequence[str]) -> Any:
    """The model with only those parameters trainable whose name begins with one of the regular expressions.

    ModelError if a pattern matches none: it was meant to."""
    matched = dict.fromkeys(patterns, 0)
    names = []
    for name, parameter in model.named_parameters():
        names.append(name)
        found = [pattern for pattern in patterns if re.match(pattern, name)]
        parameter.requires_grad_(bool(found))
        for pattern in found:
            matched[pattern] += 1
    unused = [pattern for pattern, count in matched.items() if not count]
    if unused:
        raise ModelError(
            f"unfrozen_parameters: {unused[0]!r} matches no parameter of the model; its names look like {names[0]!r} "
            f"and {names[-1]!r}"
        )
    return model
