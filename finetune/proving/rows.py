"""The rows that a proof trains on: the first ones of each entry of the data where it is on this machine, else made-up
ones in the entry's form; written to files of their own, each row at the line of its number. Knows no tokenizer."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.data.raw import Broken
from finetune.data.sources import rows_of
from finetune.errors import DataError
from finetune.formats.meaning import Fields
from finetune.machine import Machine
from finetune.plan import Call, perform
from finetune.proving.made_rows import made_rows
from finetune.recipe.data import DatasetEntry
from finetune.recipe.expression import BadExpression, compiled
from finetune.recipe.recipe import Recipe
from finetune.resolve import resolve

ROWS = 12
LOOKED_AT = 400
CHARACTERS = 2_400
"""Of a row's JSON; shorter rows are preferred, for time."""
TAKING = (
    "path data_files ds_type sample_by split name revision shards shards_idx max_rows weight weight_unit sample_seed"
).split()
"""Keys of an entry that say where its rows are and how many count."""


@dataclass(frozen=True)
class Taken:
    """An entry's rows in a proof. `entry`: as the proof's recipe has it; `real`: they are the entry's own; `why`: why
    they are not; `numbers`: theirs in the source; `texts`: all text in them."""

    entry: dict[str, Any]
    path: str
    real: bool
    why: str
    numbers: tuple[int, ...]
    texts: tuple[str, ...]

    @property
    def said(self) -> str:
        if not self.real:
            return f"{len(self.numbers)} made-up rows for {self.path} ({self.why})"
        return f"{len(self.numbers)} rows of {self.path}"


def taken_rows(recipe: Recipe, machine: Machine, folder: Path) -> list[Taken]:
    """DataError if a local source is damaged, or rows of a declared type cannot be made up."""
    entries = recipe.datasets
    plan = resolve(recipe, machine)
    calls = [call for call in plan.stage("format") if call.target.endswith(".open_source")][: len(entries)]
    each = max(4, -(-ROWS // len(entries)))
    rewards = list(recipe.trl.reward_funcs or ()) if recipe.trl else []
    return [
        _taken(entry, call, folder / f"rows-{number}.jsonl", (each, recipe.seed + number, rewards))
        for number, (entry, call) in enumerate(zip(entries, calls, strict=True))
    ]


def _taken(entry: DatasetEntry, call: Call, file: Path, wish: tuple[int, int, list[str]]) -> Taken:
    count, seed, rewards = wish
    kept = entry.model_dump(mode="json", exclude_unset=True, exclude=set(TAKING)) | {"path": str(file)}
    reason = _not_here(entry)
    if not reason:
        try:
            found = _first_rows(call, entry.filter, count)
        except DataError as error:
            if is_local(entry):
                raise
            reason = f"it is not in the hub's cache: {error.faults[0].message[:120]}"
    if not reason:
        if not found:
            raise DataError(f"{entry.path}: not one of its first {LOOKED_AT} rows is taken (datasets.filter)")
        _write(file, found)
        texts = tuple(itertools.chain.from_iterable(_texts(row) for _, row in found))
        return Taken(kept, entry.path, True, "", tuple(number for number, _ in found), texts)
    kept.pop("filter", None)
    if kept.get("type") is None and not entry.field and call.arguments["fields"]["kind"] == "rows":
        kept["type"] = "chat_template"
    made = made_rows(call.arguments["form"], Fields(**call.arguments["fields"]), count, seed, rewards)
    _write(file, list(enumerate(made, 1)))
    texts = tuple(itertools.chain.from_iterable(map(_texts, made)))
    return Taken(kept, entry.path, False, reason, tuple(range(1, count + 1)), texts)


def is_local(entry: DatasetEntry) -> bool:
    names = [entry.data_files] if isinstance(entry.data_files, str) else list(entry.data_files or ())
    return Path(entry.path).exists() or any(Path(name).exists() for name in names)


def _not_here(entry: DatasetEntry) -> str:
    """Why an entry's rows are not looked for."""
    if is_local(entry) or any(sign in entry.path for sign in "*?["):
        return ""
    if "://" in entry.path:
        return "it is an address, and a proof asks no network"
    from finetune.recipe.anchor import DATA_ENDINGS

    if entry.path.lower().endswith(DATA_ENDINGS) or entry.path.startswith((".", "/", "~")):
        return "the file is not here"
    if entry.path.count("/") != 1:
        return "it is neither here nor a hub id"
    return "" if _is_cached(entry.path) else "a hub dataset that is not in the cache"


def _is_cached(name: str) -> bool:
    """Whether the datasets library has prepared it before, or the hub's cache holds its files."""
    from datasets import config
    from huggingface_hub import constants

    prepared = Path(config.HF_DATASETS_CACHE) / name.replace("/", "___").lower()
    other = Path(config.HF_DATASETS_CACHE) / name.replace("/", "___")
    return (
        prepared.is_dir()
        or other.is_dir()
        or (Path(constants.HF_HUB_CACHE) / f"datasets--{name.replace('/', '--')}").is_dir()
    )


def _first_rows(call: Call, expression: str | None, count: int) -> list[tuple[int, Any]]:
    """(number, row) of the first rows that the filter lets pass; those that are short, where enough are."""
    entry = perform(call)
    holds = compiled(expression) if expression else None
    found: list[tuple[int, Any]] = []
    for _, number, raw in itertools.islice(rows_of(entry.source), LOOKED_AT):
        if isinstance(raw, Broken):
            found.append((number, raw))
            continue
        try:
            if holds is None or (isinstance(raw, Mapping) and holds(raw)):
                found.append((number, raw))
        except BadExpression:
            found.append((number, raw))  # whoever reads it says what is wrong
        if sum(map(_is_short, found)) >= count:
            break
    short = [pair for pair in found if _is_short(pair)][:count]
    rest = sorted((pair for pair in found if not _is_short(pair)), key=lambda pair: len(_line(pair[1])))
    return sorted(short + rest[: count - len(short)], key=lambda pair: pair[0])


def _is_short(pair: tuple[int, Any]) -> bool:
    return len(_line(pair[1])) <= CHARACTERS


def _line(row: Any) -> str:
    if isinstance(row, Broken):
        return f'{{"this row cannot be read": {json.dumps(row.why)}'  # no JSON: whoever reads it finds it broken too
    return json.dumps(row, ensure_ascii=False, default=str)


def _write(file: Path, rows: Sequence[tuple[int, Any]]) -> None:
    """Each row at the line of its number, so that messages name it as the source has it. Lines between are empty."""
    lines: list[str] = []
    for number, row in rows:
        lines += [""] * (number - 1 - len(lines))
        lines.append(_line(row))
    file.write_text("\n".join(lines) + "\n", "utf-8")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def real_names(taken: Sequence[Taken], text: str) -> str:
    """A message about a proof's files, with the names that the recipe has for them."""
    for one in taken:
        if one.real:
            text = text.replace(one.entry["path"], one.path)
    return text
