"""Two locks, of then and of now -> what moved, one finding for each thing. Reads nothing and refuses nothing."""

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from finetune.locking.lock import Lock
from finetune.locking.meaning import FROM_ENVIRONMENT, flat
from finetune.recipe.source import Path_, path_of

LIBRARIES = "libraries"
ABSENT = "not written"
SHOWN = 100
FILES_SHOWN = 6


@dataclass(frozen=True)
class Moved:
    """`item`: what moved, as the lock names it; `was` and `now` as text. `place`: of a key of the recipe. `hint`: what
    it may come from."""

    item: str
    was: str
    now: str
    place: Path_ = ()
    hint: str = ""

    @property
    def of_library(self) -> bool:
        return self.item.startswith(f"{LIBRARIES}.")

    def __str__(self) -> str:
        return f"{self.item}: {self.was} → {self.now}" + (f" ({self.hint})" if self.hint else "")


def moved(was: Lock, now: Lock) -> list[Moved]:
    """All that can be told without the rows. What is not on this machine is in `unseen`."""
    found = [*_recipe(was, now), *moved_inputs(was, now)]
    if not any(one.place for one in found):
        found += _calls(was, now)
    return [*found, *_libraries(was, now)]


def unseen(was: Lock, now: Lock) -> list[str]:
    """What the lock holds and this machine does not have, so that it was not compared."""
    return [key for key in was.inputs if key not in now.inputs]


def _recipe(was: Lock, now: Lock) -> Iterator[Moved]:
    before, after = dict(flat(was.recipe["keys"])), dict(flat(now.recipe["keys"]))
    different = [key for key in {**before, **after} if _whole(before, key) != _whole(after, key)]
    for key in different:
        yield Moved(key, *_texts(before, after, key), path_of(key))
    if not different and was.recipe.get("sha256") != now.recipe.get("sha256"):
        variables = [key for key, value in after.items() if isinstance(value, str) and FROM_ENVIRONMENT in value]
        what = ", ".join(variables) or "the recipe"
        yield Moved(what, "another value", "the one that its variable has here", path_of((variables or [""])[0]))
    if list(was.recipe.get("extends") or ()) != list(now.recipe.get("extends") or ()):
        before_files, files = (", ".join(lock.recipe.get("extends") or ()) or "nothing" for lock in (was, now))
        yield Moved("extends", before_files, files, ("extends",))


def _whole(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False) if key in values else ABSENT


def _texts(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> tuple[str, str]:
    """Both values; of long ones, from where they begin to differ."""
    both = _whole(before, key), _whole(after, key)
    if max(map(len, both)) <= SHOWN:
        return both
    first = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*both, strict=False)))
    begin = max(0, first - SHOWN // 4) if first > SHOWN // 2 else 0
    return _cut(both[0], begin), _cut(both[1], begin)


def _cut(text: str, begin: int) -> str:
    end = begin + SHOWN - 1
    return "…" * bool(begin) + text[begin:end] + "…" * (end < len(text))


def moved_inputs(was: Lock, now: Lock) -> Iterator[Moved]:
    """Models, data and files that are others; those that are not on this machine are in `unseen`."""
    for key in {**was.inputs, **now.inputs}:
        if key not in was.inputs:
            yield Moved(key, ABSENT, _named(now.inputs[key]))
        elif key in now.inputs:
            yield from _one_input(key, was.inputs[key], now.inputs[key])


def _one_input(key: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Moved]:
    kinds = [next((kind for kind in ("hub", "address", "path") if kind in one), "") for one in (was, now)]
    yield from _files(key, was.get("imports", {}), now.get("imports", {}))
    if kinds[0] != kinds[1] or (kinds[0] != "path" and was.get(kinds[0]) != now.get(kinds[0])):
        yield Moved(key, _named(was), _named(now))
    elif kinds[0] == "hub":
        # The revision of a model or a dataset is a key of the recipe; that of an address stands in it.
        told = [f"{one.get('revision', 'main')} {one['files']}" for one in (was, now) if "files" in one]
        if len(told) == 2 and told[0] != told[1]:
            yield Moved(key, told[0], told[1])
        elif now.get("commit") and was.get("commit") != now["commit"]:
            yield Moved(f"{key}.commit", str(was.get("commit")), now["commit"], hint=f"of {now['hub']}")
    elif "files" in was and "files" in now:
        yield from _files(key, was["files"], now["files"])
    elif (was.get("sha256"), was.get("count")) != (now.get("sha256"), now.get("count")):
        yield Moved(key, _digest(was), _digest(now), hint=f"of {now.get('path')}")


def _files(key: str, was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Moved]:
    names = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    for name in names[:FILES_SHOWN]:
        before, after = (_short(files[name]) if name in files else "no such file" for files in (was, now))
        yield Moved(f"{key}.{name}", before, after)
    if len(names) > FILES_SHOWN:
        yield Moved(key, f"{len(was)} files", f"{len(now)} files, {len(names)} of them others")


def _named(item: Mapping[str, Any]) -> str:
    name = item.get("hub") or item.get("address") or f"{item.get('path')} {_digest(item)}"
    return f"{name} at {item['commit'][:12]}" if item.get("commit") else str(name)


def _digest(item: Mapping[str, Any]) -> str:
    files = f"{len(item['files'])} files" if "files" in item else ""
    count = f"{item['count']} files, " if "count" in item else ""
    return files or count + _short(str(item.get("sha256", "")))


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


def _calls(was: Lock, now: Lock) -> Iterator[Moved]:
    stages = [stage for stage in {**was.plan, **now.plan} if was.plan.get(stage) != now.plan.get(stage)]
    if stages:
        programs = [lock.libraries.get("finetune", "?") for lock in (was, now)]
        yield Moved("plan", "the calls that were locked", f"others in {', '.join(stages)}", hint=_program(programs))


def _program(versions: list[str]) -> str:
    if versions[0] == versions[1]:
        return "the same recipe comes to other calls in this version of the program"
    return f"finetune {versions[0]} → {versions[1]}"


def _libraries(was: Lock, now: Lock) -> Iterator[Moved]:
    for name, version in was.libraries.items():
        here = now.libraries.get(name)
        if here is not None and here != version:
            yield Moved(f"{LIBRARIES}.{name}", str(version), here)


def moved_rows(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[Moved]:
    """What moved of the template and of what is learned."""
    found = []
    if was.get("template") != now.get("template"):
        before, after = (_short(str(one.get("template") or "none")) for one in (was, now))
        found.append(Moved("trained.template", before, after, hint="the chat template in force"))
    if list(was.get("stops") or ()) != list(now.get("stops") or ()):
        before, after = (", ".join(one.get("stops") or ()) or "none" for one in (was, now))
        found.append(Moved("trained.stops", before, after))
    for purpose in ("training", "validation"):
        one, other = was.get(purpose), now.get(purpose)
        if one != other:
            found.append(Moved(f"trained.{purpose}", _figures(one), _figures(other), hint=_sources(one, other)))
    return found


def _figures(rows: Mapping[str, Any] | None) -> str:
    if rows is None:
        return "none"
    return (
        f"{rows.get('rows')} rows, {rows.get('tokens')} tokens, {rows.get('learned')} learned, "
        f"{_short(str(rows.get('sha256')))}"
    )


def _sources(was: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    """Which sources another total comes from."""
    before, after = ((one or {}).get("sources") or {} for one in (was, now))
    return ", ".join(key for key in {**before, **after} if before.get(key) != after.get(key))
