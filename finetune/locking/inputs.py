"""A checked recipe -> what it reads from outside: models, tokenizers, data, files of code and of templates, each with
what tells its bytes. Knows where they are named and how they are told; asks no hub and loads nothing."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune.data.files import BUILDERS, DataFile, list_files
from finetune.data.opening import is_address, shown
from finetune.errors import DataError, FinetuneError, ModelError
from finetune.locking import digests
from finetune.locking.commits import Repository
from finetune.locking.judges import base_named, function_item, rewards_of
from finetune.recipe.anchor import TEMPLATE_ENDINGS
from finetune.recipe.data import DatasetEntry
from finetune.recipe.recipe import Recipe
from finetune.recipe.reward_models import weights_folder
from finetune.recipe.rewards import FunctionName
from finetune.recipe.source import Path_, path_of

ON_HUB = re.compile(r"hf://datasets/(?P<name>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?/(?P<rest>.*)")
BASE = "base"
"""Part of a reward model's key: the model on which its adapter stands."""
Item = dict[str, Any]
Commit = Callable[[Repository], str | None]
"""What gives the commit of a repository; None where it is not to be known."""


@dataclass(frozen=True)
class Named:
    """`key`: as a lock has it; `place`: in the recipe; `name`: as it is reached from the working directory."""

    key: str
    place: Path_
    name: str


@dataclass(frozen=True)
class Reading:
    """How a recipe's inputs are told. `written`: the path at a place of the recipe, before anything was filled in.
    `kept`: what an earlier lock says, by key. `commit`: of a repository."""

    written: Callable[[Path_, str], str]
    kept: Mapping[str, Item]
    commit: Commit

    def of(self, recipe: Recipe) -> Iterator[tuple[str, Item | None]]:
        """(key, what tells it), None for what is not on this machine. FinetuneError for what is wrong with it."""
        models = [Named("model", ("base_model",), recipe.base_model)]
        for key, place in (("tokenizer", "tokenizer_config"), ("adapter", "lora_model_dir")):
            if name := getattr(recipe, place):
                models.append(Named(key, (place,), name))
        for named in models:
            yield named.key, self._model(named, recipe.revision_of_model if named.key == "model" else None)
        for key in ("datasets", "test_datasets"):
            for number, entry in enumerate(getattr(recipe, key) or ()):
                yield f"{key}.{number}", self._data(Named(f"{key}.{number}", (key, number, "path"), entry.path), entry)
        yield from self._files(recipe)

    def _files(self, recipe: Recipe) -> Iterator[tuple[str, Item | None]]:
        for place, jinja in templates_of(recipe):
            if named_template(jinja):
                key = ".".join(map(str, place))
                yield key, self._file(Named(key, place, jinja), _text_digest)
        for number, found in rewards_of(recipe):
            named = Named(f"trl.reward_funcs.{number}", ("trl", "reward_funcs", number), str(found))
            if isinstance(found, FunctionName):
                yield named.key, function_item(found, self.written(named.place, named.name).partition("@")[0])
            else:
                yield from self._reward_model(named)

    def _reward_model(self, named: Named) -> Iterator[tuple[str, Item | None]]:
        """The model and, of an adapter, what it stands on."""
        item = self._model(replace(named, name=weights_folder(named.name)), None)
        yield named.key, item
        key = f"{named.key}.{BASE}"
        kept, commit = self.kept.get(key, {}), (item or {}).get("commit")
        if commit and commit == self.kept.get(named.key, {}).get("commit"):
            name = kept.get("hub")  # the same adapter stands on the same model
        else:
            name = base_named(named.name, commit) if item is not None else None
        if name:
            yield key, self._model(Named(key, (), name), None)

    def _model(self, named: Named, revision: str | None) -> Item | None:
        if os.path.isdir(named.name):  # noqa: PTH112 - Path's raises for names that are too long
            read = _read(named, lambda: digests.listed(digests.model_files(named.name)))
            # What the recipe does not name itself is shown without its place.
            path = self.written(named.place, named.name) if named.place else os.path.basename(named.name)  # noqa: PTH119
            return {"path": path, **read}
        if self._is_local(named) or named.name.startswith((".", "/", "~")):
            return None
        return self._on_hub(Repository("model", named.name, revision, named.key))

    def _on_hub(self, what: Repository) -> Item:
        asked = {"revision": what.revision} if what.revision else {}
        return {"hub": what.name, **asked, "commit": self.commit(what)}

    def _is_local(self, named: Named) -> bool:
        """Whether it was a file or folder when it was locked: a name that is not there looks like one of the hub."""
        return "path" in self.kept.get(named.key, {})

    def _data(self, named: Named, entry: DatasetEntry) -> Item | None:
        if found := ON_HUB.fullmatch(entry.path):
            what = Repository("dataset", found["name"], found["revision"], named.key)
            return self._on_hub(what) | {"files": found["rest"]}
        try:
            files = files_of(entry)
        except DataError:
            if self._is_local(named) or _is_gone(entry):
                return None
            raise
        if files is None:
            return None if self._is_local(named) else self._on_hub(_dataset(named, entry))
        if any(is_address(file.path) for file in files):
            return self._addresses(named, entry, files)
        written = self.written(named.place, entry.path)
        if len(files) == 1 and not os.path.isdir(os.path.expanduser(entry.path)):  # noqa: PTH111, PTH112
            return {"path": written, "sha256": _read(named, lambda: digests.bare(digests.of_file(files[0].path)))}
        names = digests.named_alike(file.path for file in files)
        return {"path": written, **_read(named, lambda: digests.listed(names))}

    def _addresses(self, named: Named, entry: DatasetEntry, files: list[DataFile]) -> Item:
        """Of the local files among them, the digests."""
        names = [entry.path]
        if entry.path in BUILDERS and entry.data_files:
            names = [name for name in _listed(entry.data_files) if is_address(name)]
        local = digests.named_alike(file.path for file in files if not is_address(file.path))
        told = _read(named, lambda: digests.listed(local)) if local else {}
        return {"address": " ".join(map(shown, names)), **told}

    def _file(self, named: Named, digest: Callable[[str], str]) -> Item | None:
        if not Path(named.name).is_file():
            return None
        return {
            "path": self.written(named.place, named.name),
            "sha256": _read(named, lambda: digests.bare(digest(named.name))),
        }


def _dataset(named: Named, entry: DatasetEntry) -> Repository:
    return Repository("dataset", entry.path, entry.revision, named.key)


def _is_gone(entry: DatasetEntry) -> bool:
    """Whether nothing is there, rather than something that cannot be read."""
    names = _listed(entry.data_files)
    paths = names if entry.path in BUILDERS and names else [entry.path]
    return not any(os.path.lexists(os.path.expanduser(path)) for path in paths)  # noqa: PTH111


def _listed(names: str | Sequence[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())


def files_of(entry: DatasetEntry) -> list[DataFile] | None:
    """The files that are read of an entry, or None if it is a hub dataset."""
    names = [entry.data_files] if isinstance(entry.data_files, str) else entry.data_files
    return list_files(entry.path, names, entry.ds_type, split=entry.split or "train", sample_by=entry.sample_by)


def templates_of(recipe: Recipe) -> Iterator[tuple[Path_, str]]:
    """Each template that the recipe writes or names by its file, with its place."""
    if recipe.chat_template_jinja:
        yield ("chat_template_jinja",), recipe.chat_template_jinja
    for key in ("datasets", "test_datasets"):
        for number, entry in enumerate(getattr(recipe, key) or ()):
            if entry.chat_template_jinja:
                yield (key, number, "chat_template_jinja"), entry.chat_template_jinja


def named_template(jinja: str) -> bool:
    """Whether it is a file's name."""
    return jinja.endswith(TEMPLATE_ENDINGS) and "{" not in jinja and "\n" not in jinja


def _text_digest(path: str) -> str:
    # jinja2 reads any line end as the same.
    return digests.of_bytes(Path(path).read_text("utf-8").encode("utf-8"))


def _read(named: Named, what: Callable[[], Any]) -> Any:
    try:
        return what()
    except (OSError, UnicodeDecodeError) as error:
        kind = DataError if "datasets" in named.key else ModelError
        raise kind(f"{named.key}: {named.name} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def absent(key: str, recipe: Recipe) -> FinetuneError:
    """The error for an input that is to be locked, and is not here."""
    name: Any = recipe
    for part in place_of(key):
        name = name[part] if isinstance(part, int) else getattr(name, part)
    kind = DataError if "datasets" in key else ModelError
    return kind(
        f"{key}: {name} is not on this machine (looked beside the recipe and in the working directory), so what it "
        "holds cannot be written down. Put it there, or run `finetune lock` where it is"
    )


def place_of(item: str) -> Path_:
    """Where the recipe names an input, or the input that a part of it belongs to (`model.config.json`)."""
    known = {"model": "base_model", "tokenizer": "tokenizer_config", "adapter": "lora_model_dir"}
    parts = path_of(item)
    first = str(parts[0])
    if first in known:
        return (known[first],)
    if first == "trl":
        return parts[:3]
    if first in ("datasets", "test_datasets"):
        return parts if parts[2:] == ("chat_template_jinja",) else (*parts[:2], "path")
    return parts
