"""What is sent to the hub, file by file, and sending it. A dry run writes the same files beside the run instead."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from finetune.errors import MachineError, RecipeError, RunFolderError, UsageError
from finetune.exporting.card import card
from finetune.exporting.card_facts import Sent
from finetune.exporting.finished import Finished
from finetune.exporting.places import PROOF
from finetune.exporting.public import HUB_ID, Base, Public, base_of, base_said
from finetune.recipe.secrets import SHAPES

KINDS = ("adapter", "merged", "gguf", "ollama", "vllm", "tgi")
"""What can be published: the run's own weights, or the folder of an export."""
BESIDE = ("recipe.yaml", "recipe.composed.yaml", "plan.json", "machine.json", "metrics.jsonl", "data.json")
"""Files of the run that go along, into the folder `finetune` of the repository."""
PREVIEW = "push"
LISTED = "files.json"
TEXTS = (".yaml", ".json", ".jsonl", ".txt")
"""Endings of files that may say something of this machine."""
WHOLE = ("tokenizer.json", "vocab.json", "model.safetensors.index.json")
OWN = ("README.md",)
"""Files that peft leaves beside the weights and the card takes the place of."""


@dataclass(frozen=True)
class Package:
    """Path in the repository -> a file, or a text. `private`: for its owner alone; `changed`: the files from which
    paths of this machine were taken."""

    repo: str
    private: bool
    files: Mapping[str, Path | str]
    changed: tuple[str, ...] = ()

    def sizes(self) -> dict[str, int]:
        return {
            name: len(what.encode()) if isinstance(what, str) else what.stat().st_size
            for name, what in sorted(self.files.items())
        }


@dataclass(frozen=True)
class Order:
    """What the command line asked for. `kind`: adapter, merged, gguf, ...; `base`: the base model's name on the hub."""

    repo: str
    kind: str | None
    license: str | None
    public: bool
    base: str | None


def pack(run: Finished, order: Order) -> Package:
    """UsageError for a repository's name that is none, a licence that nobody said, or an adapter whose base model is
    known to this machine alone; RunFolderError if what shall be sent is not there or not proven; RecipeError if a text
    looks as if it held a secret."""
    if not HUB_ID.fullmatch(order.repo):
        raise UsageError(f"{order.repo!r} is no repository: write OWNER/NAME")
    folder = _folder(run, order.kind)
    kind = "adapter" if folder == run.weights and run.plan.has_adapter else order.kind or "model"
    base = _base(run, order.base, kind)
    sent = Sent(run, kind, folder, order.repo, _license(run, order.license), base)
    files: dict[str, Path | str] = {**_sendable(folder)}
    files |= {f"finetune/{name}": run.folder.path / name for name in BESIDE if (run.folder.path / name).is_file()}
    cleaned = _cleaned(files, _public(run, base, order.base is not None), base)
    files |= cleaned
    files["README.md"] = _public(run, None, False).text(card(sent))
    _refuse_secrets(files)
    return Package(order.repo, not order.public, files, tuple(cleaned))


def _sendable(folder: Path) -> dict[str, Path]:
    """The files of a folder but hidden ones and those in hidden folders. RunFolderError for a link that leads out of
    it: what lies there was not made to be sent."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not path.is_file() or path.name in OWN or any(part.startswith(".") for part in inside.parts):
            continue
        if not path.resolve().is_relative_to(folder.resolve()):
            raise RunFolderError(f"{path} is a link to {path.resolve()}: put the file itself there, or remove it")
        found[str(inside)] = path
    return found


def _base(run: Finished, given: str | None, kind: str) -> Base | None:
    name = str(run.keys.get("base_model"))
    if given is not None:
        said = base_said(given)
        if said is None:
            raise UsageError(f"--base {given} is no model of the hub: write OWNER/NAME or OWNER/NAME@REVISION")
        return said
    found = base_of(name, run.directory)
    if found is None and kind == "adapter":
        raise UsageError(
            f"the adapter is nothing without its base_model, and {name} is a folder that this machine alone has. Say "
            "what the hub calls it with --base OWNER/NAME[@REVISION], or publish the whole model: finetune merge, then "
            "--what merged"
        )
    pinned = str(run.keys.get("revision_of_model") or "")
    return found if found is None or found.revision else Base(found.name, pinned)


def _public(run: Finished, base: Base | None, told: bool) -> Public:
    """`told`: the base model has another name on the hub than in the recipe."""
    name = str(run.keys.get("base_model"))
    here = told or base_said(name) is None or base_of(name, run.directory) is None
    return Public(name if here else "", base, run.directory, run.folder.path)


def _cleaned(files: Mapping[str, Path | str], public: Public, base: Base | None) -> dict[str, str]:
    """The files that say something of this machine, without it."""
    found: dict[str, str] = {}
    for name, path in files.items():
        if not isinstance(path, Path) or path.suffix not in TEXTS or path.name in WHOLE:
            continue
        text = path.read_text("utf-8", "replace")
        same = json.loads if path.suffix == ".json" else str
        said = public.json(text) if path.suffix == ".json" else public.text(text)
        if name == "adapter_config.json" and base is not None:
            said = _based(said, base, public)
        if same(said) != same(text):
            found[name] = said
    return found


def _based(text: str, base: Base, public: Public) -> str:
    """The adapter's configuration, by which peft finds the base model."""
    config = json.loads(text)
    if public.local:
        config["base_model_name_or_path"] = base.name
    if base.revision and not config.get("revision"):
        config["revision"] = base.revision
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def _folder(run: Finished, kind: str | None) -> Path:
    if kind in (None, "adapter"):
        if kind == "adapter" and not run.plan.has_adapter:
            raise UsageError("the run trained all weights and has no adapter: leave --what out")
        if not any(run.weights.glob("*.safetensors")) and not any(run.weights.glob("*.bin")):
            raise RunFolderError(f"{run.weights} holds no weights, so there is nothing to publish. Train it again")
        return run.weights
    folder = run.folder.path / str(kind)
    if not (folder / PROOF).is_file():
        how = "finetune merge" if kind == "merged" else f"finetune export --to {kind}"
        raise RunFolderError(f"{folder} holds no export: make it with {how}, or leave --what out")
    if not json.loads((folder / PROOF).read_text("utf-8")).get("passed"):
        raise RunFolderError(f"{folder} is not proven to be what was trained (proof.json): export it again")
    return folder


def _license(run: Finished, given: str | None) -> str:
    """What was said, or what the base model's own card says. UsageError if neither does."""
    if given:
        return given
    base = Path(str(run.keys.get("base_model")))
    folder = base if base.is_dir() else run.directory / base
    for path in (folder / "README.md",):
        if path.is_file():
            parts = path.read_text("utf-8", "replace").split("---")
            facts = _yaml(parts[1]) if len(parts) > 2 and not parts[0].strip() else {}
            found = facts.get("license_name") if facts.get("license") == "other" else facts.get("license")
            if isinstance(found, str) and found:
                return found
    raise UsageError("nothing says under which licence this may be used: write --license, as in --license apache-2.0")


def _yaml(text: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _refuse_secrets(files: Mapping[str, Path | str]) -> None:
    for name, what in files.items():
        if isinstance(what, Path) and what.suffix not in (*TEXTS, ".sh", ".jinja"):
            continue
        if name == "tokenizer.json":
            continue
        text = what if isinstance(what, str) else what.read_text("utf-8", "replace")
        if SHAPES.search(text):
            raise RecipeError(f"{name} holds something that looks like a token, key or password; nothing was sent")


def preview(package: Package, run: Finished) -> Path:
    """The dry run: a folder with the card, the list of files with their sizes, and every small file as it would go."""
    folder = run.folder.path / PREVIEW
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, what in package.files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, str):
            target.write_text(what, "utf-8")
        elif what.stat().st_size < 2**20:
            shutil.copy2(what, target)
    facts = {"repo": package.repo, "private": package.private, "files": package.sizes()}
    (folder / LISTED).write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    return folder


def send(package: Package) -> str:
    """The address of the commit. MachineError if the hub cannot be reached or refuses."""
    from httpx import HTTPError
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    api = HfApi()
    added = [
        CommitOperationAdd(name, what.encode() if isinstance(what, str) else str(what))
        for name, what in sorted(package.files.items())
    ]
    try:
        api.create_repo(package.repo, private=package.private, exist_ok=True)
        commit = api.create_commit(package.repo, added, commit_message="Trained with finetune")
    except (HfHubHTTPError, HTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled, OSError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise MachineError(
            f"the hub did not take {package.repo}: {first}. Check name and network, and `hf auth login` (or HF_TOKEN)"
        ) from error
    return str(commit.commit_url)
