"""What looks like a token, key or password in a recipe. Says where, never what."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from finetune.errors import Fault, RecipeError, Where
from finetune.recipe.source import Path_, Source

# Shapes that the services themselves give their secrets.
SHAPES = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}|\bsk-[A-Za-z0-9_-]{20,}|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{30,}"
    r"|\bglpat-[A-Za-z0-9_-]{15,}|\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[0-9A-Za-z_-]{30,}"
    r"|\bwandb_v1_[A-Za-z0-9_]{20,}|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|://[^/\s:@]+:[^/\s:@$]{3,}@"
)
KEYS = re.compile(
    r"(^|_)(api_?key|secret|password|passwd|credentials?|webhook_url)$|^(hf|hub|access|auth|wandb)_?token$", re.I
)
"""Names of keys under which only a secret is written. `pad_token` and the like are none of them."""


def refuse_secrets(source: Source, overrides: Sequence[str] = ()) -> None:
    """RecipeError for everything in the recipe's values, its files' text (comments included) and the overrides that
    looks like a secret."""
    found = {fault.where: fault for fault in (*_in_values(source.data, (), source), *_in_texts(source.files))}
    for number, text in enumerate(overrides, 1):
        key, _, value = text.partition("=")
        if SHAPES.search(text) or (KEYS.search(key.rsplit(".", 1)[-1]) and value.strip()):
            where = Where(f"override {number}")
            found[where] = _fault(key, where)
            # The values hold it too, under a place that would show it.
            found = {place: fault for place, fault in found.items() if place is None or text not in place.file}
    if found:
        raise RecipeError(*sorted(found.values(), key=lambda fault: (fault.where is None, fault.where)))


def _fault(key: str, where: Where) -> Fault:
    named = f"`{key}` holds" if key and not SHAPES.search(key) else "this line holds"
    return Fault(
        f"{named} what looks like a secret; recipes are shared. Put it into the environment (HF_TOKEN, WANDB_API_KEY, "
        "...), remove the line, and revoke the secret if the file was ever shared",
        where,
        code="FT006",
    )


def _in_values(value: Any, path: Path_, source: Source) -> Iterator[Fault]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _in_values(item, (*path, key), source)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _in_values(item, (*path, number), source)
    elif isinstance(value, str) and value.strip():
        key = next((str(part) for part in reversed(path) if isinstance(part, str)), "")
        if SHAPES.search(value) or KEYS.search(key):
            yield _fault(key, source.where(path))


def _in_texts(files: Sequence[str]) -> Iterator[Fault]:
    """Comments too: the run folder keeps the recipe as it was given."""
    for name in files:
        for number, line in enumerate(Path(name).read_text("utf-8-sig", "replace").splitlines(), 1):
            match = SHAPES.search(line)
            if match:
                key = re.match(r"\s*-?\s*(\w+)\s*:", line)
                yield _fault(key.group(1) if key else "", Where(name, number, key.start(1) + 1 if key else 1))
