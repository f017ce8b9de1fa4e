"""A lock as text: what is written beside a recipe and into a run's folder, and how it is read again. Knows no recipe
and compares nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.errors import DriftError, Fault, Where

VERSION = 1
ENDING = ".lock"
HEAD = (
    "# What this recipe trains: written by `finetune lock`, to be reviewed and not edited. `finetune RECIPE --frozen` "
    "refuses\n# to train anything else; `finetune lock` writes it anew (docs/lock.md).\n"
)
HEAD_IN_RUN = "# What this run trained; `finetune reproduce` holds a run made again against it (docs/lock.md).\n"
IN_RUN = "lock.yaml"
"""The lock of what was trained, in a run's folder."""
PARTS = ("recipe", "inputs", "trained", "plan", "libraries")


@dataclass(frozen=True)
class Lock:
    """`recipe`: extends, keys and their digest; `inputs`: key -> what tells it; `trained`: the template, and tokens and
    labels by purpose; `plan`: stage -> digest; `libraries`: name -> version."""

    recipe: Mapping[str, Any]
    inputs: Mapping[str, Any]
    plan: Mapping[str, str]
    libraries: Mapping[str, str]
    trained: Mapping[str, Any] = field(default_factory=dict)

    def text(self, head: str = HEAD) -> str:
        """Its file, the same for the same things."""
        import yaml

        values = {"version": VERSION, **{name: _plain(getattr(self, name)) for name in PARTS}}
        # No aliases, no line broken: each line of a difference says one thing.
        return head + yaml.dump(values, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=2**20)

    @property
    def commits(self) -> dict[str, str]:
        """Input -> commit, of those on the hub."""
        return {key: item["commit"] for key, item in self.inputs.items() if item.get("commit")}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _dumper() -> Any:
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            del data
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            del indentless
            super().increase_indent(flow, False)

    return Dumper


def path_of(recipe: Path) -> Path:
    """Where a recipe's lock lies."""
    return recipe.with_suffix(ENDING)


def read(path: Path) -> Lock | None:
    """The lock in a file, None if there is no file. DriftError for one that cannot be read."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from None
    return parsed(text, path)


def parsed(text: str, path: Path) -> Lock:
    """DriftError with the line that is no lock's."""
    import yaml

    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(("<<<<<<< ", ">>>>>>> ")):
            raise _unreadable(path, "it holds both sides of a merge", number)
    try:
        values = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark.line + 1 if error.problem_mark else 0
        raise _unreadable(path, str(error.problem or error.context), place) from None
    except yaml.YAMLError as error:
        raise _unreadable(path, str(error).splitlines()[0]) from None
    version = values.get("version") if isinstance(values, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise DriftError(
            Fault(
                f"written by a newer finetune (version {version} of locks): update it", Where(str(path)), code="FT040"
            )
        )
    if version != VERSION or not all(isinstance(values.get(name), dict) for name in PARTS):
        raise _unreadable(path, "it is no lock")
    inputs = values["inputs"]
    if not all(isinstance(one, dict) for one in inputs.values()) or not isinstance(values["recipe"].get("keys"), dict):
        raise _unreadable(path, "it is no lock")
    return Lock(**{name: values[name] for name in PARTS})


def _unreadable(path: Path, why: str, line: int = 0) -> DriftError:
    message = f"the lock cannot be read: {why}. Write it anew: finetune lock {path.with_suffix('.yaml')}"
    return DriftError(Fault(message, Where(str(path), line, 1 if line else 0), code="FT040"))
