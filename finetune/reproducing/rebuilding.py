"""A run's folder -> the recipe that makes the run again, wherever it is started. Decides what of a recipe belongs to
the run and what to the occasion; reads no data and no model."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.errors import RunFolderError, UsageError
from finetune.recipe.source import Path_, plain
from finetune.recipe.tracking import TrackingSection
from finetune.rundir import RunDir

OCCASION = frozenset({"export_to", "export_quantization", "hub_model_id", "silence", "sweep"})
"""What a run was asked for besides its training, and that is not asked for again."""
GOING_ON = ("resume_from_checkpoint", "auto_resume_from_checkpoints", "resume_changed")
FOLDERS = ("base_model", "tokenizer_config", "lora_model_dir", "chat_template_jinja")
ENTRY = ("path", "data_files", "chat_template_jinja")
HEAD = "# {run}, to be made again: extends, overrides and ${{...}} are filled in, paths are whole.\n"


@dataclass(frozen=True)
class Rebuilt:
    """`text`: the recipe; `places`: what the run's plan has for a path -> what the recipe has now; `left_out`: keys of
    the occasion."""

    text: str
    places: Mapping[str, str]
    left_out: tuple[str, ...] = ()


@dataclass
class _Places:
    """Paths as the run reached them, from the folder where it was started, as they are reached from anywhere."""

    directory: Path
    found: dict[str, str] = field(default_factory=dict)

    def whole(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.whole(one) for one in value]
        if not isinstance(value, str) or "://" in value:
            return value
        path = self.directory / os.path.expanduser(value)  # noqa: PTH111 - Path's raises for ~~
        there = path.parent if any(sign in path.name for sign in "*?[") else path
        if not os.path.lexists(there) and not value.startswith((".", "/", "~")):
            return value  # a hub id, or a template's text
        self.found[value] = os.path.normpath(path)
        return os.path.normpath(path)

    def instead(self, value: Any, now: Any) -> Any:
        """What lies elsewhere now, as it is reached from the working directory."""
        if isinstance(now, str) and "://" not in now and os.path.lexists(os.path.expanduser(now)):  # noqa: PTH111
            now = os.path.abspath(os.path.expanduser(now))  # noqa: PTH100, PTH111
        if isinstance(value, str):
            self.found[value] = str(now)
        return now


def rebuilt(run: RunDir, output: Path, elsewhere: Mapping[Path_, Any]) -> Rebuilt:
    """`elsewhere`: place of an input -> where it lies now. RunFolderError for a folder that does not hold what it
    takes."""
    import yaml

    origin = run.read("origin.json")
    try:
        composed = yaml.safe_load((run.path / "recipe.composed.yaml").read_text("utf-8"))
        keys, places = origin["keys"], _Places(Path(origin["directory"]))
        values = {key: value for key, value in composed.items() if key in keys}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(
            f"{run.path} does not tell its recipe ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from None
    dropped = {*OCCASION, *GOING_ON, *TrackingSection.model_fields}
    left_out = tuple(key for key in values if key in dropped - {*GOING_ON})
    values = {key: value for key, value in values.items() if key not in dropped}
    for place in {**dict.fromkeys(_input_places(values, keys)), **dict.fromkeys(elsewhere)}:
        try:
            _set(values, place, places.whole(_get(keys, place)))
        except (IndexError, KeyError, TypeError):
            raise UsageError(f"{'.'.join(map(str, place))}: the run has no such input") from None
        if place in elsewhere:
            _set(values, place, places.instead(_get(keys, place), elsewhere[place]))
    values |= _settled(run)
    values["output_dir"] = str(output)
    return Rebuilt(HEAD.format(run=run.path) + as_yaml(values), places.found, left_out)


def _input_places(values: Mapping[str, Any], keys: Mapping[str, Any]) -> Iterator[Path_]:
    yield from ((key,) for key in FOLDERS if key in values)
    for key in ("datasets", "test_datasets"):
        for number, entry in enumerate(values.get(key) or ()):
            yield from ((key, number, name) for name in ENTRY if name in entry)
    if (values.get("trl") or {}).get("reward_funcs"):
        yield from (("trl", "reward_funcs", number) for number in range(len(keys["trl"]["reward_funcs"])))


def _settled(run: RunDir) -> dict[str, Any]:
    """What memory decided for keys that say `auto`."""
    found: dict[str, Any] = run.read("settled.json") if (run.path / "settled.json").is_file() else {}
    return found


def _get(values: Any, place: Path_) -> Any:
    for part in place:
        values = values[part]
    return values


def _set(values: Any, place: Path_, value: Any) -> None:
    for part in place[:-1]:
        values = values[part]
    values[place[-1]] = value


def as_yaml(values: Mapping[str, Any]) -> str:
    """YAML that says the same to this program's reader, which reads YAML 1.2, as to PyYAML, which wrote the run's."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: Any, value: str) -> Any:
        quoted = '"' if not isinstance(plain(value), str) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=quoted)

    Dumper.add_representer(str, text)
    return yaml.dump(dict(values), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
