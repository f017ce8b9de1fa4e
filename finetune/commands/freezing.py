"""--frozen, for every command that has it: what is compared with the lock and when, what is refused, and what is only
said. Knows the order of these; what moved is found by locking."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune import ranks
from finetune.errors import DriftError, Fault, FinetuneError, Where

if TYPE_CHECKING:
    from finetune.locking.commits import Repository
    from finetune.locking.drift import Moved
    from finetune.locking.lock import Lock
    from finetune.plan import Plan
    from finetune.previewing import Looked
    from finetune.recipe.load import Checked
    from finetune.recipe.source import Path_
    from finetune.rundir import RunDir

SAID = 8


def frozen_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--frozen", action="store_true", help="refuse what is not as RECIPE.lock has it")
    parser.add_argument(
        "--other-versions", action="store_true", help="with --frozen: libraries may have other versions than locked"
    )


@dataclass(frozen=True)
class Held:
    """A recipe with the commits that are loaded, what it would train, and the lock that lies beside it, if there is
    one. `refuses`: whether what is not as locked is an error; `mend`: how it is accepted."""

    checked: "Checked"
    now: "Lock"
    kept: "Lock | None"
    refuses: bool
    mend: str

    def plan(self, plan: "Plan") -> "Plan":
        from finetune.locking.pinning import pinned_plan

        return pinned_plan(plan, self.checked.recipe, self.now.inputs) if self.refuses else plan

    def with_rows(self, prepared: Any, tokenizer: Any) -> "Lock":
        """The lock of what is trained, whole. DriftError if rows or template are not as locked and that is refused."""
        from finetune.data.warned import dated
        from finetune.locking.drift import moved_rows
        from finetune.locking.making import trained_of

        whole = replace(self.now, trained=trained_of(self.checked, prepared, tokenizer))
        if self.kept is not None and self.refuses:
            found = moved_rows(self.kept.trained, whole.trained)
            faults = [fault_of(one, self.checked, self.mend) for one in found]
            notes = [Fault(note.removeprefix("warning: "), severity="warning") for note in dated(tokenizer) if faults]
            refuse([*faults, *notes], self.checked)
        return whole

    def judge(self, looked: "Looked") -> None:
        """DriftError if rows or template are not as locked."""
        if self.refuses:
            self.with_rows(looked.data, looked.tokenizer)

    def seal(self, prepared: Any, tokenizer: Any, folder: "RunDir") -> None:
        """Keep the lock of what is trained with the run."""
        from finetune.locking.lock import HEAD_IN_RUN, IN_RUN

        folder.write_text(IN_RUN, self.with_rows(prepared, tokenizer).text(HEAD_IN_RUN))


def refuse(faults: Sequence[Fault], checked: "Checked") -> None:
    """DriftError with those that are errors, once the others are said."""
    from finetune.commands.checking import print_faults

    print_faults(checked.heard([fault for fault in faults if fault.severity != "error"]))
    if errors := [fault for fault in faults if fault.severity == "error"]:
        raise DriftError(*errors)


def held(parsed: argparse.Namespace, checked: "Checked", trains: bool = False) -> Held:
    """The recipe as it is to be trained: frozen, with the locked commits. DriftError if it is not as locked; what is
    only to be said is printed. `trains`: whether versions of libraries count here."""
    from finetune.locking.lock import path_of

    lock = path_of(parsed.recipe)
    kept = _read(lock, parsed.frozen) if parsed.frozen or trains else None
    if parsed.frozen and kept is None:
        raise no_lock(parsed.recipe)
    if not parsed.frozen and not trains:
        return _free(checked)
    now = locked_now(parsed, checked, kept)
    if kept is not None:
        refuse(judged(parsed, checked, kept, now, trains), checked)
    if not parsed.frozen or kept is None:
        # A branch is loaded by its name: by a commit, the hub's cache would not know it again offline.
        return Held(checked, now, kept, False, mend_of(parsed))
    return _pinned(parsed, checked, kept, now)


def held_in(rank: ranks.Rank, parsed: argparse.Namespace, checked: "Checked") -> Held:
    """The same in one of a training's processes. Files are read by one process of each machine, and by the first alone
    where nothing is refused; the others take its word, or hear that it failed."""
    if rank.first or (parsed.frozen and rank.local == 0):
        with ranks.failing_together():
            return held(parsed, checked, trains=True)
    if not parsed.frozen:
        return _free(checked)
    from finetune.locking.lock import path_of

    kept = _read(path_of(parsed.recipe), needed=True)
    if kept is None:
        raise no_lock(parsed.recipe)
    return _pinned(parsed, checked, kept, kept)


def _pinned(parsed: argparse.Namespace, checked: "Checked", kept: "Lock", now: "Lock") -> Held:
    from finetune.locking.pinning import pinned_recipe

    frozen = replace(checked, recipe=pinned_recipe(checked.recipe, kept.inputs))
    return Held(frozen, now, kept, True, mend_of(parsed))


def _read(lock: Path, needed: bool) -> "Lock | None":
    """A lock that nobody asked for does not keep a run from training."""
    from finetune.commands.checking import print_faults
    from finetune.locking.lock import read

    try:
        return read(lock)
    except DriftError as error:
        if needed:
            raise
        print_faults([replace(fault, severity="warning") for fault in error.faults])
        return None


def _free(checked: "Checked") -> Held:
    from finetune.locking.lock import Lock

    return Held(checked, Lock({}, {}, {}, {}), None, False, "")


def mend_of(parsed: argparse.Namespace) -> str:
    """How another state is accepted: a command that trains what no lock lies beside says it itself."""
    return str(getattr(parsed, "mend", "")) or f"accept it with: finetune lock {parsed.recipe}"


def no_lock(recipe: Path) -> DriftError:
    from finetune.locking.lock import path_of

    message = f"--frozen, and there is no lock: write it with `finetune lock {recipe}`, and commit it"
    return DriftError(Fault(message, Where(str(path_of(recipe))), code="FT040"))


def locked_now(parsed: argparse.Namespace, checked: "Checked", kept: "Lock | None") -> "Lock":
    """What the recipe would train now, as far as this machine can tell. Frozen, no hub is asked."""
    from finetune.locking.making import lock_of, raw_values

    inputs = kept.inputs if kept else {}
    commit = kept_commit(inputs) if parsed.frozen else asked_commit
    raw = raw_values(parsed.recipe, getattr(parsed, "overrides", ()))
    return lock_of(checked, raw, inputs, commit, partly=True)


def kept_commit(inputs: Mapping[str, Any]) -> "Callable[[Repository], str | None]":
    """Commits as an earlier lock has them, for what is asked for in the same words."""

    def commit(what: "Repository") -> str | None:
        item = inputs.get(what.key, {})
        same = item.get("hub") == what.name and item.get("revision") == what.revision
        return item.get("commit") if same else None

    return commit


def asked_commit(what: "Repository") -> str | None:
    from finetune.locking.commits import commit_of

    try:
        return commit_of(what)
    except FinetuneError:
        return None  # loading it will say why, if it cannot be loaded either


def judged(parsed: argparse.Namespace, checked: "Checked", kept: "Lock", now: "Lock", trains: bool) -> list[Fault]:
    """What is to be said of what moved; errors where it is refused."""
    from finetune.locking.drift import moved, unseen
    from finetune.locking.lock import path_of

    found, said = moved(kept, now), []
    mend = mend_of(parsed)
    where = Where(str(path_of(parsed.recipe)))
    if not parsed.frozen:
        return [_loose(found, mend, where)] if found else []
    for one in found:
        counts = not one.of_library or (trains and not parsed.other_versions)
        said.append(replace(fault_of(one, checked, mend), severity="error" if counts else "warning"))
    absent = unseen(kept, now)
    if absent:
        message = f"not on this machine, so not compared with the lock: {', '.join(absent)}"
        said.append(Fault(message, where, "error" if trains else "note", "FT044"))
    return said


def lock_faults(recipe: Path) -> list[Fault]:
    """What is not as the recipe's lock has it, as far as that is told without its rows; versions of libraries are
    warnings."""
    from finetune.locking.lock import path_of, read
    from finetune.recipe.load import load_recipe

    asked = argparse.Namespace(recipe=recipe, frozen=True, other_versions=True)
    try:
        checked, kept = load_recipe(recipe), read(path_of(recipe))
        if kept is None:
            return list(no_lock(recipe).faults)
        return checked.heard(judged(asked, checked, kept, locked_now(asked, checked, kept), trains=False))
    except FinetuneError as error:
        return list(error.faults)


def _loose(found: "list[Moved]", mend: str, where: Where) -> Fault:
    lines = "".join(f"\n  {one}" for one in found[:SAID])
    more = f"\n  and {len(found) - SAID} more" if len(found) > SAID else ""
    message = f"this run is not what was locked; --frozen would refuse it, {mend}:{lines}{more}"
    return Fault(message, where, "warning", "FT043")


SUBJECTS = {"trained.template": ("chat_template",), "trained.validation": ("test_datasets",)}
"""Where a recipe says what its rows come to, if not under datasets."""


def fault_of(moved: "Moved", checked: "Checked", mend: str) -> Fault:
    """What moved, at its line of the recipe where it has one."""
    where = checked.source.where(_place(moved, checked))
    if moved.of_library:
        name = moved.item.split(".", 1)[1]
        released = f"install {name}=={moved.was}" if " (" not in moved.was else "take that state of it"
        fix = f"{released}, allow it with --other-versions, or {mend}"
        return Fault(f"{moved}: not as locked; {fix}", Where(checked.source.name), code="FT042")
    if where.file.startswith("override"):
        mend = "write it into the recipe and " + mend
    return Fault(f"{moved}: not as locked; put it back, or {mend}", where, code="FT041")


def _place(moved: "Moved", checked: "Checked") -> "Path_":
    from finetune.locking.inputs import place_of

    if moved.place:
        return moved.place
    if not moved.item.startswith("trained."):
        return place_of(moved.item)
    subject = SUBJECTS.get(moved.item, ("datasets",))
    return subject if subject in checked.source.lines else ("datasets",)
