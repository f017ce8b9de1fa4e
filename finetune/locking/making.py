"""What a recipe would train now, as a Lock: first what can be told without reading the data, then what its rows come
to."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.data.prepared import Prepared
from finetune.locking.digests import bare, of_bytes, of_json
from finetune.locking.inputs import Commit, Item, Reading, absent, files_of
from finetune.locking.judges import packages_of
from finetune.locking.lock import Lock
from finetune.locking.meaning import calls_of, extended, keys_of, shown_keys
from finetune.locking.versions import PROGRAM, version_of
from finetune.recipe.compose import override
from finetune.recipe.extends import read_with_bases
from finetune.recipe.load import Checked
from finetune.recipe.recipe import Recipe
from finetune.recipe.source import Path_
from finetune.recipe.spellings import today

ALWAYS = ("torch", "transformers", "trl", "accelerate", "tokenizers", "datasets", "jinja2", "safetensors")
"""What every run imports, and what weights or tokens hang on."""
TOGETHER = 4096
"""Documents whose tokens are digested at a time."""


def raw_values(path: Path, overrides: Sequence[str]) -> Any:
    """The recipe's values before `${...}` is filled in."""
    source, _, _ = read_with_bases(path)
    return today(override(source, overrides))[0].data


def lock_of(checked: Checked, raw: Any, kept: Mapping[str, Item], commit: Commit, partly: bool = False) -> Lock:
    """Without the rows. `raw`: the values before `${...}` is filled in; `kept`: what an earlier lock says of inputs.
    `partly`: what is not on this machine is left out. FinetuneError if it is not, or the hub cannot tell."""
    recipe = checked.recipe
    inputs: dict[str, Item] = {}
    for key, item in Reading(_written(raw), kept, commit).of(recipe):
        if item is not None:
            inputs[key] = item
        elif not partly:
            raise absent(key, recipe)
    keys = keys_of(recipe)
    bases = extended(checked)
    about = {"sha256": bare(of_json(keys)), **({"extends": bases} if bases else {}), "keys": shown_keys(keys, raw)}
    return Lock(about, inputs, calls_of(recipe), libraries_of(recipe))


def _written(raw: Any) -> Callable[[Path_, str], str]:
    def written(place: Path_, otherwise: str) -> str:
        value = raw
        try:
            for part in place:
                value = value[part]
        except (KeyError, IndexError, TypeError):
            return otherwise
        return value if isinstance(value, str) else otherwise

    return written


def libraries_of(recipe: Recipe) -> dict[str, str]:
    """Versions of what a run imports, as far as it is installed here; without what tells a build for a CPU from one for
    a GPU."""
    names = list(ALWAYS)
    if recipe.adapter is not None:
        names.append("peft")
    if recipe.load_in_4bit or recipe.load_in_8bit or "8bit" in str(recipe.optimizer):
        names.append("bitsandbytes")
    if recipe.backend == "unsloth":
        names += ["unsloth", "unsloth_zoo"]
    if recipe.load_in_torchao:
        names.append("torchao")
    names += sorted(packages_of(recipe))
    return {name: version for name in sorted({*names, PROGRAM}) if (version := version_of(name))}


def trained_of(checked: Checked, prepared: Prepared, tokenizer: Any) -> dict[str, Any]:
    """The template in force and, by purpose, what is learned: digests over every token and label, whatever the files
    are called that they come from."""
    entries = _entries_of_sources(checked.recipe)
    template = str(tokenizer.chat_template or "")
    found: dict[str, Any] = {"template": of_bytes(template.encode("utf-8", "surrogatepass")) if template else None}
    found["stops"] = [str(tokenizer.convert_ids_to_tokens(stop)) for stop in prepared.stop_ids]
    for purpose in prepared.purposes:
        found["training" if purpose == "train" else purpose] = _of_purpose(prepared, purpose, entries)
    return found


def _of_purpose(prepared: Prepared, purpose: str, entries: Mapping[str, str]) -> dict[str, Any]:
    import hashlib

    import numpy

    made, names = prepared.documents(purpose), prepared.facts["sources"]
    whole, totals = hashlib.sha256(), numpy.zeros(3, dtype=numpy.int64)
    sources: dict[str, list[tuple[Any, str]]] = {}
    for place in dict.fromkeys(made.sources.tolist()):
        inside = numpy.flatnonzero(made.sources == place)
        figures = numpy.array([len(inside), made.lengths[inside].sum(), made.learned[inside].sum()])
        totals += figures
        digest = hashlib.sha256()
        for first in range(0, len(inside), TOGETHER):
            documents = inside[first : first + TOGETHER]
            digest.update(numpy.ascontiguousarray(made.lengths[documents], dtype=numpy.int64).tobytes())
            digest.update(prepared.gathered(made, documents).tobytes())
        key = entries.get(names[place], str(names[place]))
        sources.setdefault(key, []).append((figures, digest.hexdigest()))
    # Between sources the order of rows counts as well.
    whole.update(numpy.ascontiguousarray(made.sources, dtype=numpy.int64).tobytes())
    for parts in sources.values():
        whole.update("".join(digest for _, digest in parts).encode())
    for line in prepared.besides(purpose) if (prepared.folder / f"{purpose}.besides.jsonl").is_file() else ():
        whole.update(str(line).encode("utf-8", "surrogatepass"))
    told: dict[str, Any] = _figures(totals) | {"sha256": whole.hexdigest()}
    if len(sources) > 1:
        told["sources"] = {key: _of_source(parts) for key, parts in sorted(sources.items())}
    return told


def _of_source(parts: Sequence[tuple[Any, str]]) -> dict[str, Any]:
    digest = parts[0][1] if len(parts) == 1 else bare(of_json([one for _, one in parts]))
    return _figures(sum(figures for figures, _ in parts)) | {"sha256": digest}


def _figures(values: Any) -> dict[str, Any]:
    return dict(zip(("rows", "tokens", "learned"), (int(value) for value in values), strict=True))


def _entries_of_sources(recipe: Recipe) -> dict[str, str]:
    """Name of a source, as prepared rows have it -> the entry of the recipe that it belongs to."""
    found: dict[str, str] = {}
    for key in ("datasets", "test_datasets"):
        for number, entry in enumerate(getattr(recipe, key) or ()):
            for name in [file.name for file in files_of(entry) or ()] or [entry.path]:
                found.setdefault(name, f"{key}.{number}")
    return found
