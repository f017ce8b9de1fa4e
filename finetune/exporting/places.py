"""Where an artefact is written: beside its place, whole, and moved there once it is proven. Knows nothing of what is in
it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from finetune.checkpoints import is_disk_full
from finetune.errors import RunFolderError
from finetune.rundir import publish

PROOF = "proof.json"
SPARE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Place:
    """`final`: where the artefact shall be; `partial`: where it is until then."""

    final: Path
    partial: Path

    @property
    def failed(self) -> Path:
        return self.final.with_name(f"{self.final.name}.failed")

    def publish(self) -> None:
        publish(partial=str(self.partial), final=str(self.final))
        shutil.rmtree(self.failed, ignore_errors=True)  # of an earlier try

    def keep_failed(self) -> None:
        publish(partial=str(self.partial), final=str(self.failed))


def check_place(final: Path, overwrite: bool) -> None:
    """RunFolderError if something is there already that is not to be replaced, or nothing can be written there."""
    if final.is_symlink() or (final.exists() and not final.is_dir()):
        raise RunFolderError(f"{final} is a file or a link, not a folder. Name another with --output")
    if final.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise RunFolderError(f"{final} is the working directory or above it. Name a folder in it with --output")
    if not final.is_dir() or not any(final.iterdir()):
        return
    if not (final / PROOF).is_file():
        raise RunFolderError(f"{final} holds files that are no export. Name another folder with --output")
    if not overwrite:
        raise RunFolderError(f"{final} holds an export already. Replace it with --overwrite, or name another --output")


@contextmanager
def written(final: Path, overwrite: bool) -> Iterator[Place]:
    """A folder to write an artefact into. It is gone afterwards unless it was published or kept as failed.

    RunFolderError as check_place has it, and when the disk is full."""
    check_place(final, overwrite)
    place = Place(final, final.with_name(f".{final.name}.partial-{os.getpid()}"))
    try:
        place.partial.mkdir(parents=True)
        yield place
    except OSError as error:
        if is_disk_full(error):
            raise RunFolderError(_full(final)) from error
        if str(place.partial) not in str(error.filename):
            raise
        raise RunFolderError(f"{final} cannot be written: {error.strerror}") from None
    except Exception as error:
        if is_disk_full(error):  # safetensors has a type of its own
            raise RunFolderError(_full(final)) from error
        raise
    finally:
        shutil.rmtree(place.partial, ignore_errors=True)


def _full(final: Path) -> str:
    return f"the disk of {final} is full. Free some, or name a folder elsewhere with --output"


def check_space(folder: Path, needed: int) -> None:
    """RunFolderError if the disk has not that many bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise RunFolderError(
            f"the disk of {folder.parent} has {free / 2**20:,.0f} MiB free, and {(needed + SPARE_BYTES) / 2**20:,.0f} "
            "are needed. Free some, or name a folder elsewhere with --output"
        )
